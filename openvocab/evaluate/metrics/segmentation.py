"""Mask metrics: the IoU of masks prompted with true boxes, and semantic mean IoU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, counted
from openvocab.evaluate.metrics.bootstrap import RESAMPLES, Estimate, estimate, ratio_of
from openvocab.evaluate.metrics.checks import check_indices, check_seed
from openvocab.evaluate.metrics.detection import GroundTruth, Predictions, mask_codes, paired_iou
from openvocab.evaluate.metrics.error_types import MIN_IOU
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.masks import decode_mask

__all__ = ["BACKGROUND", "MaskMetrics", "MeanIoU", "mask_metrics", "mean_iou", "semantic_iou"]

BACKGROUND = "(background)"
"""Label of pixels in no mask; it counts as one more label, as in Pascal VOC."""

_IGNORE = 65535


@dataclass(frozen=True, slots=True)
class MaskMetrics:
    """IoU of masks prompted with true boxes, without crowds; undefined values are NaN or None.

    Attributes:
        objects: Number of objects.
        mean_iou: Mean IoU of the masks.
        share: Share of the masks with IoU 0.5 or more.
        per_label: label -> mean IoU of its masks; None without an object.
    """

    objects: int
    mean_iou: Estimate
    share: Estimate
    per_label: dict[str, float | None]


def mask_metrics(
    truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions | Detections],
    labels: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> MaskMetrics:
    """Return the IoU of masks prompted with true boxes, with bootstrap 95 % intervals over the images.

    Args:
        truth: P images with masks.
        predictions: P predictions with one mask for each object, in the same order.
        labels: C labels.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        BadInput: There is not one mask for each object, or seed or resamples is out of range.
    """
    check_seed(seed, labels, resamples)
    ious, class_ids = [], []
    for number, (one, other) in enumerate(zip(truth, predictions, strict=True)):
        if one.masks is None or other.masks is None or not len(one.masks) == len(other.masks) == len(one.class_ids):
            raise BadInput(f"image {number} does not have one true and one predicted mask for each object; add them")
        counts = np.ones(len(one.class_ids), bool) if one.crowd is None else ~one.crowd
        ious.append(paired_iou(mask_codes(one.masks), mask_codes(other.masks))[counts])
        class_ids.append(one.class_ids[counts])
    every, label_of = np.concatenate(ious), np.concatenate(class_ids).astype(np.int64)
    objects = np.array([len(each) for each in ious], np.float64)
    sums = (np.array([each.sum() for each in ious]), np.array([(each >= MIN_IOU).sum() for each in ious], np.float64))
    mean, share = (estimate(ratio_of(each, objects), len(ious), seed, resamples) for each in sums)
    per_label = {
        label: float(every[label_of == row].mean()) if (label_of == row).any() else None
        for row, label in enumerate(labels)
    }
    return MaskMetrics(len(every), mean, share, per_label)


# --- semantic segmentation


@dataclass(frozen=True, slots=True)
class MeanIoU:
    """Semantic IoU over the pixels of all images together.

    Attributes:
        mean: Mean over the labels that are in the truth or in the predictions; None if there is none.
        per_label: label -> IoU; None if it is in neither.
    """

    mean: float | None
    per_label: dict[str, float | None]


def mean_iou(
    truth: Sequence[NDArray[Any]], predictions: Sequence[NDArray[Any]], labels: Sequence[str], *, ignore: int = 255
) -> MeanIoU:
    """Return the semantic mean IoU.

    Args:
        truth: P integer arrays (H, W), the label index of each pixel, or ignore.
        predictions: P integer arrays of the same shapes, the label index of each pixel.
        labels: C labels.
        ignore: Value of pixels that are ignored.

    Raises:
        BadInput: Shapes differ, a value is neither a label index nor ignore, or there is no image.
    """
    if len(truth) != len(predictions) or not truth:
        counts = f"{counted(len(truth), 'annotated image')} and {counted(len(predictions), 'prediction')}"
        raise BadInput(f"{counts}; give one prediction for each image, and at least one image")
    size = len(labels)
    confusion = np.zeros((size, size), np.int64)
    for number, (one, other) in enumerate(zip(truth, predictions, strict=True)):
        if one.shape != other.shape:
            raise BadInput(f"predictions[{number}] must have the shape of truth, {one.shape}, got {other.shape}")
        known = one != ignore
        for name, values in (("truth", one[known]), ("predictions", other[known])):
            check_indices(f"{name}[{number}]", values, values.shape, size)
        pairs = one[known].astype(np.int64) * size + other[known]
        confusion += np.bincount(pairs, minlength=size * size).reshape(size, size)
    hit = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    per_label = {label: float(hit[row] / union[row]) if union[row] else None for row, label in enumerate(labels)}
    defined = [value for value in per_label.values() if value is not None]
    return MeanIoU(float(np.mean(defined)) if defined else None, per_label)


def semantic_iou(
    truth: Sequence[GroundTruth], predictions: Sequence[Predictions | Detections], labels: Sequence[str]
) -> MeanIoU:
    """Return the semantic mean IoU of instance masks; pixels in no mask count as one more label (see mean_iou).

    Where true masks overlap, the smaller one is on top; where predicted masks do, the one with the higher score.
    Pixels of crowds are ignored.

    Raises:
        BadInput: Masks are missing, or there is no image.
    """
    if any(one.masks is None for one in truth) or any(one.masks is None for one in predictions):
        raise BadInput("there are no masks to compare; give true and predicted masks")
    sizes = [(one.height, one.width) for one in truth]
    layers = [_prediction_layers(one, size) for one, size in zip(predictions, sizes, strict=True)]
    background = len(labels)
    known = _LabelMaps([_truth_layers(one) for one in truth], background)
    return mean_iou(known, _LabelMaps(layers, background), [*labels, BACKGROUND], ignore=_IGNORE)


@dataclass(frozen=True, slots=True)
class _Layers:
    """Masks and the values of their pixels, the bottom one first."""

    size: tuple[int, int]
    masks: tuple[Any, ...]
    values: tuple[int, ...]


def _truth_layers(one: GroundTruth) -> _Layers:
    from pycocotools import mask as coco_mask

    masks = mask_codes(one.masks)
    crowd = np.zeros(len(masks), bool) if one.crowd is None else one.crowd
    areas = np.array([float(coco_mask.area(each)) for each in masks])
    order = np.lexsort((-areas, ~crowd))
    values = (_IGNORE if crowd[row] else int(one.class_ids[row]) for row in order)
    return _Layers((one.height, one.width), tuple(masks[row] for row in order), tuple(values))


def _prediction_layers(one: Predictions | Detections, size: tuple[int, int]) -> _Layers:
    masks, order = mask_codes(one.masks), np.argsort(one.scores, kind="stable")
    return _Layers(size, tuple(masks[row] for row in order), tuple(int(one.class_ids[row]) for row in order))


class _LabelMaps(Sequence[NDArray[Any]]):
    """(H, W) uint16 label maps that are painted when indexed, so memory does not grow with the number of images."""

    def __init__(self, layers: Sequence[_Layers], background: int) -> None:
        self._layers, self._background = layers, background

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, row: Any) -> Any:
        layers = self._layers[row]
        canvas = np.full(layers.size, self._background, np.uint16)
        for mask, value in zip(layers.masks, layers.values, strict=True):
            canvas[decode_mask(mask)] = value
        return canvas

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[row] for row in range(len(self)))
