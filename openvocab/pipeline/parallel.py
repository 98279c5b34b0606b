"""Run the parts of a batch in parallel on a CPU, one thread a part.

torch splits each layer over all cores and waits for the slowest. While other threads decode, that wait happens at each
of some hundred short layers; parts that run side by side do not wait for each other.
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

MIN_PART = 4
"""Items; a smaller part is inefficient."""

MAX_PART = 16
"""Items; the activations of a larger part do not fit into a core's cache."""


@contextmanager
def on_one_core() -> Iterator[None]:
    """Limit torch to one core in this thread, for work that several threads do at once."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(cores)


def side_by_side(work: Callable[[Sequence[T]], Tensor], items: Sequence[T]) -> Tensor:
    """Return the (N, D) rows of N items, computed in as many parts at once as there are cores.

    Args:
        work: Returns a row for each item, independent of the others; called in several threads, in inference mode.
        items: At least one.
    """
    cores = torch.get_num_threads()
    at_once = max(1, min(cores, len(items) // MIN_PART))
    count = max(at_once, -(-len(items) // MAX_PART))
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
