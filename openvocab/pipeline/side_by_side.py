"""A batch in parts that run at the same time on a processor, each in a thread of its own.

torch gives all cores to one layer and goes on when the last of them is done; where decoding wants the cores too, those
that are done wait for the one that was held up, at each of some hundred short layers. Parts of a batch do not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["side_by_side"]

T = TypeVar("T")

LEAST_PART = 4
"""Items under which a part is too small to be quick."""


def side_by_side(work: Callable[[Sequence[T]], Tensor], items: Sequence[T]) -> Tensor:
    """Return the (N, D) rows that work gives for N items, from as many parts at once as there are cores for.

    Args:
        work: gives a row for each item, whatever the others are; called in several threads, in inference mode.
        items: at least one.
    """
    cores = torch.get_num_threads()
    parts = min(cores, len(items) // LEAST_PART)
    if parts < 2:
        return work(items)

    def one(part: int) -> Tensor:
        torch.set_num_threads(max(1, cores // parts))  # of this thread, and of threads that begin after it
        with torch.inference_mode():
            return work(items[part * len(items) // parts : (part + 1) * len(items) // parts])

    try:
        with ThreadPoolExecutor(parts, "openvocab-part") as pool:
            return torch.cat(list(pool.map(one, range(parts))))
    finally:
        torch.set_num_threads(cores)
