"""Error types of a detection pipeline: every object and every detection gets exactly one, so shares add up to 1.

Boxes are matched as COCO does at IoU 0.5 (see detection.match). Unmatched objects and detections are classified by the
box or object that they overlap most, with the thresholds of TIDE (Bolya, Foley, Hays, Hoffman: TIDE: A General Toolbox
for Identifying Object Detection Errors, ECCV 2020): 0.5, and 0.1 for background. TIDE's six types are classification,
localization, both, duplicate, background and missed. TIDE has no error types for tags and masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.bootstrap import RESAMPLES, Estimate, estimate, ratio_of
from openvocab.evaluate.metrics.checks import check_seed
from openvocab.evaluate.metrics.detection import (
    GroundTruth,
    Masks,
    Matches,
    Predictions,
    mask_codes,
    match,
    paired_iou,
    xywh,
)
from openvocab.pipeline.detections import Detections

__all__ = [
    "BACKGROUND_IOU",
    "DETECTION_ERRORS",
    "MIN_IOU",
    "OBJECT_ERRORS",
    "ErrorCounts",
    "ImageErrors",
    "LabelErrors",
    "count_errors",
    "image_errors",
]

MIN_IOU, BACKGROUND_IOU = 0.5, 0.1
"""Minimum IoU of a correct box or mask; IoU under which a box counts as background."""

OBJECT_ERRORS = ("detected", "not tagged", "missed", "classification", "localization", "both", "mask")
"""Error types of an object; the first that holds, in the order below. A free box is one not matched to an object.

detected        A box of its label is matched to it, and its mask, if masks are compared, has IoU 0.5 or more.
mask            The box is matched, but the mask has IoU under 0.5.
not tagged      Its label was not queried.
missed          No free box has IoU 0.1 or more with it.
classification  The free box with the highest IoU has another label, and IoU 0.5 or more.
localization    The free box with the highest IoU has its label, and IoU under 0.5.
both            The free box with the highest IoU has another label, and IoU under 0.5.
"""

DETECTION_ERRORS = ("correct", "duplicate", "classification", "localization", "both", "mask", "background")
"""Error types of a detection.

correct, mask   It is matched to an object; its mask is correct, or not.
background      No object has IoU 0.1 or more with it.
classification  The object with the highest IoU has another label, and IoU 0.5 or more.
both            The object with the highest IoU has another label, and IoU under 0.5.
duplicate       That object has its label and IoU 0.5 or more, and is matched to a box of a higher score.
localization    That object has its label, and IoU under 0.5.
"""

_DETECTED, _NOT_TAGGED, _MISSED, _OBJECT_CLASS, _OBJECT_LOCALIZATION, _OBJECT_BOTH, _OBJECT_MASK = range(7)
_CORRECT, _DUPLICATE, _CLASS, _LOCALIZATION, _BOTH, _MASK, _BACKGROUND = range(7)


@dataclass(frozen=True, eq=False, slots=True)
class ImageErrors:
    """The error types of one image.

    Attributes:
        objects: (N,) int64 indices into OBJECT_ERRORS; -1 for a crowd, which is ignored.
        detections: (M,) int64 indices into DETECTION_ERRORS; -1 for a detection in a crowd of its label.
    """

    objects: NDArray[np.int64]
    detections: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """Error counts of one label.

    Attributes:
        label: The label.
        objects: Number of objects of each of OBJECT_ERRORS.
        detections: Number of detections of each of DETECTION_ERRORS.
    """

    label: str
    objects: tuple[int, ...]
    detections: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Precision, recall and error counts; undefined values, such as precision without a detection, are NaN.

    Attributes:
        precision: Share of the detections that are correct.
        recall: Share of the objects that are detected.
        f1: 2 correct / (detections + objects).
        objects: Error type -> number of objects, without crowds.
        detections: Error type -> number of detections, without those in crowds.
        rows: One row per label.
    """

    precision: Estimate
    recall: Estimate
    f1: Estimate
    objects: dict[str, int]
    detections: dict[str, int]
    rows: tuple[LabelErrors, ...]


def image_errors(
    truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions | Detections],
    labels: Sequence[str],
    queried: NDArray[np.bool_] | None = None,
    *,
    masks: bool = False,
) -> list[ImageErrors]:
    """Return the error types of P images.

    Args:
        truth: P images.
        predictions: The predictions of those P images, in the same order.
        labels: C labels.
        queried: (P, C) bool, whether the detector was queried for the label in the image; None if for all labels.
        masks: Compare masks too; both sides must have them.

    Raises:
        BadInput: Shapes do not match, or masks are missing.
        BadOutput: A predicted box or score is not finite.
    """
    matches = match(truth, predictions, labels, min_iou=MIN_IOU)
    if queried is not None and queried.shape != (len(truth), len(labels)):
        raise BadInput(f"queried must have shape ({len(truth)}, {len(labels)}), got {queried.shape}")
    errors = []
    for row, (one, other, matched) in enumerate(zip(truth, predictions, matches, strict=True)):
        own = np.ones(len(labels), bool) if queried is None else queried[row]
        good = _good_masks(one.masks, other.masks, matched) if masks else np.ones(len(other.scores), bool)
        errors.append(_image_errors(one, other, matched, own, good))
    return errors


