"""Platt calibration of each label, shrunk toward a shared fit.

The probability that an answer is right is sigmoid(scale * logit(score) + shift) (Platt 1999). A label's scale and shift
have a Gaussian prior around those of all labels together, so that a label with few images stays near them. The
precision of the prior is the one of the best cross-validated likelihood: the choice of an empirical Bayes method
(Efron and Morris 1975, "Data analysis using Stein's estimator and its generalizations").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.fitting.pairs import Pairs
from openvocab.pipeline.calibration import logit

__all__ = ["PRECISIONS", "Platt", "cross_validated", "fit_platt"]

Floats = NDArray[np.float64]

PRECISIONS = (1.0, 3.0, 10.0, 30.0, np.inf)
"""Precisions of the prior to choose from, in squared units of logits; infinite: all labels share one fit."""
_WEAK = 1e-3
"""Precision of the prior of the shared fit around the identity, so that separable data have a finite fit."""
_STEPS = 25
_MIN_SCALE = 0.05


@dataclass(frozen=True, eq=False, slots=True)
class Platt:
    """Scales and shifts.

    Attributes:
        shared: Scale and shift of all labels together.
        scale: (C,) of each label.
        shift: (C,) of each label.
        precision: Of the prior.
    """

    shared: tuple[float, float]
    scale: Floats
    shift: Floats
    precision: float

    def log_odds(self, pairs: Pairs) -> Floats:
        """Return the (N,) calibrated log-odds."""
        return np.asarray(self.scale[pairs.label] * logit(pairs.score) + self.shift[pairs.label])


def fit_platt(pairs: Pairs, precision: float) -> Platt:
    """Fit the calibration of each label.

    Args:
        pairs: Scored answers; a label without one gets the shared fit.
        precision: Of the prior around the shared fit.
    """
    x, y, count = logit(pairs.score), pairs.hit.astype(np.float64), len(pairs.labels)
    one = np.zeros(len(pairs), np.int64)
    scale, shift = _newton(x, y, one, 1, (1.0, 0.0), _WEAK)
    shared = float(scale[0]), float(shift[0])
    if np.isinf(precision):
        return Platt(shared, np.full(count, shared[0]), np.full(count, shared[1]), precision)
    scales, shifts = _newton(x, y, pairs.label, count, shared, precision)
    return Platt(shared, scales, shifts, precision)


def _newton(
    x: Floats, y: Floats, group: NDArray[np.int64], count: int, prior: tuple[float, float], precision: float
) -> tuple[Floats, Floats]:
    """Maximize the penalized likelihood of each group by damped Newton steps."""
    scale, shift = np.full(count, prior[0]), np.full(count, prior[1])

    def total(values: Floats) -> Floats:
        return np.bincount(group, values, count).astype(np.float64)

    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(scale[group] * x + shift[group], -500, 500)))
        error, weight = p - y, p * (1 - p)
        slope = total(error * x) + precision * (scale - prior[0])
        level = total(error) + precision * (shift - prior[1])
        xx, xc, cc = total(weight * x * x) + precision, total(weight * x), total(weight) + precision
        det = xx * cc - xc * xc
        steps = np.stack([(cc * slope - xc * level) / det, (xx * level - xc * slope) / det])
        steps /= np.maximum(1, np.abs(steps).max(axis=0))
        scale, shift = np.maximum(scale - steps[0], _MIN_SCALE), shift - steps[1]
        if np.abs(steps).max() < 1e-6:
            break
    return scale, shift


def cross_validated(pairs: Pairs, folds: NDArray[np.int64]) -> tuple[float, Floats, Floats]:
    """Choose the precision of the prior.

    Args:
        pairs: Scored answers.
        folds: (P,) the fold of each image.

    Returns:
        The precision of the best likelihood, and (N,) log-odds from fits without the pair's fold: with that precision
        and with the shared fit.
    """
    made = {precision: np.zeros(len(pairs)) for precision in PRECISIONS}
    fold = folds[pairs.image]
    for each in np.unique(folds):
        inside, outside = fold == each, pairs.take(fold != each)
        for precision, values in made.items():
            values[inside] = fit_platt(outside, precision).log_odds(pairs.take(inside))
    losses = {precision: _loss(values, pairs.hit) for precision, values in made.items()}
    best = min(losses, key=lambda precision: losses[precision])
    return best, made[best], made[np.inf]


def _loss(log_odds: Floats, hit: NDArray[np.bool_]) -> float:
    """Return the summed negative log-likelihood."""
    return float(np.logaddexp(0, np.where(hit, -log_odds, log_odds)).sum())
