"""Boxes and masks against annotated images: COCO average precision and recall, counted by pycocotools; mean IoU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, BadOutput
from openvocab.evaluate.arrays import check_indices
from openvocab.pipeline.masks import encode_mask

__all__ = [
    "AveragePrecision",
    "Found",
    "Masks",
    "Matched",
    "MeanIoU",
    "Truth",
    "average_precision",
    "match",
    "mean_iou",
    "paired_iou",
]

Kind = Literal["box", "mask"]
Floats = NDArray[Any]
Masks = NDArray[np.bool_] | Sequence[Mapping[str, Any]]
"""(N, H, W) bool, or N of COCO's run-length codes {"size": [H, W], "counts": bytes or str}, which take less memory."""


@dataclass(frozen=True, eq=False, slots=True)
class Truth:
    """What is in one image: N annotated things.

    height, width  pixels of the image.
    xyxy           (N, 4) left, top, right, bottom in pixels, half-open.
    label_index    (N,) whole numbers.
    crowd          (N,) bool: a detection of many, in which a box is neither right nor wrong; None where there is none.
    masks          N masks, or None.
    areas          (N,) pixels that decide between small, medium and large, as COCO's annotations give them; where not
                   given, those of the masks, or else of the boxes.
    """

    height: int
    width: int
    xyxy: Floats
    label_index: NDArray[Any]
    crowd: NDArray[np.bool_] | None = None
    masks: Masks | None = None
    areas: Floats | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """What was found in one image.

    xyxy         (N, 4) left, top, right, bottom in pixels, half-open.
    scores       (N,) numbers.
    label_index  (N,) whole numbers.
    masks        N masks, or None.
    """

    xyxy: Floats
    scores: Floats
    label_index: NDArray[Any]
    masks: Masks | None = None


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """COCO's figures, each over the labels that some image has; None where there is nothing to find.

    ap, ap50, ap75        average precision, at IoU 0.50 to 0.95 in steps of 0.05, at 0.50 and at 0.75.
    small, medium, large  ap of things of less than 32 x 32 pixels, less than 96 x 96, and more.
    recall_1, recall_10, recall_100   mean best recall with that many boxes an image and label.
    per_label             label -> its ap.
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
    truth: Sequence[Truth], found: Sequence[Found], labels: Sequence[str], kind: Kind = "box"
) -> AveragePrecision:
    """Return COCO's average precision and recall.

    Boxes of equal score are ranked in the order given, within an image and from image to image.

    Args:
        truth: P images.
        found: what was found in those P images, in the same order.
        labels: C labels.
        kind: whether boxes or masks are compared.

    Raises:
        BadInput: arrays that do not fit each other, masks that are missing, or a box of no width or height in truth.
        BadOutput: a box or score that was found is not finite.
    """
    judge = _judge(truth, found, labels, kind)
    with _quiet():
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    stats: list[Any] = [None if value < 0 else float(value) for value in judge.stats[:9]]
    per_label = {label: _mean(judge.eval["precision"][:, :, row, 0, -1]) for row, label in enumerate(labels)}
    figures = dict(zip(_FIGURES, stats, strict=True))
    return AveragePrecision(**figures, per_label=per_label)


@dataclass(frozen=True, eq=False, slots=True)
class Matched:
    """Which of the N things of an image each of the M boxes found is, one to one.

    thing    (M,) int64 row of the thing; -1 for a box that is none.
    ignored  (M,) bool: the box lies in a crowd of its label, so that it is neither right nor wrong.
    """

    thing: NDArray[np.int64]
    ignored: NDArray[np.bool_]


def match(
    truth: Sequence[Truth], found: Sequence[Found], labels: Sequence[str], kind: Kind = "box", *, least: float = 0.5
) -> list[Matched]:
    """Return COCO's matches: best score first, each box takes the free thing of its label that it overlaps most.

    Args:
        least: the IoU that a match needs.

    Raises:
        BadInput, BadOutput: as average_precision.
    """
    judge = _judge(truth, found, labels, kind)
    judge.params.iouThrs, judge.params.maxDets = np.array([least]), [max(1, *(len(each.scores) for each in found))]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, np.inf]], ["all"]
    with _quiet():
        judge.evaluate()
    first_thing = np.cumsum([1, *(len(each.label_index) for each in truth)])
    first_box = np.cumsum([1, *(len(each.scores) for each in found)])
    made = [Matched(np.full(len(each.scores), -1), np.zeros(len(each.scores), bool)) for each in found]
    for one in filter(None, judge.evalImgs):
        place = one["image_id"] - 1
        rows = np.array(one["dtIds"], np.int64) - first_box[place]
        thing, ignored = one["dtMatches"][0].astype(np.int64), one["dtIgnore"][0].astype(bool)
        made[place].thing[rows] = np.where((thing > 0) & ~ignored, thing - first_thing[place], -1)
        made[place].ignored[rows] = ignored
    return made


def paired_iou(truth: Sequence[Any], found: Sequence[Any]) -> NDArray[np.float64]:
    """Return the (N,) IoU of N masks, (H, W) bool or run-length codes, with N others; two empty masks have 0."""
    from pycocotools import mask as coco_mask

    pairs = zip(map(_rle, truth), map(_rle, found), strict=True)
    ious = np.array([coco_mask.iou([other], [one], [0])[0, 0] for one, other in pairs], np.float64)
    return np.nan_to_num(ious)


def _judge(truth: Sequence[Truth], found: Sequence[Found], labels: Sequence[str], kind: Kind) -> Any:
    """Return pycocotools' COCOeval, before it evaluates; images, things and boxes have ids from 1.

    Raises:
        BadInput, BadOutput: as average_precision.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if len(truth) != len(found) or not truth:
        raise BadInput(f"{len(truth)} annotated images and {len(found)} answers; give one answer to each, at least one")
    for number, (one, other) in enumerate(zip(truth, found, strict=True)):
        _check_image(number, one, other, len(labels), kind)
    with _quiet():
        annotated = COCO()
        annotated.dataset = _dataset(truth, labels, kind)
        annotated.createIndex()
        rows = [row for number, each in enumerate(found, 1) for row in _rows(number, each, kind)]
        return COCOeval(annotated, annotated.loadRes(rows) if rows else _nothing(annotated), _COCO_KIND[kind])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pycocotools from printing: it reports each step."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


