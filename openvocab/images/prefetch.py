"""Prefetching: threads map a function over a source ahead of its consumer, in order and within bounds.

Handing over one result at a time wakes threads for each of them, which costs more than fast work itself. The consumer
therefore takes all finished results at once, and workers at the depth limit wait until half of the results are taken.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["prefetch"]

A = TypeVar("A")
B = TypeVar("B")
_TICK = 0.1
_STEPS = 16
"""Parts of the depth, and of the bytes, that are counted as taken together."""


class _Ahead(Generic[A, B]):
    """The shared state: one lock guards the counters and results, another one the source.

    The consumer waits for a change, and the threads wait for room.
    """

    def __init__(self, work: Callable[[A], B], items: Iterable[A], size_of: Callable[[B], int]) -> None:
        self._work, self._source, self._size_of = work, iter(items), size_of
        self._drawing, lock = threading.Lock(), threading.Lock()
        self._changed, self._room = threading.Condition(lock), threading.Condition(lock)
        self._made: dict[int, tuple[A, B, int]] = {}
        self._drawn = self._taken = self._waiting_bytes = 0
        self._exhausted = self._ended = False
        self._full: int | None = None  # results in store at which a thread that waits to draw goes on
        self._storing = 0  # threads that store a result, or wait to
        self._error: Exception | None = None
        self._broken: BaseException | None = None

    def run(self, depth: int, max_bytes: int) -> None:
        """Draw items and process them until the source ends; the target of each thread."""
        try:
            while (drawn := self._draw(depth)) is not None:
                number, item = drawn
                made = self._work(item)
                self._put(number, (item, made, self._size_of(made)), max_bytes)
                del drawn, item, made
        except BaseException as error:  # work must not raise; if it does, nobody may wait for its result
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _draw(self, depth: int) -> tuple[int, A] | None:
        """Return the next item and its number, or None if the source or the consumer has ended."""
        with self._drawing:
            if not self._may_draw(depth):
                return None
            try:
                item = next(self._source)
            except StopIteration:
                self._exhaust(None)
                return None
            except Exception as error:  # raised by the source; the consumer gets it
                self._exhaust(error)
                return None
            number = self._drawn
            self._drawn += 1
            return number, item

    def _put(self, number: int, made: tuple[A, B, int], max_bytes: int) -> None:
        """Store a result once it fits; the result that is taken next always fits."""
        with self._changed:
            self._storing += 1
            self._room.wait_for(
                lambda: self._ended or number <= self._taken or self._waiting_bytes + made[2] <= max_bytes
            )
            self._storing -= 1
            self._made[number] = made
            self._waiting_bytes += made[2]
            if number == self._taken:
                self._changed.notify_all()

    def _may_draw(self, depth: int) -> bool:
        """Wait while too many results are stored; return False if no more items are wanted."""
        with self._changed:
            if self._drawn - self._taken >= depth:
                self._full = depth // 2
                self._room.wait_for(lambda: self._ended or self._drawn - self._taken <= depth // 2)
                self._full = None
            return not (self._ended or self._exhausted)

    def _exhaust(self, error: Exception | None) -> None:
        with self._changed:
            self._exhausted, self._error = True, error
            self._changed.notify_all()

    def take(self, stop: Callable[[], bool], step: int, step_bytes: int) -> Iterator[tuple[A, B]]:
        """Yield each item with its result, in order.

        Args:
            stop: Polled while iterating.
            step: Items that are counted as taken together; a lock for each would cost more than small items do.
            step_bytes: Bytes of results from which on fewer are.
        """
        while not stop():
            ready, count, freed = self._ready(), 0, 0
            if ready is None:
                return
            while ready and not stop():
                item, made, size = ready.popleft()
                count, freed = count + 1, freed + size
                if count >= step or freed >= step_bytes or not ready:
                    self._release(count, freed)
                    count = freed = 0
                yield item, made
                del item, made

    def _release(self, count: int, freed: int) -> None:
        """Count results as taken, and let the threads that wait for room go on."""
        with self._changed:
            self._taken += count
            self._waiting_bytes -= freed
            if self._storing or (self._full is not None and self._drawn - self._taken <= self._full):
                self._room.notify_all()

    def _ready(self) -> deque[tuple[A, B, int]] | None:
        """Return the finished results that are next in order, none after a timeout, or None at the end.

        Raises:
            Exception: An error of the source, or of work, which must not raise.
        """
        ready: deque[tuple[A, B, int]] = deque()
        with self._changed:
            if self._broken is not None:
                raise self._broken
            if self._taken not in self._made:
                if self._exhausted and self._taken == self._drawn:
                    if self._error is not None:
                        raise self._error
                    return None
                self._changed.wait(_TICK)
            while (made := self._made.pop(self._taken + len(ready), None)) is not None:
                ready.append(made)
        return ready

    def end(self) -> None:
        """Stop drawing items; items that are being processed finish on their own."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            self._room.notify_all()


@contextmanager
def prefetch(
    work: Callable[[A], B],
    items: Iterable[A],
    *,
    threads: int,
    depth: int,
    size_of: Callable[[B], int],
    max_bytes: int,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Iterator[tuple[A, B]]]:
    """Open an iterator over (item, work(item)) in the order of items, computed ahead in threads.

    Args:
        work: The function; it must not raise, so an item's failure is part of its result.
        items: The source, which the threads draw from one at a time. Its errors are raised by the iterator, after the
            results before them.
        threads: The number of threads.
        depth: The number of items that may be drawn and not yet taken.
        size_of: Returns the size of a result in bytes.
        max_bytes: The total size of the waiting results, apart from one per thread.
        stop: Polled while iterating; the iterator ends once it returns True.
    """
    ahead = _Ahead(work, items, size_of)
    workers = [
        threading.Thread(target=ahead.run, args=(depth, max_bytes), name=f"openvocab-decode-{number}", daemon=True)
        for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    try:
        yield ahead.take(stop, max(1, depth // _STEPS), max_bytes // _STEPS)
    finally:
        ahead.end()
