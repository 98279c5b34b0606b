"""Annotated pictures of a run, beside its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openvocab.pipeline.batch.answers import Answer
from openvocab.pipeline.batch.picture_names import PictureNames
from openvocab.pipeline.batch.rows import id_of
from openvocab.pipeline.batch.run_folder import PICTURES, make_folder, write_whole
from openvocab.pipeline.record import RunRecord

__all__ = ["Drawing"]


class Drawing:
    """Writes the pictures of answers into a run folder."""

    def __init__(self, run: Path, record: RunRecord) -> None:
        self._folder, self._record, self._names = run / PICTURES, record, PictureNames()

    def name_all(self, texts: Sequence[str]) -> None:
        """Give the names of the rows there are, so that new ones get others."""
        for text in texts:
            self._names(id_of(text))

    def __call__(self, answer: Answer) -> None:
        """Write the picture of an answer.

        Raises:
            CannotWrite: the disk is full, or the folder read-only.
        """
        name = self._names(answer.item.id)
        if answer.error is None:
            make_folder(self._folder)
            write_whole(self._folder / name, answer.png(self._record))
