"""From logits to scores, and from scores to the best of them: plain arithmetic on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_rows", "sigmoid", "softmax"]


def softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Return (P, C) scores of (P, C) logits; each row sums to 1. Any finite logits are fine."""
    if not logits.size:
        return np.zeros(logits.shape, np.float32)
    wide = np.asarray(logits, np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def sigmoid(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Return the score in 0 to 1 of each logit on its own, in the same shape. Any finite logits are fine."""
    wide = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(wide))
    return np.asarray(np.where(wide >= 0, 1, small) / (1 + small), np.float32)


def best_rows(scores: NDArray[np.float32], least: float, most: int) -> NDArray[np.intp]:
    """Return the indices of the (C,) scores of at least least, at most most of them, best first; ties in order."""
    rows = np.flatnonzero(scores >= least)
    if len(rows) > most:  # of 100,000 scores few are sorted; all that tie with the last one are
        rows = rows[scores[rows] >= np.partition(scores[rows], -most)[-most]]
    return rows[np.argsort(-scores[rows], kind="stable")][:most]
