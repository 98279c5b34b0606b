"""Clip a detector's boxes to the image and sort them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from openvocab.pipeline.protocols import Boxes, ImageArray

__all__ = ["best_first", "inside"]


def best_first(xyxy: Tensor, scores: Tensor, label_index: Tensor, image: ImageArray) -> Boxes:
    """Clip boxes to the image, drop empty ones and sort by score; ties keep their order.

    Args:
        xyxy: (N, 4) left, top, right, bottom in pixels of the image.
        scores: (N,) in 0 to 1.
        label_index: (N,) indices into the labels.
        image: (H, W, 3).
    """
    clipped, rows = inside(xyxy, image)
    rows = rows[scores[rows].argsort(descending=True, stable=True)]
    return Boxes(
        np.asarray(clipped[rows].cpu().numpy(), np.float32),
        np.asarray(scores[rows].cpu().numpy(), np.float32),
        np.asarray(label_index[rows].cpu().numpy(), np.int64),
    )


def inside(xyxy: Tensor, image: ImageArray) -> tuple[Tensor, Tensor]:
    """Return (N, 4) boxes clipped to the image, and the indices of the boxes that are not empty."""
    height, width = image.shape[:2]
    edges = xyxy.new_tensor([width, height, width, height])
    clipped = torch.minimum(xyxy.clamp(min=0), edges)
    return clipped, (clipped[:, 2:] > clipped[:, :2]).all(1).nonzero()[:, 0]