_FIGURES = ("ap", "ap50", "ap75", "small", "medium", "large", "recall_1", "recall_10", "recall_100")
_COCO_KIND = {"box": "bbox", "mask": "segm"}


def _check_image(number: int, truth: Truth, found: Found, labels: int, kind: Kind) -> None:
    """Raise unless the arrays of an image fit each other."""
    for name, each in (("truth", truth), ("found", found)):
        count = len(each.label_index)
        if each.xyxy.shape != (count, 4):
            raise BadInput(f"{name}[{number}].xyxy must have shape ({count}, 4), got {each.xyxy.shape}")
        check_indices(f"{name}[{number}].label_index", each.label_index, (count,), labels)
        wanted = (count, truth.height, truth.width)
        if kind == "mask" and (each.masks is None or (shape := _shape(each.masks, wanted)) != wanted):
            raise BadInput(f"{name}[{number}].masks must be {wanted}, got {'none' if each.masks is None else shape}")
    if found.scores.shape != found.label_index.shape:
        raise BadInput(f"found[{number}].scores must have shape {found.label_index.shape}, got {found.scores.shape}")
    if not (np.isfinite(found.xyxy).all() and np.isfinite(found.scores).all()):
        raise BadOutput(f"found[{number}] has a box or score that is not finite; run the model in float32")
    sides = truth.xyxy[:, 2:] - truth.xyxy[:, :2]
    if not (sides > 0).all():
        raise BadInput(f"truth[{number}].xyxy has a box of no width or height; drop it")


