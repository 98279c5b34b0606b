"""Tiles: overlapping windows of an image, coarse to fine, in which small objects are large enough for a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.protocols import ImageArray

__all__ = ["Tiling", "by_window", "crop", "grid_size", "whole_boxes"]

Windows = NDArray[np.int64]
Floats = NDArray[np.float32]

OVERLAP = 0.25
"""Share of a tile that its neighbor sees too. An object of a fifth of a tile is whole in a tile of its grid, a longer
one in a coarser grid, whose tiles are about twice as large."""
SEEN = 32
"""Pixels of a model's input that min_object becomes: COCO's bound between small and medium objects is 32 x 32."""
_EDGE = 1 / 64
"""A box this near to a tile's inner edge, in shares of the tile's side, may be that of half an object."""
_MASK_SHARE = 1 / 8
"""Masks come from the coarsest tile of which the box takes this share: less of it would blur the mask."""
_SMALLEST = 16
"""Tiles have at least this many pixels along the longer side of the image."""


@dataclass(frozen=True, eq=False, slots=True)
class Tiling:
    """The windows of one image: the image itself, then grids of overlapping tiles, coarse to fine.

    Attributes:
        levels: (T, 4) int64 windows of each level: left, top, right, bottom in pixels. The first level is the image.
    """

    levels: tuple[Windows, ...]

    @classmethod
    def of(cls, size: tuple[int, int], count: int) -> Tiling:
        """Return the windows of an image of (height, width) pixels.

        Args:
            size: Height and width.
            count: Tiles along the longer side in the finest grid; each coarser grid has half as many, rounded up.
        """
        height, width = size
        counts, level = [], min(count, max(size) // _SMALLEST)
        while level > 1:
            counts.append(level)
            level = (level + 1) // 2
        image = np.array([[0, 0, width, height]], np.int64)
        return cls((image, *(_grid(size, each) for each in reversed(counts))))

    @property
    def windows(self) -> Windows:
        """(V, 4) windows of all levels; the first is the image."""
        return np.concatenate(self.levels)

    def mask_windows(self, xyxy: Floats) -> Windows:
        """Return the window in which each of (N, 4) boxes is segmented, as (N, 4).

        It is the image if the box is large enough in it, else a tile that holds the whole box, else a window of a
        tile's size that is centered on the box: no mask is cut by a seam.
        """
        return np.array([self._mask_window(box) for box in xyxy], np.int64).reshape(-1, 4)

    def _mask_window(self, box: Floats) -> Windows:
        longer = max(box[2] - box[0], box[3] - box[1])
        sides = [max(level[0, 2] - level[0, 0], level[0, 3] - level[0, 1]) for level in self.levels]
        level = next((at for at, side in enumerate(sides) if longer >= _MASK_SHARE * side), len(sides) - 1)
        windows = self.levels[level]
        if level == 0:
            return np.asarray(windows[0])
        room = _room(np.broadcast_to(box, (len(windows), 4)), windows, self.levels[0][0]).min(axis=1)
        best = int(room.argmax())
        return np.asarray(windows[best]) if room[best] >= _EDGE * sides[level] else self._centered(box, windows[0])

    def _centered(self, box: Floats, like: Windows) -> Windows:
        """Return a window of that size around the middle of a box, moved into the image."""
        extent, limit = like[2:] - like[:2], self.levels[0][0, 2:]
        start = np.clip(((box[:2] + box[2:] - extent) / 2).round().astype(np.int64), 0, limit - extent)
        return np.concatenate([start, start + extent])


def grid_size(size: tuple[int, int], input_side: int, min_object: int) -> int:
    """Return how many tiles along the longer side make an object of min_object pixels SEEN pixels of the input.

    Args:
        size: (height, width) of the image.
        input_side: Pixels of the square that a model resizes an image to.
        min_object: Length in pixels of the image of the smallest object to find.
    """
    side = input_side * min_object / SEEN
    return 1 if side >= max(size) else math.ceil((max(size) / side - 1) / (1 - OVERLAP) - 1e-9) + 1


def crop(image: ImageArray, window: Windows) -> ImageArray:
    """Return a window of an image, without a copy."""
    left, top, right, bottom = window
    return image[top:bottom, left:right]


def whole_boxes(xyxy: Floats, window: Windows, size: tuple[int, int]) -> tuple[Floats, NDArray[np.intp]]:
    """Return the boxes of a tile as boxes of the image, without those that an inner edge of the tile may cut.

    The object of such a box is whole in the next tile, or in one of a coarser grid, so half of it is never an answer.

    Args:
        xyxy: (N, 4) boxes in pixels of the tile.
        window: (4,) the tile in the image.
        size: (height, width) of the image.

    Returns:
        The boxes, and their indices among those given.
    """
    moved = xyxy + np.tile(window[:2], 2).astype(np.float32)
    room = _room(moved, np.broadcast_to(window, (len(moved), 4)), np.array([0, 0, size[1], size[0]]))
    rows = np.flatnonzero(room.min(axis=1) >= _EDGE * float((window[2:] - window[:2]).max()))
    return moved[rows], rows


def by_window(xyxy: Floats, windows: Windows) -> Iterator[tuple[Windows, NDArray[np.intp], Floats]]:
    """Yield each distinct (4,) window once, with the indices of its boxes and these in pixels of the window.

    Args:
        xyxy: (N, 4) boxes in pixels of the image.
        windows: (N, 4) the window of each.
    """
    distinct, chosen = np.unique(windows, axis=0, return_inverse=True)
    for number, window in enumerate(distinct):
        rows = np.flatnonzero(chosen.ravel() == number)
        yield window, rows, xyxy[rows] - np.tile(window[:2], 2).astype(np.float32)


def _room(xyxy: Floats, windows: Windows, image: Windows) -> NDArray[np.float64]:
    """Return (N, 4) how far each edge of a box is inside its window; infinite where the window ends with the image."""
    inside = np.concatenate([xyxy[:, :2] - windows[:, :2], windows[:, 2:] - xyxy[:, 2:]], axis=1)
    return np.asarray(np.where(windows == image, np.inf, inside), np.float64)


def _grid(size: tuple[int, int], count: int) -> Windows:
    """Return the (T, 4) tiles of a grid with that many tiles along the longer side, row by row, evenly spread."""
    side = math.ceil(max(size) / (1 + (count - 1) * (1 - OVERLAP)))
    (tops, bottoms), (lefts, rights) = (_spans(length, side) for length in size)
    rows, columns = list(zip(tops, bottoms, strict=True)), list(zip(lefts, rights, strict=True))
    return np.array([(left, top, right, bottom) for top, bottom in rows for left, right in columns], np.int64)


def _spans(length: int, side: int) -> tuple[Windows, Windows]:
    """Return the starts and ends of the tiles along one axis."""
    extent = min(side, length)
    count = 1 + max(0, math.ceil((length - extent) / (extent * (1 - OVERLAP)) - 1e-9))
    starts = np.linspace(0, length - extent, count).round().astype(np.int64)
    return starts, starts + extent
