"""Disk space of uploads: a limit on their total size, and deletion of interrupted uploads."""

from __future__ import annotations

import itertools
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from openvocab.ui.web.protection.error_responses import ErrorResponse

__all__ = ["Storage", "bytes_in"]

_PARTIAL_UPLOAD = re.compile(r"tmp[a-z0-9_]{8}")
"""Name of a file, directly in the folder, that Gradio is still receiving (tempfile.NamedTemporaryFile)."""
_FULL = ErrorResponse(507, "the server has no disk space for more uploads; try again later, or raise --max-stored")


class Storage:
    """Limits the total size of the upload folder and of the uploads in progress."""

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        """Watch a folder.

        Args:
            folder: Folder of the uploads.
            max_bytes: Maximum total size of all files.
        """
        self._folder, self._max_bytes = str(folder), max_bytes
        self._ids = itertools.count()
        self._in_progress: dict[int, tuple[float, int]] = {}

    def rejection(self, length: int) -> ErrorResponse | None:
        """Return the error response for an upload of this many bytes if the folder is full, or None."""
        pending = sum(size for _, size in self._in_progress.values())
        return _FULL if bytes_in(self._folder) + pending + length > self._max_bytes else None

    @contextmanager
    def upload(self, length: int) -> Iterator[None]:
        """Reserve space for an upload in progress; afterwards, delete what interrupted uploads left behind."""
        number = next(self._ids)
        self._in_progress[number] = (time.time(), length)
        try:
            yield
        finally:
            del self._in_progress[number]
            self._delete_partial()

    def _delete_partial(self) -> None:
        """Delete partial files that are older than every upload in progress."""
        oldest = min((start for start, _ in self._in_progress.values()), default=float("inf"))
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if _PARTIAL_UPLOAD.fullmatch(entry.name) and _is_abandoned(entry, oldest):
                    os.unlink(entry.path)


def _is_abandoned(entry: os.DirEntry[str], oldest: float) -> bool:
    with suppress(OSError):
        found = entry.stat(follow_symlinks=False)
        return stat.S_ISREG(found.st_mode) and found.st_mtime < oldest
    return False


def bytes_in(folder: str) -> int:
    """Return the total size of all files in a folder, recursively."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
