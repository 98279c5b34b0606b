"""COCO average precision and recall of boxes and masks, computed by pycocotools, and its matches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, BadOutput, counted
from openvocab.evaluate.metrics.checks import check_indices
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.masks import EncodedMasks, encode_mask

__all__ = [
    "AveragePrecision",
    "GroundTruth",
    "Kind",
    "Masks",
    "Matches",
    "Predictions",
    "average_precision",
    "mask_codes",
    "match",
    "paired_iou",
    "xywh",
]

Kind = Literal["box", "mask"]
_STATS = ("ap", "ap50", "ap75", "small", "medium", "large", "recall_1", "recall_10", "recall_100")
Floats = NDArray[Any]
Masks = NDArray[np.bool_] | EncodedMasks | Sequence[Mapping[str, Any]]
"""(N, H, W) bool, or the same as COCO run-length encoding, which takes less memory: EncodedMasks, or N mappings
{"size": [H, W], "counts": bytes or str}."""


@dataclass(frozen=True, eq=False, slots=True)
class GroundTruth:
    """The N annotated objects of one image.

    Attributes:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        xyxy: (N, 4) left, top, right, bottom in pixels, half-open.
        class_ids: (N,) integer indices of labels.
        crowd: (N,) bool, COCO's iscrowd: boxes inside are ignored; None if there is no crowd.
        masks: N masks; None if the data have boxes only.
        areas: (N,) areas in pixels that decide between small, medium and large, as in COCO's annotations; computed
            from the masks, or else from the boxes, where not given.
    """

    height: int
    width: int
    xyxy: Floats
    class_ids: NDArray[Any]
    crowd: NDArray[np.bool_] | None = None
    masks: Masks | None = None
    areas: Floats | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Predictions:
    """The N predicted objects of one image as plain arrays; openvocab.Detections can be given in its place.

    Attributes:
        xyxy: (N, 4) left, top, right, bottom in pixels, half-open.
        scores: (N,) scores.
        class_ids: (N,) integer indices of labels.
        masks: N masks, or None.
    """

    xyxy: Floats
    scores: Floats
    class_ids: NDArray[Any]
    masks: Masks | None = None


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """COCO's metrics, averaged over the labels that some image has; None where no object counts.

    Attributes:
        ap: Average precision at IoU 0.50 to 0.95 in steps of 0.05.
        ap50: Average precision at IoU 0.50.
        ap75: Average precision at IoU 0.75.
        small: ap of objects of less than 32 x 32 pixels.
        medium: ap of objects of 32 x 32 to 96 x 96 pixels.
        large: ap of objects of more than 96 x 96 pixels.
        recall_1: Mean maximum recall with 1 box per image and label.
        recall_10: Mean maximum recall with 10 boxes per image and label.
        recall_100: Mean maximum recall with 100 boxes per image and label.
        per_label: label -> its ap.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None
    recall_1: float | None
    recall_10: float | None
    recall_100: float | None
    per_label: dict[str, float | None]


def average_precision(
    truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions | Detections],
    labels: Sequence[str],
    kind: Kind = "box",
) -> AveragePrecision:
    """Return COCO's average precision and recall.

    Boxes of equal score are ranked in the order given, within an image and across images.

    Args:
        truth: P images.
        predictions: The predictions of those P images, in the same order; class_ids are indices into labels.
        labels: C labels.
        kind: Compare boxes or masks.

    Raises:
        BadInput: Shapes do not match, masks are missing, or a true box has no width or height.
        BadOutput: A predicted box or score is not finite.
    """
    coco_eval = _coco_eval(truth, predictions, labels, kind)
    with _no_stdout():
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    stats: list[Any] = [None if value < 0 else float(value) for value in coco_eval.stats[:9]]
    per_label = {label: _mean(coco_eval.eval["precision"][:, :, row, 0, -1]) for row, label in enumerate(labels)}
    return AveragePrecision(**dict(zip(_STATS, stats, strict=True)), per_label=per_label)


