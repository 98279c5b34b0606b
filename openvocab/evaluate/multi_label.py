"""Several labels an image: mean average precision, and F1 at one threshold and at each label's best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, require
from openvocab.evaluate.arrays import check_scores, check_seed
from openvocab.evaluate.bootstrap import DRAWS, Estimate, estimate
from openvocab.prompts.labels import check_threshold

__all__ = ["MultiLabel", "MultiLabelRow", "classify_multi_label"]


@dataclass(frozen=True, slots=True)
class MultiLabelRow:
    """One label of the table; a figure that is not defined, as of a label that no image has, is None.

    images           how many have the label.
    average_precision  area under precision over recall, without interpolation.
    precision, recall, f1   at the threshold.
    best_threshold     the threshold with the best F1 on these very images, the highest of equals: an upper bound,
                       not a forecast.
    best_f1            F1 there.
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
class MultiLabel:
    """The figures of a multi-label classifier.

    images                how many there are.
    labels                  the C labels.
    mean_average_precision  over the labels that some image has, with its interval; None where no image has any.
    threshold               a label is given where its score is at least this.
    micro_f1                F1 over all pairs of image and label, with its interval.
    macro_f1                mean F1 of the labels that some image has or was given; None where there is none.
    rows                    C rows, in the order of labels.
    """

    images: int
    labels: tuple[str, ...]
    mean_average_precision: Estimate | None
    threshold: float
    micro_f1: Estimate
    macro_f1: float | None
    rows: tuple[MultiLabelRow, ...]


def classify_multi_label(
    scores: NDArray[Any],
    truth: NDArray[np.bool_],
    labels: Sequence[str],
    *,
    threshold: float = 0.5,
    seed: int = 0,
    draws: int = DRAWS,
) -> MultiLabel:
    """Return every figure of multi-label classification.

    Args:
        scores: (P, C) in 0 to 1.
        truth: (P, C) bool.
        labels: C labels.
        threshold: a label is given where its score is at least this.
        seed: of the bootstrap.
        draws: how often the bootstrap draws.

    Raises:
        BadInput: arrays of other shapes or ranges, no image or no label.
        BadOutput: a score is not finite.
        MissingExtra: scikit-learn is not installed.
    """
    check_seed(seed, labels, draws)
    check_scores("scores", scores, len(labels), within_0_and_1=True)
    if truth.shape != scores.shape or truth.dtype != np.bool_:
        raise BadInput(f"truth must be bool of shape {scores.shape}, got {truth.dtype} of shape {truth.shape}")
    least = check_threshold("threshold", threshold)
    given = scores >= least
    rows = _rows(scores, truth, given, labels)
    return MultiLabel(
        len(scores),
        tuple(labels),
        _mean_average_precision(scores, truth, seed, draws) if truth.any() else None,
        least,
        _micro_f1(truth, given, seed, draws),
        _mean([row.f1 for row in rows]),
        rows,
    )


def _mean_average_precision(scores: NDArray[Any], truth: NDArray[np.bool_], seed: int, draws: int) -> Estimate:
    """Scikit-learn's average precision of the images drawn, over the labels that one of them has."""
    labels = np.flatnonzero(truth.any(axis=0))

    def figure(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        areas = np.stack([_area(scores[:, row], truth[:, row], counts) for row in labels])
        with np.errstate(invalid="ignore"):
            mean: NDArray[np.float64] = np.nansum(areas, axis=0) / np.isfinite(areas).sum(axis=0)
        return mean

    return estimate(figure, len(scores), seed, draws)


def _area(scores: NDArray[Any], own: NDArray[np.bool_], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (B,) sums of precision times the gain in recall, for (B, P) counts; NaN where no image has the label."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # equal scores are one threshold
    weights = counts[:, order]
    hits, given = (np.cumsum(each, axis=1)[:, ends] for each in (weights * own[order], weights))
    precision = np.divide(hits, given, out=np.zeros_like(hits), where=given > 0)
    gains = np.diff(hits, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore"):
        area: NDArray[np.float64] = (gains * precision).sum(axis=1) / hits[:, -1]
    return area


def _mean(figures: Sequence[float | None]) -> float | None:
    defined = [figure for figure in figures if figure is not None]
    return float(np.mean(defined)) if defined else None


def _rows(
    scores: NDArray[Any], truth: NDArray[np.bool_], given: NDArray[np.bool_], labels: Sequence[str]
) -> tuple[MultiLabelRow, ...]:
    metrics: Any = require("sklearn.metrics", extra="evaluate")
    precision, recall, f1 = (
        np.atleast_1d(figures)
        for figures in metrics.precision_recall_fscore_support(
            truth.T.ravel() if len(labels) == 1 else truth,
            given.T.ravel() if len(labels) == 1 else given,
            **({"average": "binary"} if len(labels) == 1 else {}),
            zero_division=np.nan,
        )[:3]
    )
    rows = []
    for row, label in enumerate(labels):
        own, count = truth[:, row], int(truth[:, row].sum())
        area = float(metrics.average_precision_score(own, scores[:, row])) if count else None
        best = _best(metrics, own, scores[:, row]) if count else (None, None)
        at = [None if np.isnan(figure[row]) else float(figure[row]) for figure in (precision, recall, f1)]
        rows.append(MultiLabelRow(label, count, area, *at, *best))
    return tuple(rows)


def _best(metrics: Any, truth: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[float, float]:
    """Return the threshold with the best F1, the highest of equals, and that F1."""
    precision, recall, thresholds = metrics.precision_recall_curve(truth, scores)
    total = precision[:-1] + recall[:-1]
    f1 = np.divide(2 * precision[:-1] * recall[:-1], total, out=np.zeros_like(total), where=total > 0)
    place = len(f1) - 1 - int(f1[::-1].argmax())
    return float(thresholds[place]), float(f1[place])


def _micro_f1(truth: NDArray[np.bool_], given: NDArray[np.bool_], seed: int, draws: int) -> Estimate:
    """F1 = 2 TP / (pairs that are true + pairs that are given); NaN where there is neither."""
    hits, both = (truth & given).sum(axis=1), truth.sum(axis=1) + given.sum(axis=1)

    def figure(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            f1: NDArray[np.float64] = 2 * (counts @ hits) / (counts @ both)
        return f1

    return estimate(figure, len(truth), seed, draws)
