"""A batch in parts that run at the same time on a processor, each in a thread of its own.

torch gives all cores to one layer and goes on when the last of them is done; where decoding wants the cores too, those
that are done wait for the one that was held up, at each of some hundred short layers. Parts of a batch do not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["on_one_core", "side_by_side"]

T = TypeVar("T")

LEAST_PART = 4
"""Items under which a part is too small to be quick."""

MOST_PART = 16
"""Items over which what a layer hands to the next no longer fits into a core's cache, nor into freed memory."""


@contextmanager
def on_one_core() -> Iterator[None]:
    """Let torch use one core in this thread, where several threads do such work at the same time."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(cores)


def side_by_side(work: Callable[[Sequence[T]], Tensor], items: Sequence[T]) -> Tensor:
    """Return the (N, D) rows that work gives for N items, from as many parts at once as there are cores for.

    Args:
        work: gives a row for each item, whatever the others are; called in several threads, in inference mode.
        items: at least one.
    """
    cores = torch.get_num_threads()
    at_once = max(1, min(cores, len(items) // LEAST_PART))
    count = max(at_once, -(-len(items) // MOST_PART))
    parts = [items[at * len(items) // count : (at + 1) * len(items) // count] for at in range(count)]
    if at_once == 1:
        return torch.cat([work(part) for part in parts])

    def one(part: Sequence[T]) -> Tensor:
        torch.set_num_threads(max(1, cores // at_once))  # of this thread, and of threads that begin after it
        with torch.inference_mode():
            return work(part)

    try:
        with ThreadPoolExecutor(at_once, "openvocab-part") as pool:
            return torch.cat(list(pool.map(one, parts)))
    finally:
        torch.set_num_threads(cores)
