"""Prompts of a segmenter, points and a box, checked once for every segmenter that takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, counted

__all__ = ["Prompt"]


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """Points, a box, or both.

    Attributes:
        points: (P, 2) float32 x and y in pixels of the image; None without points.
        labels: (P,) int64, 1 on the object, 0 beside it; None without points.
        box: (4,) float32 left, top, right, bottom in pixels of the image, clipped to it; None without a box.
    """

    points: NDArray[np.float32] | None
    labels: NDArray[np.int64] | None
    box: NDArray[np.float32] | None

    @classmethod
    def of(cls, points: Any, labels: Any, box: Any, size: tuple[int, int]) -> Prompt:
        """Check a prompt.

        Args:
            points: (P, 2), or None.
            labels: (P,), or None.
            box: (4,), or None.
            size: (height, width) of the image.

        Raises:
            BadInput: there is neither a point nor a box, points and their labels do not go together, or a point or
                box lies outside the image.
        """
        count, named = (0 if given is None else len(given) for given in (points, labels))
        if count != named:
            given = counted(count, "point needs", "points need")
            raise BadInput(f"{given} as many labels, 1 on the object and 0 beside it")
        if not count and box is None:
            raise BadInput("a prompt needs a point or a box")
        edges = np.array(size[::-1], np.float32)
        whole = None if box is None else _box(_numbers(box, "a box", (4,)), edges)
        if not count:
            return cls(None, None, whole)
        marks = np.asarray(labels)
        if marks.shape != (count,) or not np.isin(marks, (0, 1)).all():
            raise BadInput(f"labels of points must be 1 on the object and 0 beside it, got {labels!r:.100}")
        return cls(_points(_numbers(points, "points", (count, 2)), edges), marks.astype(np.int64), whole)


def _numbers(given: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        array = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        array = np.zeros((), np.float32)
    if array.shape != shape or not np.isfinite(array).all():
        raise BadInput(f"{name} must be finite numbers of shape {shape}, got {given!r:.100}")
    return array


def _points(points: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.float32]:
    out = (points < 0).any(1) | (points > edges).any(1)
    if out.any():
        wide, high = edges.astype(int)
        raise BadInput(f"point {points[out][0].tolist()} lies outside the image of {wide} x {high} pixels")
    return points


def _box(box: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.float32]:
    clipped = np.clip(box, 0, np.tile(edges, 2))
    if not (clipped[2:] > clipped[:2]).all():
        wide, high = edges.astype(int)
        raise BadInput(
            f"box {box.tolist()} holds nothing of the image of {wide} x {high} pixels; give left, top, right, bottom"
        )
    return clipped
