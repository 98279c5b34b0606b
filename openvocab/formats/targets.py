"""Output files and folders, written atomically, and the images of a layout."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from openvocab.batch.atomic import clear_leftovers, temporary_name
from openvocab.batch.file_names import FileNames
from openvocab.batch.originals import Originals
from openvocab.batch.ownership import is_of_a_run
from openvocab.batch.rows import Row, text_of
from openvocab.errors import BadInput, CannotWrite, ImageError, OpenVocabError
from openvocab.formats.job import Job

__all__ = ["ImageFiles", "JsonList", "atomic_file", "atomic_folder", "dumps", "open_text", "spool"]


def dumps(plain: Any) -> str:
    """Return JSON on one line, in Unicode."""
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def open_text(path: Path) -> TextIO:
    """Create a UTF-8 file with \\n line ends on every system."""
    return open(path, "x", encoding="utf-8", errors="backslashreplace", newline="\n")


@contextmanager
def atomic_file(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears, or replaces an existing file, only when it is complete.

    Raises:
        BadInput: path is a folder, or a file of a run.
        CannotWrite: The disk is full, or the path cannot be written.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder, and this format is one file; give the name of a file")
    if is_of_a_run(path):
        raise BadInput(f"{path} is a file of a run; give another name")
    hidden = temporary_name(path)
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(path.parent)
        try:
            with open_text(hidden) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(hidden, path)
        finally:
            hidden.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to path when it is complete.

    Raises:
        BadInput: path is a file, or a folder that is not empty.
        CannotWrite: The disk is full, or the path cannot be written.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        what = "is not empty" if path.is_dir() else "is a file, and this format is a folder"
        raise BadInput(f"{path} {what}; give a new folder")
    hidden = temporary_name(path)
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(path.parent)
        try:
            hidden.mkdir()
            yield hidden
            if path.is_dir():
                path.rmdir()
            os.replace(hidden, path)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def spool(beside: Path) -> Iterator[IO[str]]:
    """Open a temporary text file on the disk of a path, for text that comes later in the output."""
    with tempfile.TemporaryFile("w+", dir=beside.parent, encoding="utf-8", errors="backslashreplace") as file:
        yield file


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OpenVocabError:
        raise
    except OSError as error:
        cause = error.strerror or str(error)
        raise CannotWrite(f"{path} cannot be written ({cause}); make room or give another path") from error


class JsonList:
    """A JSON list that is written item by item, one per line."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._before = "[\n"

    def add(self, plain: Any) -> None:
        """Write one item."""
        self._file.write(self._before + dumps(plain))
        self._before = ",\n"

    def close(self) -> None:
        """Write the end of the list; the file stays open."""
        self._file.write("[]" if self._before == "[\n" else "\n]")


class ImageFiles:
    """The images of a layout: listed in images.jsonl, and linked or copied if requested."""

    def __init__(self, job: Job, folder: Path, below: str) -> None:
        """Create images.jsonl.

        Args:
            job: The export.
            folder: The root of the layout.
            below: The folder of images in it, such as "images/", or "" for the root.
        """
        self._job, self._top, self._below = job, folder, below
        self._names, self._originals = FileNames(), Originals()
        self._list = open_text(folder / "images.jsonl")

    def __enter__(self) -> ImageFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self._list.close()
        self._originals.close()

    def add(self, row: Row, **more: Any) -> tuple[str, str | None]:
        """Link or copy a row's image and list it.

        Args:
            row: The row.
            more: Further entries of its line in images.jsonl.

        Returns:
            (name, file): the name for its annotations, without a suffix; and the path of the image relative to the root
            of the layout, or None if it is not there.
        """
        name, extra, file = self._names(row.id), more, None
        if row.status == "ok" and self._job.options.images != "refer":
            try:
                file = self._place(row, name)
            except ImageError as error:
                self._job.unlinked += 1
                extra = {"left_out": str(error), **more}
        known = {"width": row.width, "height": row.height, "error_kind": row.error_kind, "error": row.error}
        line = {"name": name, "id": text_of(row.id), "status": row.status, "file": file} | known | extra
        self._list.write(dumps(line) + "\n")
        return name, file

    def _place(self, row: Row, name: str) -> str:
        """Link or copy an image and return its path relative to the root.

        Raises:
            ImageError: The image cannot be found, or has changed.
        """
        found = self._originals.find(row, read=self._job.options.images == "copy")
        inside = f"{self._below}{name}{found.suffix}"
        target = self._top / inside
        target.parent.mkdir(exist_ok=True)
        if found.data is None:
            _link(target, os.path.abspath(found.path or ""))
        else:
            target.write_bytes(found.data)
        return inside


_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP}
"""The errors of systems and disks without symbolic links; Windows without developer mode gives EINVAL and 1314."""


def _link(target: Path, original: str) -> None:
    """Make a symbolic link.

    Raises:
        CannotWrite: The system does not allow links.
        OSError: The disk is full, or the folder cannot be written.
    """
    try:
        target.symlink_to(original)
    except (OSError, NotImplementedError) as error:
        if not isinstance(error, OSError) or error.errno in _NO_LINKS or getattr(error, "winerror", None) == 1314:
            raise CannotWrite(
                f"{target} cannot be a symbolic link ({error}); copy the images instead: images='copy'"
            ) from error
        raise
