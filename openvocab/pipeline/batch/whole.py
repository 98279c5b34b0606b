"""Files that are there whole or not at all, under temporary names that tell whose they are.

A temporary name is `.NAME.HOST-PID.openvocab.tmp`, where HOST is a short digest of the machine's name: what lacks that
form was written by somebody else, and is left alone.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from openvocab.errors import CannotWrite

__all__ = [
    "append_line",
    "cannot_write",
    "clear_leftovers",
    "is_alive",
    "remove_whole",
    "sync_folder",
    "temporary_name",
    "write_whole",
]

_ENDING = ".openvocab.tmp"
_MARKED = re.compile(rf"\..*\.([0-9a-f]{{8}})-([0-9]+){re.escape(_ENDING)}", re.DOTALL)
_LONGEST = 160
"""Bytes of a name that are kept, so that what is added to it fits in the 255 that file systems allow."""


def temporary_name(path: Path) -> Path:
    """Return the name, beside path, that this process writes it under until it is complete."""
    kept = os.fsencode(path.name)[:_LONGEST].decode("utf-8", "ignore")
    return path.with_name(f".{kept}.{_host()}-{os.getpid()}{_ENDING}")


def clear_leftovers(folder: Path, *, locked: bool = False) -> None:
    """Remove the marked temporary files and folders of processes that ended before they were done.

    Args:
        locked: this process holds the lock of the folder, so that what bears its own number, or is of another machine,
            was left as well. Otherwise only those of processes of this machine go whose number no process has now.

    Raises:
        OSError: one of them cannot be removed, in a locked folder; otherwise it stays.
    """
    for left in sorted(folder.glob(f".*{_ENDING}")):
        named = _MARKED.fullmatch(left.name)
        if named is None or not _is_left(named[1], int(named[2]), locked):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=not locked)
        else:
            with suppress(FileNotFoundError) if locked else suppress(OSError):
                left.unlink()


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has that number; True where the system cannot be asked without harm."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _is_left(host: str, pid: int, locked: bool) -> bool:
    if host != _host():
        return locked
    return (locked and pid == os.getpid()) or not is_alive(pid)


@cache
def _host() -> str:
    return hashlib.sha256(platform.node().encode("utf-8", "surrogatepass")).hexdigest()[:8]


def write_whole(path: Path, data: Any) -> None:
    """Write a file so that there is either all of it or none of it, even if the power fails.

    Raises:
        CannotWrite: the message has the path, the bytes needed and the cause.
    """
    hidden = temporary_name(path)
    try:
        with open(hidden, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            hidden.unlink()
        raise cannot_write(path, error, len(data)) from error


def append_line(path: Path, data: bytes) -> None:
    """Add a line to a file, made if it is not there; what was there before is kept, even if the power fails.

    Raises:
        CannotWrite: the message has the path, the bytes needed and the cause.
    """
    try:
        made = not path.exists()
        with open(path, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if made:
            sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, len(data)) from error


def remove_whole(path: Path) -> None:
    """Remove a file, even if the power fails afterwards.

    Raises:
        CannotWrite: the message has the path and the cause.
    """
    try:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError, size: int | None = None) -> CannotWrite:
    """Return the error for a file or folder that cannot be written, with the bytes needed where they are known."""
    needed = "" if size is None else f", {size} bytes needed"
    remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the disk and the permissions"
    cause = error.strerror or str(error)
    return CannotWrite(f"{path} cannot be written ({cause}{needed}); {remedy} and run the same command again")


def sync_folder(folder: Path) -> None:
    """Let the names in a folder last, even if the power fails."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
