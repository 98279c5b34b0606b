"""The lock of a run folder: one process writes at a time, and its pid is reported to others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openvocab.batch.atomic import cannot_write, is_alive, write_atomic
from openvocab.errors import CannotWrite

__all__ = ["LOCK", "PID", "locked"]

LOCK, PID = ".lock", ".pid"
_PATIENCE = 2.0
"""The number of seconds that a process may take from getting the lock to writing its pid."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock, which the operating system releases however the process ends.

    Raises:
        CannotWrite: Another process holds the lock, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CannotWrite(f"{path} is being written by process {_owner(path)}; wait for it or stop it") from error
    except (OSError, NotImplementedError) as error:
        raise cannot_write(path, error if isinstance(error, OSError) else OSError(str(error))) from error
    try:
        write_atomic(path / PID, str(os.getpid()).encode())
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    """Return the pid of the process that holds the lock.

    The owner writes its pid after it gets the lock. A pid without a process belongs to an earlier owner, or to another
    machine; it is returned when the time is over.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        pid = _read_pid(path)
        if (pid.isdecimal() and is_alive(int(pid))) or time.monotonic() >= until:
            return pid or "(unknown)"
        time.sleep(0.02)


def _read_pid(path: Path) -> str:
    try:
        return (path / PID).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
