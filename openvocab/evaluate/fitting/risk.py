"""Conformal risk control of the false-negative rate.

Angelopoulos, Bates, Fisch, Lei and Schuster 2022, "Conformal Risk Control": for a loss in 0 to 1 that does not grow as
the threshold falls, the highest threshold with n / (n + 1) * mean loss + 1 / (n + 1) <= risk on n images keeps the
expected loss of a new image from the same source at the risk or less. The loss here is the share of an image's right
answers that are missed. The scores must not be fitted on those n images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.fitting.pairs import Pairs

__all__ = ["Guarantee", "control_risk", "miss_rate", "needed_images", "threshold_of"]

Floats = NDArray[np.float64]

_SPLITS = 100


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A threshold with a bound on the expected false-negative rate.

    Attributes:
        risk: The bound.
        threshold: Answers over it are reported; None if no threshold keeps the bound.
        images: Images that it was chosen on.
        held_out: Mean false-negative rate on held-out halves of those images, with thresholds chosen on the others;
            None if no threshold keeps the bound.
        held_out_share: Share of those halves whose rate is the bound or less.
        lowest: False-negative rate on the images if every answer is reported.
    """

    risk: float
    threshold: float | None
    images: int
    held_out: float | None
    held_out_share: float | None
    lowest: float


def needed_images(risk: float) -> int:
    """Return the least number of images with which a threshold can keep the bound: n with 1 / (n + 1) <= risk."""
    return int(np.ceil(1 / risk - 1e-9)) - 1


def control_risk(pairs: Pairs, scores: NDArray[np.float32], risk: float, seed: int = 0) -> Guarantee:
    """Choose the highest threshold that keeps the expected false-negative rate at the risk or less.

    Args:
        pairs: Answers for images that the scores were not fitted on.
        scores: (N,) their calibrated scores.
        risk: The bound, over 0 and under 1.
        seed: Of the splits that show the coverage.

    Raises:
        BadInput: the risk is outside 0 to 1, or there are too few images for it.
    """
    images = len(pairs.wanted)
    if not 0 < risk < 1:
        raise BadInput(f"a risk lies over 0 and under 1, got {risk:g}; 0.1 misses a tenth of the objects at most")
    if images < needed_images(risk):
        raise BadInput(f"a risk of {risk:g} needs {needed_images(risk)} images beside those of the fit, got {images}")
    lowest = float(miss_rate(pairs, np.ones(len(pairs), np.bool_)).mean())
    threshold = threshold_of(pairs, scores, risk)
    if threshold is None:
        return Guarantee(risk, None, images, None, None, lowest)
    rng = np.random.default_rng(seed)
    rates = np.array([_split(pairs, scores, risk, rng.permutation(images)) for _ in range(_SPLITS)])
    return Guarantee(risk, threshold, images, float(rates.mean()), float((rates <= risk).mean()), lowest)


def _split(pairs: Pairs, scores: NDArray[np.float32], risk: float, order: NDArray[np.int64]) -> float:
    """Return the rate on one half of the images, with the threshold of the other, or with every answer reported."""
    first = np.zeros(len(order), np.bool_)
    first[order[: len(order) // 2]] = True
    (chosen, own), (measured, others) = (_half(pairs, scores, half) for half in (first, ~first))
    threshold = threshold_of(chosen, own, risk)
    return float(miss_rate(measured, others > (-1.0 if threshold is None else threshold)).mean())


def _half(pairs: Pairs, scores: NDArray[np.float32], half: NDArray[np.bool_]) -> tuple[Pairs, NDArray[np.float32]]:
    """Return the pairs of some images and their scores; the images are counted anew."""
    rows, places = half[pairs.image], np.cumsum(half) - 1
    columns = pairs.label[rows], pairs.score[rows], pairs.hit[rows], pairs.wanted[half]
    return Pairs(pairs.labels, places[pairs.image[rows]], *columns), scores[rows]


def miss_rate(pairs: Pairs, kept: NDArray[np.bool_]) -> Floats:
    """Return the (P,) share of each image's right answers that are missed; 0 for an image that has none."""
    found = np.bincount(pairs.image[kept & pairs.hit], minlength=len(pairs.wanted))
    return np.asarray(np.where(pairs.wanted > 0, 1 - found / np.maximum(pairs.wanted, 1), 0.0))


def threshold_of(pairs: Pairs, scores: NDArray[np.float32], risk: float) -> float | None:
    """Return the highest threshold that keeps the bound, just under the score of the last right answer that it needs.

    Args:
        pairs: Answers for images that the scores were not fitted on.
        scores: (N,) their scores.
        risk: The bound.

    Returns:
        None if no threshold keeps it.
    """
    images, rows = len(pairs.wanted), np.flatnonzero(pairs.hit)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    found = np.concatenate([[0.0], np.cumsum(1 / np.maximum(pairs.wanted[pairs.image[rows]], 1))])
    missed = (pairs.wanted > 0).sum() - found
    enough = np.flatnonzero((missed + 1) / (images + 1) <= risk + 1e-12)
    if not len(enough):
        return None
    if not enough[0]:
        return 1.0
    last = scores[rows[enough[0] - 1]]
    return float(np.nextafter(last, np.float32(0))) if last > 0 else None
