"""What the measures of this package ask of the arrays that they are given."""

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
        BadInput: another shape, no image, or, where asked for, a score outside 0 to 1.
        BadOutput: a score is not finite; the message has the image's index.
    """
    if scores.ndim != 2 or scores.shape[1] != columns:
        raise BadInput(f"{name} must have shape (images, {columns}), got {scores.shape}; give a column for each label")
    if not len(scores):
        raise BadInput(f"{name} has no row, so that there is nothing to measure; give at least one image")
    odd = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(odd):
        raise BadOutput(f"{name} of image {odd[0]} are not finite; run the model in float32")
    if within_0_and_1 and not (scores.min() >= 0 and scores.max() <= 1):
        raise BadInput(f"{name} must lie in 0 to 1; give probabilities, not logits")


def check_indices(name: str, indices: NDArray[Any], shape: tuple[int, ...], below: int) -> None:
    """Check whole numbers of a shape in 0 to below - 1.

    Raises:
        BadInput: another shape, another type, or one that is out of range; the message says where.
    """
    if indices.shape != shape or (indices.dtype.kind not in "iu" and indices.size):
        raise BadInput(f"{name} must be whole numbers of shape {shape}, got {indices.dtype} of shape {indices.shape}")
    odd = np.argwhere((indices < 0) | (indices >= below))
    if len(odd):
        where = ", ".join(str(part) for part in odd[0])
        raise BadInput(f"{name}[{where}] is {indices[tuple(odd[0])]}, which must lie in 0 to {below - 1}")


def check_count(name: str, value: int, least: int = 1) -> None:
    """Check a whole number.

    Raises:
        BadInput: it is no whole number, or less than least.
    """
    given: object = value
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise BadInput(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_seed(seed: int, labels: Sequence[str], draws: int) -> None:
    """Check the seed and the draws of a bootstrap, and that there is a label.

    Raises:
        BadInput: a number is too small or not whole, or there is no label.
    """
    check_count("seed", seed, least=0)
    check_count("draws", draws)
    if not labels:
        raise BadInput("there are no labels, so that there is nothing to measure; give at least one")
