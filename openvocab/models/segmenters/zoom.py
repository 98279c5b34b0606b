"""Windows around small boxes, enlarged so that a mask decoder's coarse grid follows the edges of an object."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.protocols import ImageArray
from openvocab.pipeline.tiles import by_window, crop

__all__ = ["mask_windows", "masks_by_window"]

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]
Windows = NDArray[np.int64]

_LEVELS = 2
"""Sizes of windows from one to half of it."""
_STEPS = 4
"""Places of a window along its side: a box is at most an eighth of the side off its middle."""
_ENLARGED = 5
"""Times that pixels are enlarged at most; beyond it there is nothing more to see."""


def mask_windows(xyxy: Floats, size: tuple[int, int], side: int, zoom: float) -> Windows:
    """Return the window in which each box is segmented: (N, 4) left, top, right, bottom in pixels.

    Windows lie on a grid, so that boxes of one object share theirs. A window depends on its own box alone.

    Args:
        xyxy: (N, 4) boxes in pixels of the image.
        size: (height, width) of the image.
        side: Pixels of the square that the model resizes to.
        zoom: Side of a window over the longer side of its box, at least; a box that this makes as large as the image
            is segmented in the image.
    """
    limit = np.array(size[::-1], np.int64)
    whole, boxes = float(limit.max()), xyxy.astype(np.float64)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    least = np.maximum(zoom * longer, min(whole, side / _ENLARGED))
    halvings = np.floor(_LEVELS * np.log2(whole / least)) / _LEVELS
    length = np.ceil(whole / 2 ** np.maximum(halvings, 0)).astype(np.int64)[:, None]
    extent = np.minimum(length, limit)
    places = (boxes[:, :2] + boxes[:, 2:] - extent) / 2 * _STEPS / length
    start = np.clip((places.round() * length / _STEPS).round().astype(np.int64), 0, limit - extent)
    return np.concatenate([start, start + extent], axis=1)


def masks_by_window(
    image: ImageArray, xyxy: Floats, windows: Windows, segment: Callable[[ImageArray, Floats], tuple[Masks, Floats]]
) -> tuple[Masks, Floats]:
    """Return the (N, H, W) masks of boxes and their (N,) scores, each segmented in its window, once for each window.

    Args:
        image: (H, W, 3) uint8 RGB.
        xyxy: (N, 4) boxes in pixels of the image.
        windows: (N, 4) left, top, right, bottom.
        segment: From a window of the image and M boxes in its pixels to their (M, h, w) masks and (M,) scores.
    """
    masks, scores = np.zeros((len(xyxy), *image.shape[:2]), np.bool_), np.zeros(len(xyxy), np.float32)
    for window, rows, inside in by_window(xyxy, windows):
        own, scores[rows] = segment(crop(image, window), inside)
        left, top, right, bottom = window
        masks[rows, top:bottom, left:right] = own
    return masks, scores
