"""Of boxes that overlap, the ones that are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.detections import Detections
from openvocab.pipeline.protocols import Boxes, Queries
from openvocab.pipeline.settings import Settings

__all__ = ["kept_detections", "kept_rows"]


def kept_detections(
    boxes: Boxes, queries: Queries, settings: Settings, masks: NDArray[np.bool_] | None = None
) -> Detections:
    """Return the detections that are left after suppression.

    A detector that brings masks scores box and mask together, so its masks get the score 1: the detection's score stays
    the detector's.
    """
    rows = kept_rows(boxes, settings)
    labels = tuple(queries.labels[index] for index in boxes.label_index[rows])
    scores = boxes.scores[rows]
    if masks is None:
        return Detections(boxes.xyxy[rows], scores, labels, scores)
    return Detections(boxes.xyxy[rows], scores, labels, scores, np.ones_like(scores), masks[rows])


def kept_rows(boxes: Boxes, settings: Settings) -> NDArray[np.intp]:
    """Return the rows to keep, best first: NMS within a label, then, if asked, between labels."""
    import torch
    from torchvision.ops import batched_nms, nms

    xyxy, scores = torch.from_numpy(boxes.xyxy), torch.from_numpy(boxes.scores)
    kept = batched_nms(xyxy, scores, torch.from_numpy(boxes.label_index), settings.nms_iou)
    if settings.duplicates == "best":
        kept = kept[nms(xyxy[kept], scores[kept], settings.duplicate_iou)]
    rows: NDArray[np.intp] = kept[: settings.max_boxes].numpy()
    return rows
