"""The arrays that the stages exchange."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_PIXELS", "Floats", "ImageArray", "Masks"]

ImageArray = NDArray[np.uint8]
"""(height, width, 3) uint8 RGB, upright, as openvocab.images.read.read_image returns it."""

NO_PIXELS: ImageArray = np.zeros((0, 0, 3), np.uint8)
"""Placeholder for an image that was released or never decoded."""

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]
