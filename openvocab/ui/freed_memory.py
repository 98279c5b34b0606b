"""Freed memory that goes back to the system while a server runs."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["returning_freed_memory"]

_EVERY = 10.0
"""Seconds between two looks whether work was done."""


@contextmanager
def returning_freed_memory(work: Callable[[], int], every: float = _EVERY) -> Iterator[None]:
    """Give freed memory back to the system from time to time, in a thread, while work is done.

    glibc has a heap for each thread and gives back only what is free at its end, so that a server whose threads hold
    what some visitors see and free what others saw grows with every visitor. Nothing happens with other C libraries.

    Args:
        work: Returns how much work was done since the start; while it stays the same, there is nothing to give back.
        every: Seconds between two looks at it.
    """
    trim = _trim()
    if trim is None:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        done = work()
        while not ended.wait(every):
            before, done = done, work()
            if done != before:
                trim()

    thread = threading.Thread(target=look, name="openvocab-freed-memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _trim() -> Callable[[], object] | None:
    """Return the function that gives all freed memory back; None if the C library has none."""
    if not sys.platform.startswith("linux"):
        return None
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if malloc_trim is None else lambda: malloc_trim(0)
