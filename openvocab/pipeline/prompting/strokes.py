"""Lines drawn by hand, as points for a segmenter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["stroke_points"]

_STROKE_POINTS = 8
_SPACING = 0.04
"""Minimum distance of two points of a stroke, as a share of the image's longer side."""


def stroke_points(path: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Sample at most 8 points of a stroke.

    The stroke is divided into segments of equal length, at least 4 % of the image's longer side, and the middle of
    each segment is returned. The ends, where a hand overshoots, are left out.

    Args:
        path: (N, 2) x and y of the stroke, N at least 1.
        side: Longer side of the image in pixels.

    Returns:
        (P, 2) x and y, P from 1 to 8.
    """
    steps = np.hypot(*np.diff(path, axis=0).T) if len(path) > 1 else np.zeros(0)
    length = float(steps.sum())
    count = max(1, min(_STROKE_POINTS, int(length / (_SPACING * side))))
    along = np.concatenate([[0.0], np.cumsum(steps)])
    targets = (np.arange(count) + 0.5) / count * length
    return np.stack([np.interp(targets, along, path[:, axis]) for axis in (0, 1)], axis=1)