@dataclass(frozen=True, eq=False, slots=True)
class Matches:
    """One-to-one matches of the M predictions of an image with its N objects.

    Attributes:
        object_ids: (M,) int64 row of the matched object; -1 without a match.
        ignored: (M,) bool: the prediction lies in a crowd of its label and counts neither way.
    """

    object_ids: NDArray[np.int64]
    ignored: NDArray[np.bool_]


def match(
    truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions | Detections],
    labels: Sequence[str],
    kind: Kind = "box",
    *,
    min_iou: float = 0.5,
) -> list[Matches]:
    """Return COCO's matches: in order of score, each box takes the unmatched object of its label with the highest IoU.

    Args:
        min_iou: Minimum IoU of a match.

    Raises:
        BadInput, BadOutput: See average_precision.
    """
    coco_eval = _coco_eval(truth, predictions, labels, kind)
    coco_eval.params.iouThrs = np.array([min_iou])
    coco_eval.params.maxDets = [max(1, *(len(each.scores) for each in predictions))]
    coco_eval.params.areaRng, coco_eval.params.areaRngLbl = [[0, np.inf]], ["all"]
    with _no_stdout():
        coco_eval.evaluate()
    first_object = np.cumsum([1, *(len(each.class_ids) for each in truth)])
    first_box = np.cumsum([1, *(len(each.scores) for each in predictions)])
    matches = [Matches(np.full(len(each.scores), -1), np.zeros(len(each.scores), bool)) for each in predictions]
    for one in filter(None, coco_eval.evalImgs):
        image = one["image_id"] - 1
        rows = np.array(one["dtIds"], np.int64) - first_box[image]
        matched, ignored = one["dtMatches"][0].astype(np.int64), one["dtIgnore"][0].astype(bool)
        matches[image].object_ids[rows] = np.where((matched > 0) & ~ignored, matched - first_object[image], -1)
        matches[image].ignored[rows] = ignored
    return matches


def mask_codes(masks: Masks | None) -> list[dict[str, Any]]:
    """Return N masks as COCO run-length encoding; an empty list for None."""
    if isinstance(masks, EncodedMasks):
        return [masks.rle(row) for row in range(len(masks))]
    if masks is None:
        return []
    return [encode_mask(mask) if isinstance(mask, np.ndarray) else dict(mask) for mask in masks]


def paired_iou(truth: Sequence[Any], predictions: Sequence[Any]) -> NDArray[np.float64]:
    """Return the (N,) IoU of N run-length encoded masks with N others; two empty masks have 0."""
    from pycocotools import mask as coco_mask

    pairs = zip(truth, predictions, strict=True)
    ious = np.array([coco_mask.iou([other], [one], [0])[0, 0] for one, other in pairs], np.float64)
    return np.nan_to_num(ious)


