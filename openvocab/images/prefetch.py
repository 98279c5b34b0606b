"""Work done ahead, in threads and in order: workers that draw from one source, and bounds on what may wait.

Threads that hand over one thing at a time wake one another for each of them, which costs more than quick work itself.
So results are taken as many at once as there are, and workers that came too far ahead rest until half of that is taken.
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


class _Ahead(Generic[A, B]):
    """What threads share; whatever changes is guarded by one condition, and the source by a lock of its own."""

    def __init__(self, work: Callable[[A], B], items: Iterable[A], size_of: Callable[[B], int]) -> None:
        self._work, self._source, self._size_of = work, iter(items), size_of
        self._drawing, self._changed = threading.Lock(), threading.Condition()
        self._made: dict[int, tuple[A, B, int]] = {}
        self._drawn = self._taken = self._held = 0
        self._exhausted = self._ended = False
        self._error: Exception | None = None
        self._broken: BaseException | None = None

    def run(self, depth: int, room: int) -> None:
        """Draw items and work on them until there is none; the body of each worker."""
        try:
            while (drawn := self._draw(depth)) is not None:
                number, item = drawn
                made = self._work(item)
                self._put(number, (item, made, self._size_of(made)), room)
                del drawn, item, made
        except BaseException as error:  # work must not raise: where it does, nobody may wait for its result
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _draw(self, depth: int) -> tuple[int, A] | None:
        """Return the next item and its number; None where there is none, or none is wanted."""
        with self._drawing:
            if not self._may_draw(depth):
                return None
            try:
                item = next(self._source)
            except StopIteration:
                self._exhaust(None)
                return None
            except Exception as error:  # of the source: it belongs to whoever takes the results
                self._exhaust(error)
                return None
            number = self._drawn
            self._drawn += 1
            return number, item

    def _put(self, number: int, made: tuple[A, B, int], room: int) -> None:
        """Lay a result down for whoever takes it, once there is room; the one that comes next has room always."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or number <= self._taken or self._held + made[2] <= room)
            self._made[number] = made
            self._held += made[2]
            if number == self._taken:
                self._changed.notify_all()

    def _may_draw(self, depth: int) -> bool:
        """Wait while too many results wait; False where no more are wanted."""
        with self._changed:
            if self._drawn - self._taken >= depth:
                self._changed.wait_for(lambda: self._ended or self._drawn - self._taken <= depth // 2)
            return not (self._ended or self._exhausted)

    def _exhaust(self, error: Exception | None) -> None:
        with self._changed:
            self._exhausted, self._error = True, error
            self._changed.notify_all()

    def take(self, stop: Callable[[], bool]) -> Iterator[tuple[A, B]]:
        """Yield items with their results, in order."""
        while not stop():
            ready = self._ready()
            if ready is None:
                return
            while ready and not stop():
                item, made, size = ready.popleft()
                with self._changed:
                    self._taken += 1
                    self._held -= size
                    self._changed.notify_all()
                yield item, made
                del item, made

    def _ready(self) -> deque[tuple[A, B, int]] | None:
        """Return the results that come next, none after a while without one; None where there will be none.

        Raises:
            Exception: what the source raised, or work, which must not.
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
        """Let no more be drawn; what is under way ends on its own."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


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
        items: drawn by the threads, one at a time; what it raises is raised from the iterator, after what came before.
        threads: how many items are worked on at once.
        depth: how many may be drawn and not yet taken.
        size_of: bytes that a result holds.
        room: bytes that the results waiting may hold together, besides one for each thread.
        stop: looked at all the time; once true, the iterator ends.
    """
    ahead = _Ahead(work, items, size_of)
    workers = [
        threading.Thread(target=ahead.run, args=(depth, room), name=f"openvocab-decode-{number}", daemon=True)
        for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    try:
        yield ahead.take(stop)
    finally:
        ahead.end()
