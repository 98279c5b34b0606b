"""Single-label classification: accuracy, per-label recall, confusion and calibration.

Labels are ranked by score; labels of equal score keep the order of the vocabulary, as numpy.argmax does. Metrics are
therefore the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, require
from openvocab.evaluate.metrics.bootstrap import RESAMPLES, Estimate, Statistic, estimate, mean_of
from openvocab.evaluate.metrics.checks import check_indices, check_scores, check_seed

__all__ = [
    "BINS",
    "ClassificationMetrics",
    "LabelMetrics",
    "Reliability",
    "bin_of",
    "classification_metrics",
    "rank_of_truth",
    "reliability",
]

BINS = 15
"""Number of equal-width bins of the expected calibration error, as in Guo et al., 2017."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelMetrics:
    """Metrics of one label.

    Attributes:
        label: The label.
        images: Number of images that have this label.
        recall: Share of those images that were predicted as this label; None without such an image.
        precision: Share of the images predicted as this label that have it; None without a prediction.
        f1: Harmonic mean of both; None without an image and a prediction.
        confused_with: The other label predicted most often for its images, the first of equals; None if there is none.
    """

    label: str
    images: int
    recall: float | None
    precision: float | None
    f1: float | None
    confused_with: str | None


@dataclass(frozen=True, eq=False, slots=True)
class Reliability:
    """Confidence against accuracy in B bins of equal width.

    Bin b holds b / B < confidence <= (b + 1) / B; the first bin also holds a confidence of 0.

    Attributes:
        counts: (B,) int64 number of images.
        confidence: (B,) float64 mean confidence; NaN in an empty bin.
        accuracy: (B,) float64 share of correct predictions; NaN in an empty bin.
    """

    counts: Indices
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between confidence and accuracy, weighted by images."""
        gaps = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return float((gaps * self.counts).sum() / self.counts.sum())


@dataclass(frozen=True, eq=False, slots=True)
class ClassificationMetrics:
    """Metrics of a classifier over P images and C labels.

    Attributes:
        images: P.
        labels: The C labels.
        top1: Share of images whose label ranks first.
        top5: Share of images whose label ranks among the first five; None with fewer than five labels.
        mean_per_class_recall: Mean recall over the labels that some image has.
        calibration_error: Expected calibration error over BINS bins; None without confidence.
        reliability: The bins of the calibration error; None without confidence.
        rows: C rows in the order of labels.
        confusion: (C, C) int64 number of images; rows are true labels, columns predicted labels.
        ties: Number of images in which another label scores the same as the true one.
    """

    images: int
    labels: tuple[str, ...]
    top1: Estimate
    top5: Estimate | None
    mean_per_class_recall: Estimate
    calibration_error: Estimate | None
    reliability: Reliability | None
    rows: tuple[LabelMetrics, ...]
    confusion: Indices
    ties: int


def rank_of_truth(logits: NDArray[Any], truth: NDArray[Any]) -> Indices:
    """Return the number of labels that rank before the true one in each image.

    Args:
        logits: (P, C) scores of any scale.
        truth: (P,) indices of the true labels.

    Returns:
        (P,) int64 in 0 to C - 1.
    """
    own = np.take_along_axis(logits, truth[:, None], axis=1)
    before = (logits == own) & (np.arange(logits.shape[1]) < truth[:, None])
    ranks: Indices = ((logits > own) | before).sum(axis=1, dtype=np.int64)
    return ranks


def reliability(confidence: NDArray[Any], correct: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Return confidence against accuracy.

    Args:
        confidence: (P,) probabilities in 0 to 1 of the predicted labels.
        correct: (P,) bool, whether the predicted label is the true one.
        bins: Number of bins.
    """
    bin_index = bin_of(confidence, bins)
    counts = np.bincount(bin_index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bin_index, confidence.astype(np.float64), bins) / counts
        accuracy = np.bincount(bin_index, correct.astype(np.float64), bins) / counts
    return Reliability(counts.astype(np.int64), mean, accuracy)


