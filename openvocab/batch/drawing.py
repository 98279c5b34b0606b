"""Annotated images in a run folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from openvocab.batch.answers import DRAWN_ID, Answer, drawn_id
from openvocab.batch.atomic import write_atomic
from openvocab.batch.file_names import FileNames
from openvocab.batch.ownership import IMAGES
from openvocab.batch.rows import id_of
from openvocab.batch.run_folder import make_folder
from openvocab.images.files import open_regular
from openvocab.pipeline.result import RunRecord

__all__ = ["Drawing"]

_HEAD = 1024
"""The number of bytes at the start of a PNG file that contain its text chunks."""


class Drawing:
    """Writes annotated images into a run folder without overwriting the user's files."""

    def __init__(self, run: Path, record: RunRecord) -> None:
        self._run, self._record, self._names = run, record, FileNames()

    def reserve_names(self, texts: Iterable[str]) -> None:
        """Reserve the file names of existing rows."""
        for text in texts:
            self._names(id_of(text))

    def __call__(self, answer: Answer) -> str | None:
        """Write the annotated image of an answer and return its path relative to the run folder; None after an error.

        An existing file is not overwritten, except a drawing of the same image that a killed session left; the drawing
        gets the next free name.

        Raises:
            CannotWrite: The disk is full, or the folder is read-only.
        """
        name = self._name(answer.item.id)
        if answer.error is not None:
            return None
        while not _is_free(self._run / name, answer.item.id):
            name = self._name(answer.item.id)
        make_folder(self._run / IMAGES)
        write_atomic(self._run / name, answer.png(self._record))
        return name

    def _name(self, id: str) -> str:  # noqa: A002
        return f"{IMAGES}/{self._names(id)}.png"


def _is_free(path: Path, id: str) -> bool:  # noqa: A002
    """Return whether no file has that name, or it is a drawing of the same image."""
    if not os.path.lexists(path):
        return True
    try:
        with open_regular(str(path)) as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return not path.is_symlink() and f"{DRAWN_ID}\0{drawn_id(id)}".encode() in head
