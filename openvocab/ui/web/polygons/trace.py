"""The outline of a mask as few-cornered rings: outer ones and holes, with corners between pixels."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from openvocab.ui.web.polygons.fill import filled

__all__ = ["MIN_IOU", "rings_of"]

MIN_IOU = 0.982
"""Lowest IoU of the simplified polygon with the mask."""

_TOLERANCES = (4.0, 3.0, 2.0, 1.5, 1.0, 0.75, 0.5)
"""Tolerances that are tried, largest first, in pixels of a mask of _SIDE pixels and proportional to larger ones."""
_SIDE = 512

Ring = NDArray[np.float64]


def rings_of(mask: NDArray[np.bool_]) -> list[Ring]:
    """Return the outline of a mask with as few corners as an IoU of MIN_IOU allows.

    Args:
        mask: (H, W) mask.

    Returns:
        Closed rings, each (N, 2) x and y of corners, N >= 3, the last one joined to the first; by the even-odd rule.
        Pixel (x, y) is the square from (x, y) to (x + 1, y + 1). Empty for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    top, left = rows[0], columns[0]
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    traced = _traced(part)
    middles = [(each + np.roll(each, -1, 0)) / 2 for each in traced]  # a line through steps halves them
    scale = max(1.0, max(part.shape) / _SIDE)
    for tolerance in _TOLERANCES:
        made = [ring for ring in (_simplified(each, tolerance * scale) for each in middles) if len(ring) >= 3]
        if _iou(filled(made, *part.shape), part) >= MIN_IOU:
            break
    else:
        made = [_corners(each) for each in traced]
    return [ring + np.array([left, top], np.float64) for ring in made]


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def _traced(mask: NDArray[np.bool_]) -> list[Ring]:
    """Return the rings along the sides of pixels that have one neighbor inside and one outside.

    Sides are directed so that the inside is on their right; at a corner that four sides meet in, the last one is taken.
    """
    padded = np.pad(mask, 1)
    ways: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for start, end in zip(*_sides(padded), strict=True):
        ways[start[0], start[1]].append((end[0], end[1]))
    rings = []
    while ways:
        first = next(iter(ways))
        ring, at = [first], first
        while True:
            following = ways[at].pop()
            if not ways[at]:
                del ways[at]
            if following == first:
                break
            ring.append(following)
            at = following
        rings.append(np.array(ring, np.float64))
    return rings


def _sides(padded: NDArray[np.bool_]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the starts and the ends, x and y, of the directed sides of a mask with a margin of one pixel."""
    inside = padded[1:-1, 1:-1]
    around = {
        "top": padded[:-2, 1:-1],
        "right": padded[1:-1, 2:],
        "bottom": padded[2:, 1:-1],
        "left": padded[1:-1, :-2],
    }
    steps = {"top": (0, 0, 1, 0), "right": (1, 0, 1, 1), "bottom": (1, 1, 0, 1), "left": (0, 1, 0, 0)}
    starts: list[list[int]] = []
    ends: list[list[int]] = []
    for side, neighbor in around.items():
        y, x = np.nonzero(inside & ~neighbor)
        x0, y0, x1, y1 = steps[side]
        starts += np.stack([x + x0, y + y0], 1).tolist()
        ends += np.stack([x + x1, y + y1], 1).tolist()
    return starts, ends


def _corners(ring: Ring) -> Ring:
    """Return the points of a ring at which it turns."""
    turns = ((ring - np.roll(ring, 1, 0)) != (np.roll(ring, -1, 0) - ring)).any(1)
    made: Ring = ring[turns]
    return made


def _simplified(ring: Ring, tolerance: float) -> Ring:
    """Return a closed ring without corners that are within a tolerance of it (Douglas and Peucker, 1973)."""
    if len(ring) <= 4:
        return ring
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, far, len(ring)]] = True
    waiting = [(0, far), (far, len(ring))]
    while waiting:
        low, high = waiting.pop()
        if high - low < 2:
            continue
        distances = _distances(closed[low + 1 : high], closed[low], closed[high])
        at = int(distances.argmax())
        if distances[at] > tolerance:
            kept[low + 1 + at] = True
            waiting += [(low, low + 1 + at), (low + 1 + at, high)]
    return closed[:-1][kept[:-1]]


def _distances(points: Ring, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances of (N, 2) points to a line."""
    right, down = end - start
    length = float(np.hypot(right, down))
    if length == 0:
        return np.asarray(np.hypot(*(points - start).T))
    return np.asarray(np.abs(right * (points[:, 1] - start[1]) - down * (points[:, 0] - start[0])) / length)