def _good_masks(truth: Masks | None, predictions: Masks | None, matched: Matches) -> NDArray[np.bool_]:
    """Return (M,) bool: whether the mask of a matched box has IoU 0.5 or more with that of its object.

    Raises:
        BadInput: There are no masks.
    """
    if truth is None or predictions is None:
        raise BadInput("there are no masks to compare; give true and predicted masks")
    boxes = np.flatnonzero(matched.object_ids >= 0)
    true_codes, codes = mask_codes(truth), mask_codes(predictions)
    good = np.zeros(len(matched.object_ids), bool)
    pairs = [true_codes[row] for row in matched.object_ids[boxes]], [codes[row] for row in boxes]
    good[boxes] = paired_iou(*pairs) >= MIN_IOU
    return good


def _image_errors(
    truth: GroundTruth,
    predictions: Predictions | Detections,
    matched: Matches,
    queried: NDArray[np.bool_],
    good_mask: NDArray[np.bool_],
) -> ImageErrors:
    crowd = np.zeros(len(truth.class_ids), bool) if truth.crowd is None else truth.crowd
    same_label = truth.class_ids[:, None] == predictions.class_ids[None]
    ious = np.where(crowd[:, None], 0, _box_iou(truth.xyxy, predictions.xyxy))
    hit = matched.object_ids >= 0
    best, same = _best(np.where((hit | matched.ignored)[None], 0, ious), same_label)
    objects = np.select(_conditions(best, same), [_MISSED, _OBJECT_CLASS, _OBJECT_BOTH], _OBJECT_LOCALIZATION)
    objects[~queried[truth.class_ids]] = _NOT_TAGGED
    objects[matched.object_ids[hit]] = np.where(good_mask[hit], _DETECTED, _OBJECT_MASK)
    best, same = _best(ious.T, same_label.T)
    conditions = [*_conditions(best, same), best >= MIN_IOU]
    detections = np.select(conditions, [_BACKGROUND, _CLASS, _BOTH, _DUPLICATE], _LOCALIZATION)
    detections[hit] = np.where(good_mask[hit], _CORRECT, _MASK)
    objects[crowd], detections[matched.ignored] = -1, -1
    return ImageErrors(objects, detections)


def _conditions(best: NDArray[Any], same: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return for the highest IoU and its label: nothing near; another label; another label and a loose box."""
    return [best < BACKGROUND_IOU, ~same & (best >= MIN_IOU), ~same]


def _best(ious: NDArray[Any], same_label: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return for each of A rows the highest of its (A, B) IoUs, and whether that column has its label.

    Of equal IoUs the column of the same label wins. Without a column the IoU is 0.
    """
    if not ious.size:
        return np.zeros(len(ious)), np.zeros(len(ious), bool)
    rows, best = np.arange(len(ious)), np.lexsort((same_label, ious), axis=1)[:, -1]
    return ious[rows, best], same_label[rows, best]


def _box_iou(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Return the (N, M) IoU of boxes (N, 4) and (M, 4), as pycocotools computes it."""
    from pycocotools import mask as coco_mask

    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    return np.asarray(coco_mask.iou(xywh(first), xywh(second), [0] * len(second)), np.float64)


def count_errors(
    errors: Sequence[ImageErrors],
    truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions | Detections],
    labels: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ErrorCounts:
    """Return precision, recall, F1 and error counts, with bootstrap 95 % intervals over the images.

    Args:
        errors: What image_errors returned for these P images.
        truth: As given to image_errors.
        predictions: As given to image_errors.
        labels: As given to image_errors.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        BadInput: seed or resamples is out of range, or there is no label.
    """
    check_seed(seed, labels, resamples)
    size = len(labels)
    objects = _per_label([one.objects for one in errors], [one.class_ids for one in truth], size)
    detections = _per_label([one.detections for one in errors], [one.class_ids for one in predictions], size)
    correct = np.array([(one.detections == _CORRECT).sum() for one in errors], np.float64)
    predicted = np.array([(one.detections >= 0).sum() for one in errors], np.float64)
    actual = np.array([(one.objects >= 0).sum() for one in errors], np.float64)
    sums = ((correct, predicted), (correct, actual), (2 * correct, predicted + actual))
    precision, recall, f1 = (estimate(ratio_of(*each), len(errors), seed, resamples) for each in sums)
    return ErrorCounts(
        precision,
        recall,
        f1,
        dict(zip(OBJECT_ERRORS, objects.sum(axis=0).tolist(), strict=True)),
        dict(zip(DETECTION_ERRORS, detections.sum(axis=0).tolist(), strict=True)),
        tuple(map(LabelErrors, labels, map(tuple, objects.tolist()), map(tuple, detections.tolist()))),
    )


def _per_label(
    errors: Sequence[NDArray[np.int64]], class_ids: Sequence[NDArray[Any]], labels: int
) -> NDArray[np.int64]:
    """Return (C, 7) counts of error types per label."""
    kind = np.concatenate([*errors, np.zeros(0, np.int64)])
    label = np.concatenate([*class_ids, np.zeros(0, np.int64)]).astype(np.int64)
    kinds = len(OBJECT_ERRORS)  # as many as DETECTION_ERRORS
    return np.bincount((label * kinds + kind)[kind >= 0], minlength=labels * kinds).reshape(labels, kinds)
