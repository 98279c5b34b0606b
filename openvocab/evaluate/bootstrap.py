"""Bootstrap 95 % intervals: images are drawn again with replacement, and the middle 95 % of the figures are kept.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993: the percentile interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DRAWS", "Estimate", "draws_of", "estimate", "share"]

DRAWS = 1000
"""How often the images are drawn again."""

_HELD = 2**24
"""Counts that are held at once."""

Floats = NDArray[np.float64]
Figure = Callable[[Floats], Floats]
"""(B, P) weights of P images -> (B,) figures; the weight says how often an image was drawn."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def draws_of(images: int, seed: int, draws: int = DRAWS) -> Iterator[Floats]:
    """Yield (B, images) counts, a few draws at once, that depend on the seed and not on how many come at once."""
    rng = np.random.default_rng(seed)
    size = max(1, _HELD // images)
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        counts = np.zeros((rows, images))
        for row in counts:
            row += np.bincount(rng.integers(0, images, images), minlength=images)
        yield counts


def estimate(figure: Figure, images: int, seed: int, draws: int = DRAWS) -> Estimate:
    """Return a figure over all images with its interval; draws for which it is not defined (NaN) are left out."""
    drawn = np.concatenate([figure(counts) for counts in draws_of(images, seed, draws)])
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return Estimate(float(figure(np.ones((1, images)))[0]), float(low), float(high))


def share(values: NDArray[Any]) -> Figure:
    """Return the figure that is the mean of (P,) values over the images drawn."""
    numbers = values.astype(np.float64)
    return lambda counts: counts @ numbers / counts.sum(axis=1)
