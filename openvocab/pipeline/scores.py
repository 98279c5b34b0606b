"""Softmax and sigmoid of logits, in float64 inside, and the check of what a model answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadOutput

__all__ = ["refuse_nonfinite", "sigmoid", "softmax"]


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


def refuse_nonfinite(what: str, *numbers: NDArray[Any]) -> None:
    """Check what a model answers, which may come from another package.

    Raises:
        BadOutput: a number is not finite.
    """
    if not all(np.isfinite(each).all() for each in numbers):
        raise BadOutput(f"{what} are not finite; try dtype='float32'")
