"""The windows of an image that the tagger scores."""

from __future__ import annotations

import numpy as np

from openvocab.pipeline.protocols import ImageArray

__all__ = ["views"]


def views(image: ImageArray, windows: int) -> list[ImageArray]:
    """The image, then windows x windows windows of half its height and width, evenly spread over it.

    Half-size windows overlap where windows > 2. An image narrower than 2 pixels has no windows.
    """
    if windows < 1:
        return [image]
    height, width = image.shape[:2]
    if min(height, width) < 2:
        return [image]
    tall, wide = (height + 1) // 2, (width + 1) // 2
    tops = np.linspace(0, height - tall, windows).round().astype(int)
    lefts = np.linspace(0, width - wide, windows).round().astype(int)
    return [image, *(image[top : top + tall, left : left + wide] for top in tops for left in lefts)]
