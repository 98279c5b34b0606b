"""From a detector's rows to the Boxes of one picture."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from openvocab.pipeline.stages import Boxes, Picture

__all__ = ["best_first"]


def best_first(xyxy: Tensor, scores: Tensor, label_index: Tensor, picture: Picture) -> Boxes:
    """Clip boxes to the picture, drop those with nothing left and put the best first; ties keep their order.

    Args:
        xyxy: (N, 4) left, top, right, bottom in pixels of the picture.
        scores: (N,) in 0 to 1.
        label_index: (N,) into the labels that were asked for.
        picture: (H, W, 3).
    """
    height, width = picture.shape[:2]
    edges = xyxy.new_tensor([width, height, width, height])
    clipped = torch.minimum(xyxy.clamp(min=0), edges)
    rows = (clipped[:, 2:] > clipped[:, :2]).all(1).nonzero()[:, 0]
    rows = rows[scores[rows].argsort(descending=True, stable=True)]
    return Boxes(
        np.asarray(clipped[rows].cpu().numpy(), np.float32),
        np.asarray(scores[rows].cpu().numpy(), np.float32),
        np.asarray(label_index[rows].cpu().numpy(), np.int64),
    )
