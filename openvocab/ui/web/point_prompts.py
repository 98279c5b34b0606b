"""Prompts drawn on the canvas, parsed into the points and the box that a segmenter takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.prompting.strokes import stroke_points

__all__ = ["PointPrompts", "coordinates", "parse_prompts"]

_MAX_PROMPTS = 200
_MAX_STROKE_LENGTH = 2000


@dataclass(frozen=True, eq=False, slots=True)
class PointPrompts:
    """The prompts of one object.

    Attributes:
        points: (P, 2) float32 x and y in pixels of the image.
        point_labels: (P,) int64, 1 for object and 0 for background.
        box: (4,) float32 left, top, right, bottom in pixels of the image, or None.
    """

    points: NDArray[np.float32]
    point_labels: NDArray[np.int64]
    box: NDArray[np.float32] | None

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of Pipeline.prompt."""
        has_points = len(self.points) > 0
        return {
            "points": self.points if has_points else None,
            "point_labels": self.point_labels if has_points else None,
            "box": self.box,
        }


def parse_prompts(given: object, width: int, height: int) -> PointPrompts:
    """Parse a list of prompts. Coordinates are clipped to the image; the last of several boxes is used.

    Args:
        given: List of {"kind": "point", "at": [x, y], "inside": true}, {"kind": "stroke", "path": [[x, y], ...],
            "inside": false} and {"kind": "box", "xyxy": [x, y, x, y]} in pixels of the image. A box may start at any
            of its corners. A stroke is replaced by its stroke_points.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Raises:
        BadInput: the list is empty, too long, or contains an invalid prompt.
    """
    if not isinstance(given, list) or not given:
        raise BadInput("there is no prompt on the image; click the object, or drag a box around it")
    if len(given) > _MAX_PROMPTS:
        raise BadInput(f"there are {len(given)} prompts on the image; use at most {_MAX_PROMPTS}")
    points: list[NDArray[np.float64]] = [np.zeros((0, 2))]
    labels: list[int] = []
    box = None
    for prompt in given:
        kind, inside = _field(prompt, "kind"), int(bool(_field(prompt, "inside")))
        if kind == "box":
            box = _box(_field(prompt, "xyxy"), width, height)
            continue
        points.append(_points(kind, prompt, width, height))
        labels += [inside] * len(points[-1])
    return PointPrompts(np.concatenate(points).astype(np.float32), np.array(labels, np.int64), box)


def _points(kind: object, prompt: object, width: int, height: int) -> NDArray[np.float64]:
    if kind == "point":
        return coordinates([_field(prompt, "at")], width, height)
    if kind == "stroke":
        path = _field(prompt, "path")
        if not isinstance(path, list) or not 1 <= len(path) <= _MAX_STROKE_LENGTH:
            raise BadInput(f"a stroke must be a list of 1 to {_MAX_STROKE_LENGTH} points; draw it again")
        return stroke_points(coordinates(path, width, height), max(width, height))
    raise BadInput(f"a prompt must be a point, a stroke or a box, got {str(kind)[:40]!r}; draw it again")


def _box(given: object, width: int, height: int) -> NDArray[np.float32]:
    if not isinstance(given, Sequence) or len(given) != 4:
        raise BadInput("a box must be four numbers: left, top, right, bottom; drag it again")
    corners = coordinates([given[:2], given[2:]], width, height)
    low, high = corners.min(0), corners.max(0)
    if not (high > low).all():
        raise BadInput("the box has no area inside the image; drag it over the object")
    return np.concatenate([low, high]).astype(np.float32)


def coordinates(given: Sequence[object], width: int, height: int) -> NDArray[np.float64]:
    """Return (N, 2) x and y clipped to the image.

    Raises:
        BadInput: a point is not a pair of finite numbers.
    """
    for point in given:
        if not (isinstance(point, Sequence) and len(point) == 2 and all(map(_is_number, point))):
            raise BadInput(f"a point must be two finite numbers, x and y, got {str(point)[:40]!r}; draw it again")
    return np.clip(np.array(given, np.float64).reshape(-1, 2), 0, [width, height])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _field(prompt: object, name: str) -> Any:
    return prompt.get(name) if isinstance(prompt, Mapping) else None
