"""Where the chain loses: each true thing and each detection found has exactly one fate, so that the shares add up.

Boxes are matched as COCO does at IoU 0.5 (see detection.match). What is left over is explained by what it overlaps
most, with the limits of TIDE (Bolya, Foley, Hays, Hoffman: TIDE, A General Toolbox for Identifying Object Detection
Errors, ECCV 2020): 0.5 and, below which a box is background, 0.1. TIDE has a class of its own for boxes that are both
loose and of a wrong label; here they count under the wrong label. Tags and masks are no part of TIDE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.arrays import check_seed
from openvocab.evaluate.bootstrap import DRAWS, Estimate, Figure, estimate
from openvocab.evaluate.detection import Found, Masks, Matched, Truth, match, paired_iou

__all__ = [
    "DETECTION_FATES",
    "LEAST_OVERLAP",
    "OVERLAP",
    "THING_FATES",
    "ChainFigures",
    "Fates",
    "LabelFates",
    "chain_figures",
    "fates",
    "ratio",
]

OVERLAP, LEAST_OVERLAP = 0.5, 0.1
"""IoU of a box or mask that is right; IoU under which a box has nothing to do with a thing."""

THING_FATES = ("found", "never tagged", "no box", "wrong label", "too loose", "bad mask")
"""What becomes of a thing, the first that holds, but for what a free box (one that is no other thing's) decides:

found         a box of its label is matched to it, and its mask, where masks are known, has IoU 0.5 or more.
bad mask      the box is matched, the mask is not good.
never tagged  its label was not looked for.
no box        no free box has IoU 0.1 or more with it.
wrong label   the free box that it overlaps most has another label.
too loose     that box has its label, and IoU under 0.5.
"""

DETECTION_FATES = ("right", "duplicate", "wrong label", "too loose", "bad mask", "background")
"""What a detection is:

right, bad mask  it is matched to a thing; its mask is good, or not.
background       no thing has IoU 0.1 or more with it.
wrong label      the thing that it overlaps most has another label.
duplicate        that thing has its label, IoU 0.5 or more, and was matched to a better box.
too loose        that thing has its label, and IoU under 0.5.
"""

_FOUND, _UNTAGGED, _NO_BOX, _THING_NAMED, _THING_LOOSE, _THING_MASK = range(6)
_RIGHT, _DUPLICATE, _NAMED, _LOOSE, _MASK, _BACKGROUND = range(6)


@dataclass(frozen=True, eq=False, slots=True)
class Fates:
    """What became of one image.

    things   (N,) int64 index into THING_FATES; -1 for a crowd, which counts neither way.
    detections  (M,) int64 index into DETECTION_FATES; -1 for one that lies in a crowd of its label.
    """

    things: NDArray[np.int64]
    detections: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelFates:
    """One label: how many things and detections have each fate, in the order of THING_FATES and DETECTION_FATES."""

    label: str
    things: tuple[int, ...]
    detections: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChainFigures:
    """The whole chain; what is not defined, such as precision without a detection, is NaN.

    precision  the share of the detections that are right.
    recall     the share of the things that are found.
    f1         2 right / (detections + things).
    things     fate -> how many things have it; crowds are left out.
    detections    fate -> how many detections have it; those in crowds are left out.
    rows       one a label.
    """

    precision: Estimate
    recall: Estimate
    f1: Estimate
    things: dict[str, int]
    detections: dict[str, int]
    rows: tuple[LabelFates, ...]


def fates(
    truth: Sequence[Truth],
    found: Sequence[Found],
    labels: Sequence[str],
    tagged: NDArray[np.bool_] | None = None,
    *,
    masks: bool = False,
) -> list[Fates]:
    """Return what became of P images.

    Args:
        truth: P images.
        found: the detections of those P images, in the same order.
        labels: C labels.
        tagged: (P, C) bool, whether the label was looked for in the image; None where all were.
        masks: compare masks too; both sides must have them.

    Raises:
        BadInput: arrays that do not fit each other, or masks that are missing.
        BadOutput: a box or score that was found is not finite.
    """
    matches = match(truth, found, labels, least=OVERLAP)
    if tagged is not None and tagged.shape != (len(truth), len(labels)):
        raise BadInput(f"tagged must have shape ({len(truth)}, {len(labels)}), got {tagged.shape}")
    made = []
    for row, (one, other, matched) in enumerate(zip(truth, found, matches, strict=True)):
        asked = np.ones(len(labels), bool) if tagged is None else tagged[row]
        good = _good(one.masks, other.masks, matched) if masks else np.ones(len(other.scores), bool)
        made.append(_fates(one, other, matched, asked, good))
    return made


def _good(truth: Masks | None, found: Masks | None, matched: Matched) -> NDArray[np.bool_]:
    """Return (M,) bool: whether the mask of a matched box has IoU 0.5 or more with that of its thing.

    Raises:
        BadInput: there are no masks.
    """
    if truth is None or found is None:
        raise BadInput("there are no masks to compare; give masks of what is there and of what was found")
    boxes = np.flatnonzero(matched.thing >= 0)
    things = matched.thing[boxes]
    good = np.zeros(len(matched.thing), bool)
    good[boxes] = paired_iou([truth[int(row)] for row in things], [found[int(row)] for row in boxes]) >= OVERLAP
    return good


def _fates(truth: Truth, found: Found, matched: Matched, asked: NDArray[np.bool_], good: NDArray[np.bool_]) -> Fates:
    crowd = np.zeros(len(truth.label_index), bool) if truth.crowd is None else truth.crowd
    same = truth.label_index[:, None] == found.label_index[None]
    overlaps = np.where(crowd[:, None], 0, _box_iou(truth.xyxy, found.xyxy))
    hit = matched.thing >= 0
    most, named = _nearest(np.where((hit | matched.ignored)[None], 0, overlaps), same)
    things = np.select([most < LEAST_OVERLAP, ~named], [_NO_BOX, _THING_NAMED], _THING_LOOSE)
    things[~asked[truth.label_index]] = _UNTAGGED
    things[matched.thing[hit]] = np.where(good[hit], _FOUND, _THING_MASK)
    most, named = _nearest(overlaps.T, same.T)
    kinds = [most < LEAST_OVERLAP, ~named, most >= OVERLAP]
    detections = np.select(kinds, [_BACKGROUND, _NAMED, _DUPLICATE], _LOOSE)
    detections[hit] = np.where(good[hit], _RIGHT, _MASK)
    things[crowd], detections[matched.ignored] = -1, -1
    return Fates(things, detections)


def _nearest(overlaps: NDArray[Any], same: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return for each of A rows the highest of its B overlaps (A, B), and whether that one has its label.

    Of equal overlaps the one of the same label counts. Without a column the overlap is 0.
    """
    if not overlaps.size:
        return np.zeros(len(overlaps)), np.zeros(len(overlaps), bool)
    rows, best = np.arange(len(overlaps)), np.lexsort((same, overlaps), axis=1)[:, -1]
    return overlaps[rows, best], same[rows, best]


def _box_iou(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Return the (N, M) IoU of boxes (N, 4) and (M, 4), as pycocotools counts it."""
    from pycocotools import mask as coco_mask

    one, other = (
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        for boxes in (first.astype(np.float64), second.astype(np.float64))
    )
    if not len(one) or not len(other):
        return np.zeros((len(one), len(other)))
    return np.asarray(coco_mask.iou(one, other, [0] * len(other)), np.float64)


def chain_figures(
    made: Sequence[Fates],
    truth: Sequence[Truth],
    found: Sequence[Found],
    labels: Sequence[str],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> ChainFigures:
    """Return the figures of fates, with bootstrap 95 % intervals over the images.

    Args:
        made: what fates says of these P images.
        truth, found, labels: what it was given.
        seed, draws: of the bootstrap.

    Raises:
        BadInput: seed or draws is out of range, or there is no label.
    """
    check_seed(seed, labels, draws)
    things = _counted([one.things for one in made], [one.label_index for one in truth], len(labels), len(THING_FATES))
    detections = _counted(
        [one.detections for one in made], [one.label_index for one in found], len(labels), len(DETECTION_FATES)
    )
    right = np.array([(one.detections == _RIGHT).sum() for one in made], np.float64)
    given = np.array([(one.detections >= 0).sum() for one in made], np.float64)
    wanted = np.array([(one.things >= 0).sum() for one in made], np.float64)
    sums = ((right, given), (right, wanted), (2 * right, given + wanted))
    precision, recall, f1 = (estimate(ratio(*each), len(made), seed, draws) for each in sums)
    rows = tuple(
        LabelFates(label, tuple(things[row].tolist()), tuple(detections[row].tolist()))
        for row, label in enumerate(labels)
    )
    lost = dict(zip(THING_FATES, things.sum(axis=0).tolist(), strict=True))
    wrong = dict(zip(DETECTION_FATES, detections.sum(axis=0).tolist(), strict=True))
    return ChainFigures(precision, recall, f1, lost, wrong, rows)


def _counted(
    made: Sequence[NDArray[np.int64]], named: Sequence[NDArray[Any]], labels: int, kinds: int
) -> NDArray[np.int64]:
    """Return (C, K) counts of labels and fates."""
    kind = np.concatenate([*made, np.zeros(0, np.int64)])
    label = np.concatenate([*named, np.zeros(0, np.int64)]).astype(np.int64)
    counts = np.bincount((label * kinds + kind)[kind >= 0], minlength=labels * kinds)
    return counts.reshape(labels, kinds)


def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> Figure:
    """Return the figure that is the sum of one thing over the images drawn by that of another; NaN where it is 0."""

    def figure(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        total = counts @ below
        share: NDArray[np.float64] = np.divide(counts @ above, total, out=np.full(len(total), np.nan), where=total > 0)
        return share

    return figure
