"""The windows of an image that the tagger scores."""

from __future__ import annotations

import numpy as np

from openvocab.pipeline.protocols import ImageArray
from openvocab.pipeline.tiles import Tiling, crop

__all__ = ["views"]


def views(image: ImageArray, windows: int, tiling: Tiling | None = None) -> list[ImageArray]:
    """The image, then windows x windows windows of half its height and width, evenly spread over it, then the tiles.

    Half-size windows overlap where windows > 2. An image narrower than 2 pixels has no windows.
    """
    tiles = [] if tiling is None else [crop(image, window) for window in tiling.windows[1:]]
    return [image, *_windows(image, windows), *tiles]


def _windows(image: ImageArray, windows: int) -> list[ImageArray]:
    if windows < 1 or min(image.shape[:2]) < 2:
        return []
    height, width = image.shape[:2]
    tall, wide = (height + 1) // 2, (width + 1) // 2
    tops = np.linspace(0, height - tall, windows).round().astype(int)
    lefts = np.linspace(0, width - wide, windows).round().astype(int)
    return [image[top : top + tall, left : left + wide] for top in tops for left in lefts]
