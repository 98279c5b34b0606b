"""Crops around boxes: what the tagger sees of one object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.protocols import ImageArray

__all__ = ["object_crop"]


def object_crop(
    image: ImageArray, box: NDArray[np.float32], margin: float, mask: NDArray[np.bool_] | None = None
) -> ImageArray:
    """Return a square around a box, cut at the image's edge.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) left, top, right, bottom in pixels.
        margin: What is added on each side, in shares of the box's longer side.
        mask: (H, W); what lies outside gets the image's mean color. None leaves the ground as it is.
    """
    (height, width), center = image.shape[:2], (box[:2] + box[2:]) / 2
    reach = max(float((box[2:] - box[:2]).max()) * (0.5 + margin), 1.0)
    left, top = (int(max(0, round(float(at) - reach))) for at in center)
    right, bottom = (int(min(end, round(float(at) + reach))) for at, end in zip(center, (width, height), strict=True))
    cut = image[top:bottom, left:right]
    if mask is None:
        return cut
    mean = image.reshape(-1, 3).mean(axis=0).astype(np.uint8)
    return np.where(mask[top:bottom, left:right, None], cut, mean)
