"""Ordinary JPEG files through libjpeg-turbo's own interface: Pillow's pixels, without the copies that Pillow makes.

Both run the same library with the same settings, so that the pixels are equal, also of files decoded smaller. Whatever
is out of the ordinary, and each file that the decoder so much as warns of, is left to Pillow, whose verdict counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import simplejpeg
except ImportError:  # there is no wheel of it for some machines; Pillow gives the same pixels
    simplejpeg = None

__all__ = ["plain_jpeg"]

_SMALLEST_SCALED = 64
"""Pixels of a side under which two scales of the decoder may give the same size."""


def plain_jpeg(image: Any, data: bytes, *, scaled: bool = False) -> NDArray[np.uint8] | None:
    """Return (H, W, 3) uint8 RGB, not yet turned by its EXIF orientation, or None where Pillow has to decode.

    Args:
        image: the file opened by Pillow, not loaded; its size is the one wanted.
        data: the file.
        scaled: that size is a half, a quarter or an eighth of the file's own, as Pillow's draft method sets it.
    """
    known = image.mode in ("RGB", "L") and image.info.get("adobe_transform", 1) == 1
    if simplejpeg is None or image.format != "JPEG" or not known:
        return None
    wide, tall = image.size
    if scaled and min(wide, tall) < _SMALLEST_SCALED:
        return None
    least = {"min_height": tall, "min_width": wide} if scaled else {}
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", **least)
    except ValueError:
        return None
    return pixels if pixels.shape == (tall, wide, 3) else None
