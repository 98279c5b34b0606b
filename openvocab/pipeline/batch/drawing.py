"""Annotated pictures of a run, beside its parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from openvocab.pipeline.batch.answers import DRAWN_ID, Answer, drawn_id
from openvocab.pipeline.batch.file_names import FileNames
from openvocab.pipeline.batch.ownership import PICTURES
from openvocab.pipeline.batch.rows import id_of
from openvocab.pipeline.batch.run_folder import make_folder
from openvocab.pipeline.batch.sources import open_regular
from openvocab.pipeline.batch.whole import write_whole
from openvocab.pipeline.record import RunRecord

__all__ = ["Drawing"]

_HEAD = 1024
"""Bytes at the start of a PNG file in which its text chunks lie."""


class Drawing:
    """Writes the pictures of answers into a run folder, beside any files of somebody else there."""

    def __init__(self, run: Path, record: RunRecord) -> None:
        self._run, self._record, self._names = run, record, FileNames()

    def name_all(self, texts: Sequence[str]) -> None:
        """Give the names of the rows there are, so that new ones get others."""
        for text in texts:
            self._names(id_of(text))

    def __call__(self, answer: Answer) -> str | None:
        """Write the picture of an answer, and return its path from the run folder; None where there is an error.

        A file of that name stays, and the drawing gets the next one, unless it is a drawing of the same image, left by
        a session that was killed.

        Raises:
            CannotWrite: the disk is full, or the folder read-only.
        """
        name = self._name(answer.item.id)
        if answer.error is not None:
            return None
        while not _is_free(self._run / name, answer.item.id):
            name = self._name(answer.item.id)
        make_folder(self._run / PICTURES)
        write_whole(self._run / name, answer.png(self._record))
        return name

    def _name(self, id: str) -> str:  # noqa: A002
        return f"{PICTURES}/{self._names(id)}.png"


def _is_free(path: Path, id: str) -> bool:  # noqa: A002
    """Whether there is no file of that name, or the drawing of the same image."""
    if not os.path.lexists(path):
        return True
    try:
        with open_regular(str(path)) as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return not path.is_symlink() and f"{DRAWN_ID}\0{drawn_id(id)}".encode() in head