def _coco_eval(
    truth: Sequence[GroundTruth], predictions: Sequence[Predictions | Detections], labels: Sequence[str], kind: Kind
) -> Any:
    """Return pycocotools' COCOeval before evaluation; ids of images, objects and boxes start at 1.

    Raises:
        BadInput, BadOutput: See average_precision.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if len(truth) != len(predictions) or not truth:
        counts = f"{counted(len(truth), 'annotated image')} and {counted(len(predictions), 'prediction')}"
        raise BadInput(f"{counts}; give one prediction for each image, and at least one image")
    for number, (one, other) in enumerate(zip(truth, predictions, strict=True)):
        _check_image(number, one, other, len(labels), kind)
    with _no_stdout():
        coco = COCO()
        coco.dataset = _coco_dataset(truth, labels, kind)
        coco.createIndex()
        rows = [row for number, each in enumerate(predictions, 1) for row in _coco_results(number, each, kind)]
        results = coco.loadRes(rows) if rows else _empty_results(coco)
        return COCOeval(coco, results, {"box": "bbox", "mask": "segm"}[kind])


@contextmanager
def _no_stdout() -> Iterator[None]:
    """Suppress what pycocotools prints at every step."""
    with open(os.devnull, "w", encoding="utf-8") as devnull, redirect_stdout(devnull):
        yield


def _check_image(
    number: int, truth: GroundTruth, predictions: Predictions | Detections, labels: int, kind: Kind
) -> None:
    """Raise unless the arrays of an image match."""
    both: tuple[tuple[str, GroundTruth | Predictions | Detections], ...]
    both = (("truth", truth), ("predictions", predictions))
    for name, each in both:
        count = len(each.class_ids)
        if each.xyxy.shape != (count, 4):
            raise BadInput(f"{name}[{number}].xyxy must have shape ({count}, 4), got {each.xyxy.shape}")
        check_indices(f"{name}[{number}].class_ids", each.class_ids, (count,), labels)
        wanted = (count, truth.height, truth.width)
        if kind == "mask" and (each.masks is None or (shape := _shape(each.masks, wanted)) != wanted):
            raise BadInput(f"{name}[{number}].masks must be {wanted}, got {'none' if each.masks is None else shape}")
    scores, wanted_shape = predictions.scores, predictions.class_ids.shape
    if scores.shape != wanted_shape:
        raise BadInput(f"predictions[{number}].scores must have shape {wanted_shape}, got {scores.shape}")
    if not (np.isfinite(predictions.xyxy).all() and np.isfinite(scores).all()):
        raise BadOutput(f"predictions[{number}] has a box or score that is not finite; run the model in float32")
    if not (truth.xyxy[:, 2:] > truth.xyxy[:, :2]).all():
        raise BadInput(f"truth[{number}].xyxy has a box of no width or height; remove it")


def _shape(masks: Masks, expected: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the shape of masks; of run-length encodings, with the first size that is not as expected."""
    if isinstance(masks, np.ndarray | EncodedMasks):
        return masks.shape
    sizes = [(int(each["size"][0]), int(each["size"][1])) for each in masks]
    return len(masks), *next((size for size in sizes if size != expected[1:]), expected[1:])


def xywh(xyxy: Floats) -> NDArray[np.float64]:
    """Return (N, 4) left, top, width and height of (N, 4) left, top, right and bottom."""
    boxes = xyxy.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _coco_dataset(truth: Sequence[GroundTruth], labels: Sequence[str], kind: Kind) -> dict[str, Any]:
    """Return the annotations as pycocotools takes them; ids start at 1."""
    annotations: list[dict[str, Any]] = []
    for number, each in enumerate(truth, 1):
        areas, boxes, codes = _areas(each), xywh(each.xyxy).tolist(), mask_codes(each.masks) if kind == "mask" else []
        for row, label in enumerate(each.class_ids.tolist()):
            crowd = int(each.crowd is not None and bool(each.crowd[row]))
            one = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": boxes[row]}
            one |= {"area": float(areas[row]), "iscrowd": crowd}
            annotations.append(one | ({"segmentation": codes[row]} if codes else {}))
    images = [{"id": number, "height": each.height, "width": each.width} for number, each in enumerate(truth, 1)]
    categories = [{"id": row, "name": label} for row, label in enumerate(labels, 1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _areas(truth: GroundTruth) -> Floats:
    from pycocotools import mask as coco_mask

    if truth.areas is not None:
        return truth.areas
    if truth.masks is not None:
        return np.array([float(coco_mask.area(code)) for code in mask_codes(truth.masks)], np.float64)
    sides = truth.xyxy[:, 2:].astype(np.float64) - truth.xyxy[:, :2]
    areas: Floats = sides[:, 0] * sides[:, 1]
    return areas


def _coco_results(number: int, predictions: Predictions | Detections, kind: Kind) -> Iterator[dict[str, Any]]:
    """Yield the predictions of an image as pycocotools takes results."""
    codes = mask_codes(predictions.masks) if kind == "mask" else []
    for row, box in enumerate(xywh(predictions.xyxy).tolist()):
        shape: dict[str, Any] = {"segmentation": codes[row]} if codes else {"bbox": box}
        label, score = int(predictions.class_ids[row]) + 1, float(predictions.scores[row])
        yield {"image_id": number, "category_id": label, "score": score} | shape


def _empty_results(coco: Any) -> Any:
    """Return results without a row, which pycocotools cannot load."""
    from pycocotools.coco import COCO

    empty = COCO()
    empty.dataset = {**coco.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean(precision: Floats) -> float | None:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else None
