"""The lock of a run folder: one process writes it, and a second one is told which."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openvocab.batch.whole import cannot_write, is_alive, write_whole
from openvocab.errors import CannotWrite

__all__ = ["LOCK", "PID", "locked"]

LOCK, PID = ".lock", ".pid"
_PATIENCE = 2.0
"""Seconds that a process may take from having the lock to having written its number."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go of when the process ends, however it ends.

    Raises:
        CannotWrite: another process holds it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CannotWrite(f"{path} is being written by process {_holder(path)}; wait for it or stop it") from error
    except (OSError, NotImplementedError) as error:
        raise cannot_write(path, error if isinstance(error, OSError) else OSError(str(error))) from error
    try:
        write_whole(path / PID, str(os.getpid()).encode())
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    """Return the number of the process that holds the lock, which it writes once it has it.

    A number that no process has is of an earlier holder; of a process of another machine it cannot be told, and it is
    taken when the patience is over.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        said = _said(path)
        if (said.isdecimal() and is_alive(int(said))) or time.monotonic() >= until:
            return said or "(unknown)"
        time.sleep(0.02)


def _said(path: Path) -> str:
    try:
        return (path / PID).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