def _shape(masks: Masks, usual: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the shape of masks; of codes, the size of the first that is not as usual."""
    if isinstance(masks, np.ndarray):
        return masks.shape
    sizes = [(int(each["size"][0]), int(each["size"][1])) for each in masks]
    return len(masks), *next((size for size in sizes if size != usual[1:]), usual[1:])


def _xywh(xyxy: Floats) -> list[list[float]]:
    boxes = xyxy.astype(np.float64)
    plain: list[list[float]] = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return plain


def _rle(mask: NDArray[np.bool_] | Mapping[str, Any]) -> Any:
    return dict(mask) if isinstance(mask, Mapping) else encode_mask(mask)


def _dataset(truth: Sequence[Truth], labels: Sequence[str], kind: Kind) -> dict[str, Any]:
    """Return the annotations as pycocotools has them; ids count from 1."""
    annotations: list[dict[str, Any]] = []
    for number, each in enumerate(truth, 1):
        areas, boxes = _areas(each), _xywh(each.xyxy)
        for row, label in enumerate(each.label_index.tolist()):
            crowd = int(each.crowd is not None and bool(each.crowd[row]))
            one = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": boxes[row]}
            one |= {"area": float(areas[row]), "iscrowd": crowd}
            if kind == "mask" and each.masks is not None:
                one["segmentation"] = _rle(each.masks[row])
            annotations.append(one)
    images = [{"id": number, "height": each.height, "width": each.width} for number, each in enumerate(truth, 1)]
    categories = [{"id": row, "name": label} for row, label in enumerate(labels, 1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _areas(truth: Truth) -> Floats:
    if truth.areas is not None:
        return truth.areas
    if truth.masks is not None:
        return np.array([_pixels(mask) for mask in truth.masks], np.float64)
    sides = truth.xyxy[:, 2:].astype(np.float64) - truth.xyxy[:, :2]
    areas: Floats = sides[:, 0] * sides[:, 1]
    return areas


def _pixels(mask: NDArray[np.bool_] | Mapping[str, Any]) -> float:
    from pycocotools import mask as coco_mask

    return float(coco_mask.area(_rle(mask)))


def _rows(number: int, found: Found, kind: Kind) -> list[dict[str, Any]]:
    """Return what was found in an image as pycocotools reads results."""
    made = []
    for row, box in enumerate(_xywh(found.xyxy)):
        one = {"image_id": number, "category_id": int(found.label_index[row]) + 1, "score": float(found.scores[row])}
        shape = {"bbox": box} if found.masks is None or kind == "box" else {"segmentation": _rle(found.masks[row])}
        made.append(one | shape)
    return made


def _nothing(annotated: Any) -> Any:
    """Return a result without a row, which pycocotools cannot read."""
    from pycocotools.coco import COCO

    empty = COCO()
    empty.dataset = {**annotated.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean(precision: Floats) -> float | None:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else None


# --- semantic masks


@dataclass(frozen=True, slots=True)
class MeanIoU:
    """Intersection over union of labels as areas, over all images together.

    mean       over the labels that are in the truth or in the answer; None where there is none.
    per_label  label -> its own; None where it is in neither.
    """

    mean: float | None
    per_label: dict[str, float | None]


def mean_iou(
    truth: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]], labels: Sequence[str], *, ignore: int = 255
) -> MeanIoU:
    """Return the semantic mean IoU.

    Args:
        truth: P arrays (H, W) of whole numbers, the index of each pixel's label, or ignore where nobody knows.
        found: P arrays of the same shapes, each pixel an index.
        labels: C labels.
        ignore: the value of pixels that are left out.

    Raises:
        BadInput: the shapes differ, a value is neither an index nor ignore, or there is no image.
    """
    if len(truth) != len(found) or not truth:
        raise BadInput(f"{len(truth)} annotated images and {len(found)} answers; give one answer to each, at least one")
    size = len(labels)
    counts = np.zeros((size, size), np.int64)
    for number, (one, other) in enumerate(zip(truth, found, strict=True)):
        if one.shape != other.shape:
            raise BadInput(
                f"found[{number}] has shape {other.shape}, but truth has {one.shape}; give one pixel for each"
            )
        known = one != ignore
        for name, values in (("truth", one[known]), ("found", other[known])):
            check_indices(f"{name}[{number}]", values, values.shape, size)
        pairs = one[known].astype(np.int64) * size + other[known]
        counts += np.bincount(pairs, minlength=size * size).reshape(size, size)
    hit = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - hit
    per_label = {label: float(hit[row] / union[row]) if union[row] else None for row, label in enumerate(labels)}
    defined = [value for value in per_label.values() if value is not None]
    return MeanIoU(float(np.mean(defined)) if defined else None, per_label)
