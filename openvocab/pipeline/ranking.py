"""Ranking: the one place where labels, boxes and masks are filtered and ordered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.protocols import Boxes
from openvocab.pipeline.settings import Settings

__all__ = ["rank_boxes", "rank_labels", "rank_masks", "top_candidates"]

Scores = NDArray[np.float32]
Rows = NDArray[np.intp]


def rank_labels(scores: Scores, min_score: float, max_labels: int) -> Rows:
    """Return the indices of the best labels of (C,) scores, best first; ties keep the order of the labels."""
    rows = np.flatnonzero(scores >= min_score)
    if len(rows) > max_labels:  # sort only the top-k and what ties with the last of them, not 100,000 scores
        rows = rows[scores[rows] >= np.partition(scores[rows], -max_labels)[-max_labels]]
    return rows[np.argsort(-scores[rows], kind="stable")][:max_labels]


def rank_boxes(boxes: Boxes, settings: Settings) -> Rows:
    """Return the indices of the boxes that are detections, best first.

    Boxes score over the box threshold, survive non-maximum suppression within their label and, with
    duplicates="best", across labels, and are the max_boxes best; ties keep their order.
    """
    import torch
    from torchvision.ops import batched_nms, nms

    rows = np.flatnonzero(boxes.scores > settings.threshold("box_threshold"))
    rows = rows[np.argsort(-boxes.scores[rows], kind="stable")]
    xyxy, scores = torch.from_numpy(boxes.xyxy[rows]), torch.from_numpy(boxes.scores[rows])
    kept = batched_nms(xyxy, scores, torch.from_numpy(boxes.label_index[rows]), settings.nms_iou)
    if settings.duplicates == "best":
        kept = kept[nms(xyxy[kept], scores[kept], settings.duplicate_iou)]
    detections: Rows = rows[kept[: settings.max_boxes].numpy()]
    return detections


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
