"""One label an image: accuracy, recall of each label, what is taken for what, and how far confidence can be trusted.

Ties: labels are ranked by score, and labels of equal score in the order of the vocabulary, so that every figure is the
same on every machine. The best label is then what numpy.argmax gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, require
from openvocab.evaluate.arrays import check_indices, check_scores, check_seed
from openvocab.evaluate.bootstrap import DRAWS, Estimate, Figure, estimate, share

__all__ = ["BINS", "Classification", "LabelRow", "Reliability", "classify", "rank_of_truth", "reliability"]

BINS = 15
"""Bins of the expected calibration error: of equal width over 0 to 1, as in Guo et al., 2017."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label of the table.

    images     how many have this label.
    recall       share of those that were given it; None where there is no such image.
    precision    share of the images given this label that have it; None where none was given it.
    f1           the harmonic mean of both; None where no image has it and none was given it.
    mistaken_for the other label that most of its images were given, the first of equals; None where there is none.
    """

    label: str
    images: int
    recall: float | None
    precision: float | None
    f1: float | None
    mistaken_for: str | None


@dataclass(frozen=True, eq=False, slots=True)
class Reliability:
    """Confidence against accuracy, in B bins of equal width; bin b holds b / B < confidence <= (b + 1) / B.

    The first bin holds a confidence of 0 too.

    counts       (B,) int64 images.
    confidence   (B,) float64 mean confidence; NaN in an empty bin.
    accuracy     (B,) float64 share of right labels; NaN in an empty bin.
    """

    counts: Indices
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between both, weighted by images."""
        gaps = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return float((gaps * self.counts).sum() / self.counts.sum())


@dataclass(frozen=True, eq=False, slots=True)
class Classification:
    """The figures of a classifier over P images and C labels.

    images               P.
    labels                 the C labels.
    top1, top5             share of images whose label is the best one, or among the five best; top5 is None where
                           there are fewer than five labels.
    mean_per_class_recall  mean recall of the labels that some image has.
    calibration_error      expected calibration error over BINS bins; None where no confidence was given.
    reliability            its bins; None where no confidence was given.
    rows                   C rows, in the order of labels.
    confusion              (C, C) int64 images; the row is the true label, the column the one given.
    ties                   images in which another label scores as much as the true one, so that order decided.
    """

    images: int
    labels: tuple[str, ...]
    top1: Estimate
    top5: Estimate | None
    mean_per_class_recall: Estimate
    calibration_error: Estimate | None
    reliability: Reliability | None
    rows: tuple[LabelRow, ...]
    confusion: Indices
    ties: int


def rank_of_truth(logits: NDArray[Any], truth: NDArray[Any]) -> Indices:
    """Return how many labels come before the true one in each image.

    Args:
        logits: (P, C) scores, of any scale.
        truth: (P,) indices of the true labels.

    Returns:
        (P,) int64 in 0 to C - 1.
    """
    own = np.take_along_axis(logits, truth[:, None], axis=1)
    before = (logits == own) & (np.arange(logits.shape[1]) < truth[:, None])
    ranks: Indices = ((logits > own) | before).sum(axis=1, dtype=np.int64)
    return ranks


