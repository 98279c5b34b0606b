"""Validation of the arrays and numbers that metrics take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, BadOutput

__all__ = ["check_count", "check_indices", "check_scores", "check_seed"]


def check_scores(name: str, scores: NDArray[Any], columns: int, *, within_0_and_1: bool = False) -> None:
    """Check (P, columns) scores of P images.

    Raises:
        BadInput: The shape differs, there is no image, or a score is outside 0 to 1 where that is required.
        BadOutput: A score is not finite; the message names the image's index.
    """
    if scores.ndim != 2 or scores.shape[1] != columns:
        raise BadInput(f"{name} must have shape (images, {columns}), got {scores.shape}; give one column per label")
    if not len(scores):
        raise BadInput(f"{name} has no row; give at least one image")
    invalid = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(invalid):
        raise BadOutput(f"{name} of image {invalid[0]} are not finite; run the model in float32")
    if within_0_and_1 and not (scores.min() >= 0 and scores.max() <= 1):
        raise BadInput(f"{name} must lie in 0 to 1; give probabilities, not logits")


def check_indices(name: str, indices: NDArray[Any], shape: tuple[int, ...], below: int) -> None:
    """Check integers of a shape in 0 to below - 1.

    Raises:
        BadInput: The shape or dtype differs, or an index is out of range; the message names its position.
    """
    if indices.shape != shape or (indices.dtype.kind not in "iu" and indices.size):
        raise BadInput(f"{name} must be integers of shape {shape}, got {indices.dtype} of shape {indices.shape}")
    invalid = np.argwhere((indices < 0) | (indices >= below))
    if len(invalid):
        where = ", ".join(str(part) for part in invalid[0])
        raise BadInput(f"{name}[{where}] is {indices[tuple(invalid[0])]}, which must lie in 0 to {below - 1}")


def check_count(name: str, value: int, minimum: int = 1) -> None:
    """Check an integer.

    Raises:
        BadInput: The value is not an integer, or is less than minimum.
    """
    given: object = value
    if isinstance(given, bool) or not isinstance(given, int) or given < minimum:
        raise BadInput(f"{name} must be an integer of at least {minimum}, got {value!r}")


def check_seed(seed: int, labels: Sequence[str], resamples: int) -> None:
    """Check the bootstrap's seed and number of resamples, and that there is a label.

    Raises:
        BadInput: A number is too small or not an integer, or there is no label.
    """
    check_count("seed", seed, minimum=0)
    check_count("resamples", resamples)
    if not labels:
        raise BadInput("there are no labels, so nothing can be measured; give at least one")
