"""Freed memory goes back to the system while work is done, and only then."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from openvocab.ui import freed_memory
from openvocab.ui.freed_memory import returning_freed_memory


class Work:
    """Work that is looked at: counts given in turn, of which the last stays; .seen is set when all were."""

    def __init__(self, counts: list[int]) -> None:
        self.counts, self.seen = counts, threading.Event()

    def __call__(self) -> int:
        if len(self.counts) > 1:
            return self.counts.pop(0)
        self.seen.set()
        return self.counts[0]


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    given: list[str] = []
    monkeypatch.setattr(freed_memory, "_trim", lambda: lambda: given.append(threading.current_thread().name))
    yield given
    assert all(name == "openvocab-freed-memory" for name in given)


@pytest.mark.parametrize(
    ("counts", "times"),
    [
        pytest.param([0, 0, 0, 0], 0, id="no work"),
        pytest.param([5, 5, 9, 9], 1, id="some work"),
        pytest.param([0, 1, 2, 3, 3], 3, id="work all the time"),
    ],
)
def test_memory_is_returned_after_work(trims: list[str], counts: list[int], times: int) -> None:
    work, threads = Work(counts), set(threading.enumerate())
    with returning_freed_memory(work, every=0.001):
        assert work.seen.wait(20)
    assert len(trims) == times
    assert set(threading.enumerate()) <= threads


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openvocab.ui.freed_memory.sys.platform", "darwin")
    threads = set(threading.enumerate())
    with returning_freed_memory(lambda: pytest.fail("looked at"), every=0.001):
        assert set(threading.enumerate()) <= threads
