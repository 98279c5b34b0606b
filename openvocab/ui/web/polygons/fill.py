"""Rings as a mask, by the even-odd rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.ui.web.point_prompts import coordinates

__all__ = ["filled", "parse_rings"]

_MAX_RINGS = 1000
_MAX_CORNERS = 20_000


def filled(rings: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.bool_]:
    """Return the (height, width) mask of the pixels whose centers are inside rings.

    Args:
        rings: Closed rings, each (N, 2) x and y of corners; a pixel inside two of them is outside.
        height: Height of the mask.
        width: Width of the mask.
    """
    toggles = np.zeros((height, width + 1), bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
            (low, at_low), (high, at_high) = sorted([(y0, x0), (y1, x1)])
            rows = np.arange(max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5))))
            if len(rows):
                crossing = at_low + (rows + 0.5 - low) * (at_high - at_low) / (high - low)
                columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(int)
                toggles[rows, columns] ^= True
    return np.logical_xor.accumulate(toggles, axis=1)[:, :width]


def parse_rings(given: object, height: int, width: int) -> list[NDArray[np.float64]]:
    """Return the rings of a polygon that the page sent, clipped to the image.

    Raises:
        BadInput: they are not lists of three or more points, or there are too many.
    """
    if not isinstance(given, list) or not 1 <= len(given) <= _MAX_RINGS:
        raise BadInput(f"a polygon must be a list of 1 to {_MAX_RINGS} rings; select the object again")
    if not all(isinstance(ring, list) and len(ring) >= 3 for ring in given):
        raise BadInput("a ring of a polygon must be a list of three or more points; select the object again")
    if sum(map(len, given)) > _MAX_CORNERS:
        raise BadInput(f"a polygon has at most {_MAX_CORNERS} corners; use the brush for this object")
    return [coordinates(ring, width, height) for ring in given]
