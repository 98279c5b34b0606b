"""Work ahead: in order, bounded, ended with its taker, and never waited for in vain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from openvocab.images.prefetch import prefetch

FREE: Any = {"size_of": lambda _: 0, "max_bytes": 0}


@pytest.mark.parametrize("threads", [1, 4])
def test_work_ahead_is_bounded_and_in_order(threads: int) -> None:
    taken, begun = 0, []

    def work(number: int) -> int:
        begun.append(number - taken)
        time.sleep(0.001 * (number % 3))
        return number

    with prefetch(work, range(200), threads=threads, depth=6, size_of=lambda _: 10, max_bytes=30) as results:
        for item, made in results:
            assert item == made == taken
            taken += 1
    assert taken == 200
    assert max(begun) <= 6 + 2
    assert max(begun) <= 3 + threads + 2  # of 10 bytes each, 30 may wait, besides one a thread


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("count", [0, 1, 5, 3000])
def test_every_item_comes_once_and_the_source_is_drawn_by_one_thread_at_a_time(count: int, threads: int) -> None:
    def source() -> Iterator[int]:  # a generator refuses to be entered twice
        for number in range(count):
            time.sleep(0)
            yield number

    with prefetch(str, source(), threads=threads, depth=4, **FREE) as results:
        assert list(results) == [(number, str(number)) for number in range(count)]


def test_work_that_breaks_its_promise_and_raises_is_not_waited_for() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise RuntimeError("work must not raise")
        return number

    with (
        pytest.raises(RuntimeError, match="must not raise"),
        prefetch(work, range(9), threads=2, depth=4, **FREE) as got,
    ):
        list(got)


def test_what_the_source_raises_comes_after_every_result_before_it() -> None:
    def source() -> Iterator[int]:
        yield from range(20)
        raise OSError("the disk is gone")

    taken: list[int] = []
    with pytest.raises(OSError, match="gone"), prefetch(abs, source(), threads=3, depth=8, **FREE) as results:
        taken.extend(item for item, _ in results)
    assert taken == list(range(20))


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_threads_end_with_whoever_takes_the_results(taken: int) -> None:
    before = set(threading.enumerate())
    with prefetch(abs, iter(range(10**9)), threads=3, depth=4, **FREE) as results:
        for _ in range(taken):
            next(results)
        mine = set(threading.enumerate()) - before
        assert len(mine) == 3
    for thread in mine:
        thread.join(5)
    assert not any(thread.is_alive() for thread in mine)


def test_a_stop_ends_the_iterator_while_the_source_hangs() -> None:
    released, ended = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        yield 0
        released.wait(30)
        ended.set()

    checks = count()
    with prefetch(abs, source(), threads=1, depth=4, stop=lambda: next(checks) > 4, **FREE) as results:
        assert list(results) == [(0, 0)]
    assert not ended.is_set()
    released.set()
