"""Ranking: the one place where labels, boxes and masks are filtered and ordered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.protocols import Boxes
from openvocab.pipeline.settings import Settings

__all__ = ["overlaps", "rank_boxes", "rank_labels", "rank_masks", "top_candidates"]

Scores = NDArray[np.float32]
Rows = NDArray[np.intp]

_SEAM = 0.5
"""Share of nms_iou from which on boxes of two tiles are one object; docs/guides/tiling.md measures it."""


def rank_labels(scores: Scores, min_score: float | NDArray[np.float64], max_labels: int) -> Rows:
    """Return the indices of the best labels of (C,) scores, best first; ties keep the order of the labels.

    Args:
        scores: One a label.
        min_score: The threshold of all labels, or (C,) one a label.
        max_labels: At most this many.
    """
    rows: Rows = (scores >= min_score).nonzero()[0]
    if len(rows) < 2:
        return rows
    if len(rows) > max_labels:  # sort only the top-k and what ties with the last of them, not 100,000 scores
        rows = rows[scores[rows] >= np.partition(scores[rows], -max_labels)[-max_labels]]
    return rows[np.argsort(-scores[rows], kind="stable")][:max_labels]


def rank_boxes(
    boxes: Boxes, settings: Settings, min_scores: float | NDArray[np.float64], reported: int | None = None
) -> Rows:
    """Return the indices of the boxes that are detections, best first.

    Boxes score over their threshold, survive non-maximum suppression within their label and, with
    duplicates="best", across labels, and are the max_boxes best; ties keep their order. Where boxes are verified, their
    labels compete after that instead. Boxes of tiles are merged at the seams; see _suppressed. A box of a negative
    suppresses boxes of labels that it overlaps by more than duplicate_iou and that score less; it is no detection.

    Args:
        boxes: All boxes of an image.
        settings: Thresholds and limits.
        min_scores: The threshold of all boxes, or (N,) one a box; a box scores over it.
        reported: Labels with this index or more are negatives; None: there are none.
    """
    rows = np.flatnonzero(boxes.scores > min_scores)
    rows = rows[np.argsort(-boxes.scores[rows], kind="stable")]
    rows = _suppressed(boxes, rows, boxes.label_index[rows], settings.nms_iou)
    if reported is not None:
        rows = _without_negatives(boxes, rows, reported, settings.duplicate_iou)
    if settings.duplicates == "best" and not settings.verify:
        rows = _suppressed(replace(boxes, tiles=None), rows, np.zeros(len(rows), np.int64), settings.duplicate_iou)
    return rows[: settings.max_boxes]


def _suppressed(boxes: Boxes, rows: Rows, groups: NDArray[np.int64], limit: float) -> Rows:
    """Return the rows of boxes that no kept row of their group before them suppresses, by an overlap over limit.

    All groups are worked through at once: each round keeps the best box that is left of every group. Two boxes of one
    tile overlap by intersection over union, as in an image. Two boxes of different tiles overlap by intersection over
    the smaller area, and _SEAM of the limit is enough: part of an object has a small IoU with the whole of it, and no
    tile has seen both boxes as two objects.

    Args:
        boxes: All boxes of an image.
        rows: (N,) indices, best first.
        groups: (N,) a box suppresses boxes of its group only.
        limit: Of the overlap.
    """
    xyxy, tiles = boxes.xyxy[rows], np.zeros(len(rows), np.int64) if boxes.tiles is None else boxes.tiles[rows]
    kept, left = [np.zeros(0, np.intp)], np.argsort(groups, kind="stable")
    while len(left):
        starts = np.flatnonzero(np.diff(groups[left], prepend=-1))
        kept.append(left[starts])
        best = np.repeat(kept[-1], np.diff(starts, append=len(left)))
        shared, smaller = overlaps(xyxy[best], xyxy[left])
        over = np.where(tiles[left] == tiles[best], shared, smaller / np.float32(_SEAM)) > limit
        left = left[~over & (left != best)]
    return rows[np.sort(np.concatenate(kept))]


def _without_negatives(boxes: Boxes, rows: Rows, reported: int, limit: float) -> Rows:
    """Return the rows, best first, of boxes of labels that no better box of a negative overlaps over limit."""
    negative = boxes.label_index[rows] >= reported
    kept = ~negative
    for at in np.flatnonzero(negative):
        kept[at:] &= overlaps(boxes.xyxy[rows[at]], boxes.xyxy[rows[at:]])[0] <= limit
    return rows[kept]


def overlaps(box: Scores, others: Scores) -> tuple[Scores, Scores]:
    """Return (N,) intersections of (4,) or (N, 4) boxes with (N, 4) others, over the union and the smaller area."""
    sides = np.minimum(box[..., 2:], others[:, 2:]) - np.maximum(box[..., :2], others[:, :2])
    shared = sides.clip(0).prod(axis=1)
    own, areas = (each[..., 2:] - each[..., :2] for each in (box, others))
    own, areas = own.prod(axis=-1), areas.prod(axis=1)
    tiny = np.float32(1e-9)
    return shared / np.maximum(own + areas - shared, tiny), shared / np.maximum(np.minimum(own, areas), tiny)


def rank_masks(scores: Scores, mask_scores: Scores, nonempty: NDArray[np.bool_], settings: Settings) -> Rows:
    """Return the indices of the detections whose mask is not empty and scores the mask threshold or more, best first.

    Args:
        scores: (N,) detector score times mask score.
        mask_scores: (N,) scores of the masks.
        nonempty: (N,) whether the mask has a pixel.
        settings: The mask threshold.
    """
    order = np.argsort(-scores, kind="stable")
    return order[(mask_scores[order] >= settings.mask_threshold) & nonempty[order]]


def top_candidates(best: Scores, min_score: float, max_candidates: int) -> tuple[Rows, float]:
    """Return the boxes worth a mask, and the box threshold from which on they are complete.

    Args:
        best: (N,) best score of each box over the labels.
        min_score: Candidates score this or more.
        max_candidates: At most this many of them, the best.

    Returns:
        The indices of the candidates in their own order, and the score above which none was left out.
    """
    rows = np.flatnonzero(best >= min_score)
    if len(rows) <= max_candidates:
        return rows, float(min_score)
    ranked = rows[np.argsort(-best[rows], kind="stable")]
    return np.sort(ranked[:max_candidates]), float(best[ranked[max_candidates]])
