"""Atomic and durable writes, under temporary names that identify the writing process.

A temporary name is `.NAME.HOST-PID.openvocab.tmp`, where HOST is a short digest of the machine's name. Files without
that form belong to other programs and are not touched.
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
    "remove_durably",
    "sync_folder",
    "temporary_name",
    "write_atomic",
]

_ENDING = ".openvocab.tmp"
_MARKED = re.compile(rf"\..*\.([0-9a-f]{{8}})-([0-9]+){re.escape(_ENDING)}", re.DOTALL)
_MAX_NAME_BYTES = 160
"""The maximum length of a name in bytes; the temporary name then fits the 255 bytes that file systems allow."""


def temporary_name(path: Path) -> Path:
    """Return the name in the same folder under which this process writes a file until it is complete."""
    kept = os.fsencode(path.name)[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
    return path.with_name(f".{kept}.{_host()}-{os.getpid()}{_ENDING}")


def clear_leftovers(folder: Path, *, locked: bool = False) -> None:
    """Remove the temporary files and folders of processes that were killed.

    Args:
        folder: The folder.
        locked: Whether this process holds the folder's lock. Leftovers with its own pid or of another machine are then
            removed as well; otherwise only those of this machine whose pid no process has.

    Raises:
        OSError: One of them cannot be removed from a locked folder; in other folders it stays.
    """
    for left in sorted(folder.glob(f".*{_ENDING}")):
        named = _MARKED.fullmatch(left.name)
        if named is None or not _is_leftover(named[1], int(named[2]), locked):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=not locked)
        else:
            with suppress(FileNotFoundError) if locked else suppress(OSError):
                left.unlink()


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine has a pid; True on systems without a safe check."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _is_leftover(host: str, pid: int, locked: bool) -> bool:
    if host != _host():
        return locked
    return (locked and pid == os.getpid()) or not is_alive(pid)


@cache
def _host() -> str:
    return hashlib.sha256(platform.node().encode("utf-8", "surrogatepass")).hexdigest()[:8]


def write_atomic(path: Path, data: Any) -> None:
    """Write a file atomically and durably: after a crash or a power failure it is complete or absent.

    Raises:
        CannotWrite: The file cannot be written; the message has the path, the size and the cause.
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
    """Append a line to a file durably, and create the file if it does not exist.

    Raises:
        CannotWrite: The file cannot be written; the message has the path, the size and the cause.
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


def remove_durably(path: Path) -> None:
    """Remove a file durably.

    Raises:
        CannotWrite: The file cannot be removed; the message has the path and the cause.
    """
    try:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError, size: int | None = None) -> CannotWrite:
    """Return the error for a file or folder that cannot be written, with the size in bytes if it is known."""
    needed = "" if size is None else f", {size} bytes needed"
    remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the disk and the permissions"
    cause = error.strerror or str(error)
    return CannotWrite(f"{path} cannot be written ({cause}{needed}); {remedy} and run the same command again")


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
