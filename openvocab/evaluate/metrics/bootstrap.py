"""Bootstrap 95 % confidence intervals over images: the percentile interval.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESAMPLES", "Estimate", "Statistic", "estimate", "mean_of", "ratio_of", "resample_counts"]

RESAMPLES = 1000
"""Default number of bootstrap resamples."""

_MAX_COUNTS = 2**24
"""Maximum number of counts in memory at once."""

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""(B, P) weights of P images -> (B,) values; a weight says how often the image was drawn."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric with its 95 % confidence interval.

    Attributes:
        value: The metric over all images.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def resample_counts(images: int, seed: int, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """Yield (B, images) counts in chunks; they depend on the seed and not on the size of a chunk."""
    rng = np.random.default_rng(seed)
    size = max(1, _MAX_COUNTS // images)
    for start in range(0, resamples, size):
        counts = np.zeros((min(size, resamples - start), images))
        for row in counts:
            row += np.bincount(rng.integers(0, images, images), minlength=images)
        yield counts


def estimate(statistic: Statistic, images: int, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """Return a statistic over all images with its interval; resamples for which it is NaN are ignored."""
    drawn = np.concatenate([statistic(counts) for counts in resample_counts(images, seed, resamples)])
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return Estimate(float(statistic(np.ones((1, images)))[0]), float(low), float(high))


def mean_of(values: NDArray[Any]) -> Statistic:
    """Return the statistic that is the mean of (P,) values."""
    numbers = values.astype(np.float64)
    return lambda counts: counts @ numbers / counts.sum(axis=1)


def ratio_of(numerator: Floats, denominator: Floats) -> Statistic:
    """Return the statistic that is the ratio of two sums of (P,) values; NaN where the denominator is 0."""

    def statistic(counts: Floats) -> Floats:
        total = counts @ denominator
        ratio: Floats = np.divide(counts @ numerator, total, out=np.full(len(total), np.nan), where=total > 0)
        return ratio

    return statistic
