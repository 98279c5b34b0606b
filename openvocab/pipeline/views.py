"""What the tagger sees of one picture."""

from __future__ import annotations

import numpy as np

from openvocab.pipeline.protocols import Picture

__all__ = ["views"]


def views(picture: Picture, windows: int) -> list[Picture]:
    """The picture, then windows x windows windows of half its height and width, evenly spread over it.

    Half-size windows overlap where windows > 2. A picture narrower than 2 pixels has no windows.
    """
    if windows < 1:
        return [picture]
    height, width = picture.shape[:2]
    if min(height, width) < 2:
        return [picture]
    tall, wide = (height + 1) // 2, (width + 1) // 2
    tops = np.linspace(0, height - tall, windows).round().astype(int)
    lefts = np.linspace(0, width - wide, windows).round().astype(int)
    return [picture, *(picture[top : top + tall, left : left + wide] for top in tops for left in lefts)]
