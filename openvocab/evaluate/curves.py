"""Precision against recall of boxes, as COCO draws it, and how far its mean depends on which images there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.bootstrap import Estimate, estimate
from openvocab.evaluate.detection import Found, Matched, Truth, match

__all__ = ["Curves", "precision_recall"]

_POINTS = np.linspace(0, 1, 101)
"""COCO's recalls."""

_MOST = 100
"""Boxes of an image and label that count."""

DRAWS = 200
"""How often the images are drawn again; each draw ranks all boxes anew."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Curves:
    """Precision at COCO's 101 recalls from 0 to 1, at one IoU.

    least      the IoU that a box needs.
    things     (C,) int64 things of each label, without crowds.
    precision  (C, 101) float64: the best precision at that recall or more; NaN for a label without a thing.
    mean       the mean over labels and recalls, with its bootstrap interval by image; at IoU 0.5 it is AP50.
    """

    least: float
    things: NDArray[np.int64]
    precision: Floats
    mean: Estimate


@dataclass(frozen=True, eq=False, slots=True)
class _Ranked:
    """The boxes of one label, best first, without those that count neither way.

    image  (M,) int64 where each was found.
    right    (M,) bool.
    things   (P,) float64 things of the label in each image.
    """

    image: NDArray[np.int64]
    right: NDArray[np.bool_]
    things: Floats


def precision_recall(
    truth: Sequence[Truth], found: Sequence[Found], labels: Sequence[str], *, least: float = 0.5, seed: int = 0
) -> Curves:
    """Return the curve of each label; of an image and label the 100 best boxes count, as in COCO.

    Args:
        truth: P images.
        found: what was found in those P images, in the same order.
        labels: C labels.
        least: the IoU that a box needs.
        seed: of the bootstrap.

    Raises:
        BadInput, BadOutput: as average_precision.
    """
    matches = match(truth, found, labels, least=least)
    ranked = [_ranked(row, truth, found, matches) for row in range(len(labels))]
    precision = np.stack([_precision(each, np.ones((1, len(truth))))[0] for each in ranked])
    things = np.array([each.things.sum() for each in ranked], np.int64)

    def mean(counts: Floats) -> Floats:
        rows = np.stack([_precision(each, counts).mean(axis=1) for each in ranked if each.things.any()])
        with np.errstate(invalid="ignore"):
            figure: Floats = np.nansum(rows, axis=0) / np.isfinite(rows).sum(axis=0)
        return figure

    known = bool(things.any())
    whole = estimate(mean, len(truth), seed, DRAWS) if known else Estimate(np.nan, np.nan, np.nan)
    return Curves(least, things, precision, whole)


def _ranked(label: int, truth: Sequence[Truth], found: Sequence[Found], matches: Sequence[Matched]) -> _Ranked:
    images, scores, right, things = [], [], [], np.zeros(len(truth))
    for number, (one, answer, matched) in enumerate(zip(truth, found, matches, strict=True)):
        real = one.label_index == label
        things[number] = (real if one.crowd is None else real & ~one.crowd).sum()
        own = np.flatnonzero(answer.label_index == label)
        own = own[np.argsort(-answer.scores[own], kind="stable")][:_MOST]
        own = own[~matched.ignored[own]]
        images.append(np.full(len(own), number))
        scores.append(answer.scores[own])
        right.append(matched.thing[own] >= 0)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return _Ranked(np.concatenate(images)[order].astype(np.int64), np.concatenate(right)[order], things)


def _precision(ranked: _Ranked, counts: Floats) -> Floats:
    """Return (B, 101) precision for (B, P) counts of how often each image is drawn; NaN where there is no thing."""
    made = np.full((len(counts), len(_POINTS)), np.nan)
    for row, drawn in enumerate(counts):
        total = drawn @ ranked.things
        if not total:
            continue
        weight = drawn[ranked.image]
        hits, given = np.cumsum(weight * ranked.right), np.cumsum(weight)
        best = np.maximum.accumulate((hits / (given + np.spacing(1)))[::-1])[::-1]
        place = np.searchsorted(hits / total, _POINTS)
        made[row] = np.append(best, 0.0)[np.minimum(place, len(best))]
    return made