def classification_metrics(
    logits: NDArray[Any],
    truth: NDArray[Any],
    labels: Sequence[str],
    *,
    confidence: NDArray[Any] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ClassificationMetrics:
    """Return all metrics with bootstrap 95 % intervals.

    Args:
        logits: (P, C) scores of any scale. Do not pass probabilities: small ones are equal in float32.
        truth: (P,) indices into labels.
        labels: C labels.
        confidence: (P,) probability in 0 to 1 of each image's best label.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        BadInput: An array has another shape, an index or a confidence is out of range, or there is no image or label.
        BadOutput: A score is not finite.
        MissingExtra: scikit-learn is not installed.
    """
    check_seed(seed, labels, resamples)
    check_scores("logits", logits, len(labels))
    check_indices("truth", truth, (len(logits),), len(labels))
    rank, images = rank_of_truth(logits, truth), len(logits)
    correct = rank == 0
    return ClassificationMetrics(
        images,
        tuple(labels),
        estimate(mean_of(correct), images, seed, resamples),
        estimate(mean_of(rank < 5), images, seed, resamples) if len(labels) >= 5 else None,
        estimate(_mean_recall(correct, truth, len(labels)), images, seed, resamples),
        *_calibration(confidence, correct, seed, resamples),
        *_tables(logits.argmax(axis=1), truth, labels),
        _ties(logits, truth),
    )


def _ties(logits: NDArray[Any], truth: NDArray[Any]) -> int:
    """Return the number of images in which another label scores the same as the true one."""
    own = np.take_along_axis(logits, truth[:, None], axis=1)
    return int(((logits == own).sum(axis=1) > 1).sum())


def _calibration(
    confidence: NDArray[Any] | None, correct: NDArray[np.bool_], seed: int, resamples: int
) -> tuple[Estimate | None, Reliability | None]:
    """Return the expected calibration error and its bins.

    Raises:
        BadInput: confidence is not (P,) numbers in 0 to 1.
    """
    if confidence is None:
        return None, None
    if confidence.shape != correct.shape or not np.all((confidence >= 0) & (confidence <= 1)):
        raise BadInput(f"confidence must be {len(correct)} probabilities in 0 to 1; give that of each best label")
    error = estimate(_calibration_error(confidence, correct), len(correct), seed, resamples)
    return error, reliability(confidence, correct)


def bin_of(confidence: NDArray[Any], bins: int) -> NDArray[np.intp]:
    """Return the (P,) bins of confidences; see Reliability."""
    return np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.intp) - 1, 0, bins - 1)


def _calibration_error(confidence: NDArray[Any], correct: NDArray[np.bool_]) -> Statistic:
    """The expected calibration error: the sum over bins of the summed gaps, divided by the number of images."""
    gap = correct.astype(np.float64) - confidence.astype(np.float64)
    in_bin = bin_of(confidence, BINS)[:, None] == np.arange(BINS)
    gaps: NDArray[np.float64] = np.where(in_bin, gap[:, None], 0.0)
    return lambda counts: np.abs(counts @ gaps).sum(axis=1) / counts.sum(axis=1)


def _mean_recall(correct: NDArray[np.bool_], truth: NDArray[Any], labels: int) -> Statistic:
    """The mean recall over the labels that occur in a resample."""
    from scipy.sparse import csr_array

    images = np.arange(len(truth))
    has = csr_array((np.ones(len(truth)), (images, truth)), shape=(len(truth), labels))
    hit = csr_array((correct.astype(np.float64), (images, truth)), shape=has.shape)

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            mean: NDArray[np.float64] = np.nanmean((counts @ hit) / (counts @ has), axis=1)
        return mean

    return statistic


def _tables(predicted: Indices, truth: NDArray[Any], labels: Sequence[str]) -> tuple[tuple[LabelMetrics, ...], Indices]:
    """Return the row of each label and the confusion matrix."""
    sklearn: Any = require("sklearn.metrics", extra="evaluate")
    every = np.arange(len(labels))
    confusion = sklearn.confusion_matrix(truth, predicted, labels=every).astype(np.int64)
    precision, recall, f1, count = sklearn.precision_recall_fscore_support(
        truth, predicted, labels=every, zero_division=np.nan
    )
    wrong = confusion - np.diag(np.diag(confusion))
    rows = []
    for row, label in enumerate(labels):
        named = {"recall": recall[row], "precision": precision[row], "f1": f1[row]}
        values: dict[str, Any] = {name: None if np.isnan(each) else float(each) for name, each in named.items()}
        other = labels[int(wrong[row].argmax())] if wrong[row].any() else None
        rows.append(LabelMetrics(label, int(count[row]), **values, confused_with=other))
    return tuple(rows), confusion
