"""Work done ahead, in threads and in order: one feeder, a few workers, and a queue that bounds what may wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["prefetch"]

A = TypeVar("A")
B = TypeVar("B")
_TICK = 0.1


class _Room:
    """Bytes that finished work may hold until it is taken; what is needed next is always let in."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._needed = limit, 0, 0
        self._changed = threading.Condition()
        self._open = True

    def enter(self, number: int, size: int) -> None:
        """Wait until there is room for the result of that number, or it is the one that is needed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or number <= self._needed or self._held + size <= self._limit)
            self._held += size

    def need(self, number: int) -> None:
        """Say which result is taken next."""
        with self._changed:
            self._needed = number
            self._changed.notify_all()

    def leave(self, size: int) -> None:
        """A result was taken."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    def close(self) -> None:
        """Let everyone through."""
        with self._changed:
            self._open = False
            self._changed.notify_all()


class _Ahead(Generic[A, B]):
    def __init__(
        self, work: Callable[[A], B], size_of: Callable[[B], int], threads: int, depth: int, room: int
    ) -> None:
        self._work, self._size_of = work, size_of
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="openvocab-decode")
        self._queue: queue.Queue[tuple[A, Future[B]] | Exception | None] = queue.Queue(depth)
        self._room = _Room(room)
        self._ended = threading.Event()

    def feed(self, items: Iterable[A]) -> None:
        """Hand out the items; runs in a thread of its own."""
        last: Exception | None = None
        try:
            for number, item in enumerate(items):
                if not self._put((item, self._pool.submit(self._one, number, item))):
                    return
        except Exception as error:  # of the source: it belongs to whoever takes the results
            last = error
        self._put(last)

    def _put(self, entry: tuple[A, Future[B]] | Exception | None) -> bool:
        """Wait for a place in the queue; False where nobody takes from it any more."""
        while not self._ended.is_set():
            try:
                self._queue.put(entry, timeout=_TICK)
            except queue.Full:
                continue
            return True
        return False

    def _one(self, number: int, item: A) -> B:
        made = self._work(item)
        self._room.enter(number, self._size_of(made))
        return made

    def take(self, stop: Callable[[], bool]) -> Iterator[tuple[A, B]]:
        """Yield items with their results, in order."""
        number = 0
        while not stop():
            try:
                entry = self._queue.get(timeout=_TICK)
            except queue.Empty:
                continue
            if entry is None:
                return
            if isinstance(entry, Exception):
                raise entry
            self._room.need(number)
            number += 1
            item, future = entry
            del entry
            while not (ready := wait([future], _TICK).done) and not stop():
                pass
            if ready:
                made = future.result()
                del future, ready
                self._room.leave(self._size_of(made))
                yield item, made
                del made

    def end(self) -> None:
        """Stop handing out work; what is under way ends on its own."""
        self._ended.set()
        self._room.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def prefetch(
    work: Callable[[A], B],
    items: Iterable[A],
    *,
    threads: int,
    depth: int,
    size_of: Callable[[B], int],
    room: int,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Iterator[tuple[A, B]]]:
    """Give an iterator over (item, work(item)) in the order of items, worked ahead.

    Args:
        work: must not raise; what goes wrong with an item is part of its result.
        items: iterated in a thread of its own; what it raises is raised from the iterator.
        threads: how many items are worked on at once.
        depth: how many may wait.
        size_of: bytes that a result holds.
        room: bytes that the results waiting may hold together, besides one for each thread.
        stop: looked at all the time; once true, the iterator ends.
    """
    ahead = _Ahead(work, size_of, threads, depth, room)
    feeder = threading.Thread(target=ahead.feed, args=(items,), name="openvocab-source", daemon=True)
    feeder.start()
    try:
        yield ahead.take(stop)
    finally:
        ahead.end()
        feeder.join(timeout=5)
