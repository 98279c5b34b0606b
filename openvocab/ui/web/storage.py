"""Room for uploads: a bound on all of them together, and nothing left of those that were broken off."""

from __future__ import annotations

import itertools
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from openvocab.ui.web.refusals import Refusal

__all__ = ["Storage"]

_ARRIVING = re.compile(r"tmp[a-z0-9_]{8}")
"""How Gradio names a file, directly in the folder, whose upload has not ended (tempfile.NamedTemporaryFile)."""
_FULL = Refusal(507, "the server has no room for more uploads now; try again later, or ask for a larger --max-stored")


class Storage:
    """Counts what lies in the folder of uploads and what is on its way there."""

    def __init__(self, folder: str | Path, most: int) -> None:
        """Set up.

        Args:
            most: bytes of all files together.
        """
        self._folder, self._most = str(folder), most
        self._numbers = itertools.count()
        self._arriving: dict[int, tuple[float, int]] = {}

    def refusal(self, length: int) -> Refusal | None:
        """Return why there is no room for an upload of that many bytes, or None."""
        coming = sum(size for _, size in self._arriving.values())
        return _FULL if _bytes_in(self._folder) + coming + length > self._most else None

    @contextmanager
    def upload(self, length: int) -> Iterator[None]:
        """Keep room for an upload while it arrives; at the end, delete what broken-off uploads left."""
        number = next(self._numbers)
        self._arriving[number] = (time.time(), length)
        try:
            yield
        finally:
            del self._arriving[number]
            self._sweep()

    def _sweep(self) -> None:
        """Delete the unfinished files that are older than every upload that is still arriving."""
        oldest = min((begun for begun, _ in self._arriving.values()), default=float("inf"))
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if _ARRIVING.fullmatch(entry.name) and _is_dead(entry, oldest):
                    os.unlink(entry.path)


def _is_dead(entry: os.DirEntry[str], oldest: float) -> bool:
    with suppress(OSError):
        found = entry.stat(follow_symlinks=False)
        return stat.S_ISREG(found.st_mode) and found.st_mtime < oldest
    return False


def _bytes_in(folder: str) -> int:
    """Return the bytes of all files in a folder, at any depth."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
