"""Edits of a mask by hand: brush, eraser, and removal of specks and holes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from openvocab.errors import BadInput
from openvocab.ui.web.point_prompts import coordinates

__all__ = ["cleaned", "painted"]

_MAX_PATH = 2000
_SPECK = 0.05
"""Parts of a mask smaller than this share of its largest part are specks; holes smaller than it are filled."""


def painted(mask: NDArray[np.bool_], path: Any, radius: Any, *, inside: bool) -> NDArray[np.bool_]:
    """Return a mask with a brush stroke added, or erased.

    Args:
        mask: (H, W) mask.
        path: [[x, y], ...] in pixels of the image.
        radius: Radius of the brush in pixels of the image.
        inside: Whether the stroke is added.

    Raises:
        BadInput: the path or the radius is invalid.
    """
    if not isinstance(path, list) or not 1 <= len(path) <= _MAX_PATH:
        raise BadInput(f"a stroke must be a list of 1 to {_MAX_PATH} points; draw it again")
    height, width = mask.shape
    if not isinstance(radius, int | float) or not 0 < radius <= max(width, height):
        raise BadInput(f"the radius of a brush must be a positive number of pixels, got {str(radius)[:20]!r}")
    points = coordinates(path, width, height)
    sheet = Image.new("1", (width, height))
    pen = ImageDraw.Draw(sheet)
    for x, y in points.tolist():
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    if len(points) > 1:
        pen.line([tuple(each) for each in points.tolist()], fill=1, width=max(1, round(2 * radius)))
    stroke = np.asarray(sheet, np.bool_)
    return mask | stroke if inside else mask & ~stroke


def cleaned(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return an (H, W) mask without specks and small holes."""
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    limit = _SPECK * sizes.max()
    kept: NDArray[np.bool_] = (sizes >= limit)[parts]
    holes, _ = ndimage.label(ndimage.binary_fill_holes(kept) & ~kept)
    hole_sizes = np.bincount(holes.ravel())
    small = hole_sizes < limit
    small[0] = False
    return np.asarray(kept | small[holes], np.bool_)