def reliability(confidence: NDArray[Any], right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Return confidence against accuracy.

    Args:
        confidence: (P,) probabilities in 0 to 1 of the labels given.
        right: (P,) bool, whether the label given is the true one.
        bins: how many bins there are.
    """
    place = _bin_of(confidence, bins)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence.astype(np.float64), bins) / counts
        accuracy = np.bincount(place, right.astype(np.float64), bins) / counts
    return Reliability(counts.astype(np.int64), mean, accuracy)


def classify(
    logits: NDArray[Any],
    truth: NDArray[Any],
    labels: Sequence[str],
    *,
    confidence: NDArray[Any] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Classification:
    """Return every figure, with bootstrap 95 % intervals.

    Args:
        logits: (P, C) scores of any scale; not probabilities, whose small values are equal in float32.
        truth: (P,) indices into labels.
        labels: C labels.
        confidence: (P,) probability in 0 to 1 of each image's best label.
        seed: of the bootstrap; the same seed gives the same intervals.
        draws: how often the bootstrap draws.

    Raises:
        BadInput: arrays of other shapes, an index out of range, a confidence outside 0 to 1, no image or no label.
        BadOutput: a score is not finite.
        MissingExtra: scikit-learn is not installed.
    """
    check_seed(seed, labels, draws)
    check_scores("logits", logits, len(labels))
    check_indices("truth", truth, (len(logits),), len(labels))
    rank, images = rank_of_truth(logits, truth), len(logits)
    right = rank == 0
    return Classification(
        images,
        tuple(labels),
        estimate(share(right), images, seed, draws),
        estimate(share(rank < 5), images, seed, draws) if len(labels) >= 5 else None,
        estimate(_mean_recall(right, truth, len(labels)), images, seed, draws),
        *_calibrated(confidence, right, seed, draws),
        *_tables(logits.argmax(axis=1), truth, labels),
        _ties(logits, truth),
    )


def _ties(logits: NDArray[Any], truth: NDArray[Any]) -> int:
    """Return how many images have another label that scores as much as the true one."""
    own = np.take_along_axis(logits, truth[:, None], axis=1)
    return int(((logits == own).sum(axis=1) > 1).sum())


def _calibrated(
    confidence: NDArray[Any] | None, right: NDArray[np.bool_], seed: int, draws: int
) -> tuple[Estimate | None, Reliability | None]:
    """Return the expected calibration error and its bins.

    Raises:
        BadInput: confidence is not (P,) numbers in 0 to 1.
    """
    if confidence is None:
        return None, None
    if confidence.shape != right.shape or not np.all((confidence >= 0) & (confidence <= 1)):
        raise BadInput(f"confidence must be {len(right)} probabilities in 0 to 1; give each best label's")
    return estimate(_calibration(confidence, right), len(right), seed, draws), reliability(confidence, right)


def _bin_of(confidence: NDArray[Any], bins: int) -> NDArray[np.intp]:
    return np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.intp) - 1, 0, bins - 1)


def _calibration(confidence: NDArray[Any], right: NDArray[np.bool_]) -> Figure:
    """The expected calibration error of the images drawn: the bins' summed gaps over all images."""
    place, gap = _bin_of(confidence, BINS), right.astype(np.float64) - confidence.astype(np.float64)
    gaps: NDArray[np.float64] = np.where(place[:, None] == np.arange(BINS), gap[:, None], 0.0)
    return lambda counts: np.abs(counts @ gaps).sum(axis=1) / counts.sum(axis=1)


def _mean_recall(right: NDArray[np.bool_], truth: NDArray[Any], labels: int) -> Figure:
    """The mean recall of the images drawn, over the labels that one of them has."""
    from scipy.sparse import csr_array

    has = csr_array((np.ones(len(truth)), (np.arange(len(truth)), truth)), shape=(len(truth), labels))
    hit = csr_array((right.astype(np.float64), (np.arange(len(truth)), truth)), shape=has.shape)

    def figure(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            mean: NDArray[np.float64] = np.nanmean((counts @ hit) / (counts @ has), axis=1)
        return mean

    return figure


def _tables(given: Indices, truth: NDArray[Any], labels: Sequence[str]) -> tuple[tuple[LabelRow, ...], Indices]:
    """Return the row of each label and the confusion matrix."""
    metrics: Any = require("sklearn.metrics", extra="evaluate")
    every = np.arange(len(labels))
    confusion = metrics.confusion_matrix(truth, given, labels=every).astype(np.int64)
    precision, recall, f1, count = metrics.precision_recall_fscore_support(
        truth, given, labels=every, zero_division=np.nan
    )
    wrong = confusion - np.diag(np.diag(confusion))
    rows = tuple(
        LabelRow(
            label,
            int(count[row]),
            _or_none(recall[row]),
            _or_none(precision[row]),
            _or_none(f1[row]),
            labels[int(wrong[row].argmax())] if wrong[row].any() else None,
        )
        for row, label in enumerate(labels)
    )
    return rows, confusion


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
