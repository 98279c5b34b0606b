"""Multi-label classification: mean average precision, and F1 at one threshold and at each label's best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, require
from openvocab.evaluate.metrics.bootstrap import RESAMPLES, Estimate, Statistic, estimate
from openvocab.evaluate.metrics.checks import check_scores, check_seed
from openvocab.prompts.labels import check_threshold

__all__ = ["MultiLabelMetrics", "MultiLabelRow", "multi_label_metrics"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MultiLabelRow:
    """Metrics of one label; those that are undefined, such as recall without an image, are None.

    Attributes:
        label: The label.
        images: Number of images that have the label.
        average_precision: Area under precision over recall, without interpolation.
        precision: At the threshold.
        recall: At the threshold.
        f1: At the threshold.
        best_threshold: The threshold with the best F1 on these images, the highest of equals. This is an upper bound
            and not an estimate for other images.
        best_f1: F1 at best_threshold.
    """

    label: str
    images: int
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    best_threshold: float | None
    best_f1: float | None


@dataclass(frozen=True, eq=False, slots=True)
class MultiLabelMetrics:
    """Metrics of a multi-label classifier over P images and C labels.

    Attributes:
        images: P.
        labels: The C labels.
        mean_average_precision: Mean over the labels that some image has; None without such a label.
        threshold: A label is predicted if its score is at least this.
        micro_f1: F1 over all pairs of image and label.
        macro_f1: Mean F1 over the labels that some image has or was predicted to have; None without such a label.
        rows: C rows in the order of labels.
    """

    images: int
    labels: tuple[str, ...]
    mean_average_precision: Estimate | None
    threshold: float
    micro_f1: Estimate
    macro_f1: float | None
    rows: tuple[MultiLabelRow, ...]


def multi_label_metrics(
    scores: NDArray[Any],
    truth: NDArray[np.bool_],
    labels: Sequence[str],
    *,
    threshold: float = 0.5,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> MultiLabelMetrics:
    """Return all metrics of multi-label classification.

    Args:
        scores: (P, C) in 0 to 1.
        truth: (P, C) bool.
        labels: C labels.
        threshold: A label is predicted if its score is at least this.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        BadInput: An array has another shape or range, or there is no image or label.
        BadOutput: A score is not finite.
        MissingExtra: scikit-learn is not installed.
    """
    check_seed(seed, labels, resamples)
    check_scores("scores", scores, len(labels), within_0_and_1=True)
    if truth.shape != scores.shape or truth.dtype != np.bool_:
        raise BadInput(f"truth must be bool of shape {scores.shape}, got {truth.dtype} of shape {truth.shape}")
    predicted = scores >= (min_score := check_threshold("threshold", threshold))
    rows = _rows(scores, truth, predicted, labels)
    f1 = [row.f1 for row in rows if row.f1 is not None]
    return MultiLabelMetrics(
        len(scores),
        tuple(labels),
        estimate(_mean_average_precision(scores, truth), len(scores), seed, resamples) if truth.any() else None,
        min_score,
        estimate(_micro_f1(truth, predicted), len(scores), seed, resamples),
        float(np.mean(f1)) if f1 else None,
        rows,
    )


def _mean_average_precision(scores: NDArray[Any], truth: NDArray[np.bool_]) -> Statistic:
    """Average precision as scikit-learn defines it, averaged over the labels that occur in a resample."""
    labels = np.flatnonzero(truth.any(axis=0))

    def statistic(counts: Floats) -> Floats:
        areas = np.stack([_area(scores[:, row], truth[:, row], counts) for row in labels])
        with np.errstate(invalid="ignore"):
            mean: Floats = np.nansum(areas, axis=0) / np.isfinite(areas).sum(axis=0)
        return mean

    return statistic


def _area(scores: NDArray[Any], own: NDArray[np.bool_], counts: Floats) -> Floats:
    """Return (B,) sums of precision times the gain in recall for (B, P) counts; NaN where no image has the label."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # equal scores share one threshold
    weights = counts[:, order]
    hits, predicted = (np.cumsum(each, axis=1)[:, ends] for each in (weights * own[order], weights))
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    gains = np.diff(hits, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore"):
        area: Floats = (gains * precision).sum(axis=1) / hits[:, -1]
    return area


def _rows(
    scores: NDArray[Any], truth: NDArray[np.bool_], predicted: NDArray[np.bool_], labels: Sequence[str]
) -> tuple[MultiLabelRow, ...]:
    sklearn: Any = require("sklearn.metrics", extra="evaluate")
    single = len(labels) == 1  # scikit-learn takes one column as a binary problem
    precision, recall, f1 = map(
        np.atleast_1d,
        sklearn.precision_recall_fscore_support(
            truth.ravel() if single else truth,
            predicted.ravel() if single else predicted,
            **({"average": "binary"} if single else {}),
            zero_division=np.nan,
        )[:3],
    )
    rows = []
    for row, label in enumerate(labels):
        own, count = truth[:, row], int(truth[:, row].sum())
        area = float(sklearn.average_precision_score(own, scores[:, row])) if count else None
        best = _best_threshold(sklearn, own, scores[:, row]) if count else (None, None)
        at_threshold = [None if np.isnan(each[row]) else float(each[row]) for each in (precision, recall, f1)]
        rows.append(MultiLabelRow(label, count, area, *at_threshold, *best))
    return tuple(rows)


def _best_threshold(sklearn: Any, truth: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[float, float]:
    """Return the threshold with the best F1, the highest of equals, and that F1."""
    precision, recall, thresholds = sklearn.precision_recall_curve(truth, scores)
    total = precision[:-1] + recall[:-1]
    f1 = np.divide(2 * precision[:-1] * recall[:-1], total, out=np.zeros_like(total), where=total > 0)
    best = len(f1) - 1 - int(f1[::-1].argmax())
    return float(thresholds[best]), float(f1[best])


def _micro_f1(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Statistic:
    """F1 = 2 TP / (true pairs + predicted pairs); NaN without a pair."""
    hits, both = (truth & predicted).sum(axis=1), truth.sum(axis=1) + predicted.sum(axis=1)

    def statistic(counts: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            f1: Floats = 2 * (counts @ hits) / (counts @ both)
        return f1

    return statistic
