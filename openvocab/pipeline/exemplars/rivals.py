"""Boxes that lose to what is not meant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.protocols import Boxes
from openvocab.pipeline.ranking import overlaps

__all__ = ["RIVAL_IOU", "meant"]

RIVAL_IOU = 0.6
"""A box loses to a negative query that scores more on a box that overlaps it so much."""


def meant(boxes: Boxes, count: int) -> NDArray[np.intp]:
    """Return the indices of the boxes of the first count labels that no box of the others, the negatives, beats.

    One beats a box that it overlaps by RIVAL_IOU and on which it scores as much.
    """
    mine, others = np.flatnonzero(boxes.label_index < count), np.flatnonzero(boxes.label_index >= count)
    rivals, scores = boxes.xyxy[others], boxes.scores[others]
    kept = [
        not ((overlaps(boxes.xyxy[row], rivals)[0] > RIVAL_IOU) & (scores >= boxes.scores[row])).any() for row in mine
    ]
    return mine[np.array(kept, np.bool_)]
