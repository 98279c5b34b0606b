"""Annotated images of a run, beside its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openvocab.batch.answers import Answer
from openvocab.batch.file_names import FileNames
from openvocab.batch.ownership import IMAGES
from openvocab.batch.rows import id_of
from openvocab.batch.run_folder import make_folder
from openvocab.batch.whole import write_whole
from openvocab.pipeline.result import RunRecord

__all__ = ["Drawing"]


class Drawing:
    """Writes the images of answers into a run folder."""

    def __init__(self, run: Path, record: RunRecord) -> None:
        self._run, self._record, self._names = run, record, FileNames()

    def name_all(self, texts: Sequence[str]) -> None:
        """Give the names of the rows there are, so that new ones get others."""
        for text in texts:
            self._names(id_of(text))

    def __call__(self, answer: Answer) -> str | None:
        """Write the image of an answer, and return its path from the run folder; None where there is an error.

        Raises:
            CannotWrite: the disk is full, or the folder read-only.
        """
        name = f"{IMAGES}/{self._names(answer.item.id)}.png"
        if answer.error is not None:
            return None
        make_folder(self._run / IMAGES)
        write_whole(self._run / name, answer.png(self._record))
        return name
