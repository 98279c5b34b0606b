"""Ordinary JPEG files decoded with libjpeg-turbo directly: Pillow's pixels without Pillow's copies.

Both call the same library with the same settings, so the pixels are equal, also with scaled decoding. Unusual files,
and files that the decoder warns about, are left to Pillow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import simplejpeg
except ImportError:  # some platforms have no wheel; Pillow gives the same pixels
    simplejpeg = None

__all__ = ["plain_jpeg"]

_SMALLEST_SCALED = 64
"""The shorter side in pixels below which two scales of the decoder may give the same size."""


def plain_jpeg(image: Any, data: bytes, *, scaled: bool = False) -> NDArray[np.uint8] | None:
    """Return (H, W, 3) uint8 RGB before EXIF rotation, or None if Pillow has to decode the file.

    Args:
        image: The file opened by Pillow and not loaded; its size is the target size.
        data: The bytes of the file.
        scaled: Whether the target size is a half, a quarter or an eighth of the full size, as Pillow's draft sets it.
    """
    known = image.mode in ("RGB", "L") and image.info.get("adobe_transform", 1) == 1
    if simplejpeg is None or image.format != "JPEG" or not known:
        return None
    wide, tall = image.size
    if scaled and min(wide, tall) < _SMALLEST_SCALED:
        return None
    limits = {"min_height": tall, "min_width": wide} if scaled else {}
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", **limits)
    except ValueError:
        return None
    return pixels if pixels.shape == (tall, wide, 3) else None
