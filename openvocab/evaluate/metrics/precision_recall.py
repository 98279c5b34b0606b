"""Precision-recall curves of boxes as COCO computes them, with a bootstrap interval of their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.metrics.bootstrap import Estimate, estimate
from openvocab.evaluate.metrics.detection import GroundTruth, Matches, Predictions, match
from openvocab.pipeline.detections import Detections

__all__ = ["CURVE_RESAMPLES", "Curves", "precision_recall"]

_RECALLS = np.linspace(0, 1, 101)
"""COCO's recall thresholds."""

_MAX_BOXES = 100
"""Boxes per image and label that count, as in COCO."""

CURVE_RESAMPLES = 200
"""Number of bootstrap resamples; each one ranks all boxes again."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Curves:
    """Precision at COCO's 101 recall thresholds from 0 to 1, at one IoU.

    Attributes:
        min_iou: Minimum IoU of a match.
        objects: (C,) int64 number of objects of each label, without crowds.
        precision: (C, 101) float64 best precision at that recall or a higher one; NaN for a label without an object.
        mean: Mean over labels and recalls; at IoU 0.5 this is AP50.
    """

    min_iou: float
    objects: NDArray[np.int64]
    precision: Floats
    mean: Estimate


@dataclass(frozen=True, eq=False, slots=True)
class _Ranked:
    """The boxes of one label, best score first, without ignored ones.

    Attributes:
        image: (M,) int64 index of each box's image.
        correct: (M,) bool, whether the box is matched.
        objects: (P,) float64 number of objects of the label in each image.
    """

    image: NDArray[np.int64]
    correct: NDArray[np.bool_]
    objects: Floats


def precision_recall(
    truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions | Detections],
    labels: Sequence[str],
    *,
    min_iou: float = 0.5,
    seed: int = 0,
) -> Curves:
    """Return the precision-recall curve of each label, over the 100 best boxes per image and label, as in COCO.

    Args:
        truth: P images.
        predictions: The predictions of those P images, in the same order.
        labels: C labels.
        min_iou: Minimum IoU of a match.
        seed: Seed of the bootstrap.

    Raises:
        BadInput, BadOutput: See average_precision.
    """
    matches = match(truth, predictions, labels, min_iou=min_iou)
    ranked = [_ranked(row, truth, predictions, matches) for row in range(len(labels))]
    precision = np.stack([_precision(each, np.ones((1, len(truth))))[0] for each in ranked])
    objects = np.array([each.objects.sum() for each in ranked], np.int64)

    def mean(counts: Floats) -> Floats:
        rows = np.stack([_precision(each, counts).mean(axis=1) for each in ranked if each.objects.any()])
        with np.errstate(invalid="ignore"):
            values: Floats = np.nansum(rows, axis=0) / np.isfinite(rows).sum(axis=0)
        return values

    undefined = Estimate(np.nan, np.nan, np.nan)
    return Curves(
        min_iou,
        objects,
        precision,
        estimate(mean, len(truth), seed, CURVE_RESAMPLES) if objects.any() else undefined,
    )


def _ranked(
    label: int,
    truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions | Detections],
    matches: Sequence[Matches],
) -> _Ranked:
    images, scores, correct, objects = [], [], [], np.zeros(len(truth))
    for number, (one, predicted, matched) in enumerate(zip(truth, predictions, matches, strict=True)):
        of_label = one.class_ids == label
        objects[number] = (of_label if one.crowd is None else of_label & ~one.crowd).sum()
        rows = np.flatnonzero(predicted.class_ids == label)
        rows = rows[np.argsort(-predicted.scores[rows], kind="stable")][:_MAX_BOXES]
        rows = rows[~matched.ignored[rows]]
        images.append(np.full(len(rows), number))
        scores.append(predicted.scores[rows])
        correct.append(matched.object_ids[rows] >= 0)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return _Ranked(np.concatenate(images)[order].astype(np.int64), np.concatenate(correct)[order], objects)


def _precision(ranked: _Ranked, counts: Floats) -> Floats:
    """Return (B, 101) precision for (B, P) counts of how often each image is drawn; NaN without an object."""
    precision = np.full((len(counts), len(_RECALLS)), np.nan)
    for row, drawn in enumerate(counts):
        total = drawn @ ranked.objects
        if not total:
            continue
        weight = drawn[ranked.image]
        hits, predicted = np.cumsum(weight * ranked.correct), np.cumsum(weight)
        best = np.maximum.accumulate((hits / (predicted + np.spacing(1)))[::-1])[::-1]
        index = np.searchsorted(hits / total, _RECALLS)
        precision[row] = np.append(best, 0.0)[np.minimum(index, len(best))]
    return precision
