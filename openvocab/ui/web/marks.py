"""What a person marked on an image, as the points and the box that a segmenter is asked with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput

__all__ = ["Marks", "read_marks", "stroke_points"]

_MOST = 200
_MOST_OF_A_STROKE = 2000
_STROKE_POINTS = 8
_SPACING = 0.04
"""Points of a stroke lie at least this share of the image's longer side apart."""


@dataclass(frozen=True, eq=False, slots=True)
class Marks:
    """One prompt.

    points        (P, 2) float32 x and y in pixels of the image.
    point_labels  (P,) int64, 1 on the thing and 0 beside it.
    box           (4,) float32 left, top, right, bottom in pixels of the image, or None.
    """

    points: NDArray[np.float32]
    point_labels: NDArray[np.int64]
    box: NDArray[np.float32] | None

    @property
    def asked(self) -> dict[str, Any]:
        """The arguments of Pipeline.prompt."""
        some = len(self.points) > 0
        return {
            "points": self.points if some else None,
            "point_labels": self.point_labels if some else None,
            "box": self.box,
        }


def read_marks(given: object, width: int, height: int) -> Marks:
    """Return the prompt that a list of marks means; all are held to the image, and of several boxes the last counts.

    Args:
        given: a list of {"kind": "point", "at": [x, y], "inside": true}, {"kind": "stroke", "path": [[x, y], ...],
            "inside": false} and {"kind": "box", "xyxy": [x, y, x, y]} in pixels of the image. A box may be given from
            any of its corners. Of a stroke its stroke_points count.
        width: pixels of the image.
        height: pixels of the image.

    Raises:
        BadInput: there is no mark, there are too many, or one has another form.
    """
    if not isinstance(given, list) or not given:
        raise BadInput("there is no mark on the image; click on the object, or drag a box around it")
    if len(given) > _MOST:
        raise BadInput(f"there are {len(given)} marks on the image; keep to {_MOST}")
    places: list[NDArray[np.float64]] = [np.zeros((0, 2))]
    labels: list[int] = []
    box = None
    for mark in given:
        kind, inside = _of(mark, "kind"), int(bool(_of(mark, "inside")))
        if kind == "box":
            box = _box(_of(mark, "xyxy"), width, height)
            continue
        each = _points(kind, mark, width, height)
        places.append(each)
        labels += [inside] * len(each)
    return Marks(np.concatenate(places).astype(np.float32), np.array(labels, np.int64), box)


def stroke_points(path: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return the at most 8 points that stand for a stroke.

    The stroke is cut into equal lengths of at least 4 % of the image's longer side, and the middle of each is taken:
    the ends, where a hand overshoots, are left out.

    Args:
        path: (N, 2) x and y of the stroke as it was drawn, N at least 1.
        side: pixels of the image's longer side.
    """
    steps = np.hypot(*np.diff(path, axis=0).T) if len(path) > 1 else np.zeros(0)
    length = float(steps.sum())
    count = max(1, min(_STROKE_POINTS, int(length / (_SPACING * side))))
    along = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = (np.arange(count) + 0.5) / count * length
    return np.stack([np.interp(wanted, along, path[:, axis]) for axis in (0, 1)], axis=1)


def _points(kind: object, mark: object, width: int, height: int) -> NDArray[np.float64]:
    if kind == "point":
        return _places([_of(mark, "at")], width, height)
    if kind == "stroke":
        path = _of(mark, "path")
        if not isinstance(path, list) or not 1 <= len(path) <= _MOST_OF_A_STROKE:
            raise BadInput(f"a stroke must be a list of 1 to {_MOST_OF_A_STROKE} points; draw it again")
        return stroke_points(_places(path, width, height), max(width, height))
    raise BadInput(f"a mark is a point, a stroke or a box, got {str(kind)[:40]!r}; mark the image again")


def _box(given: object, width: int, height: int) -> NDArray[np.float32]:
    if not isinstance(given, Sequence) or len(given) != 4:
        raise BadInput("a box must be four numbers: left, top, right, bottom; drag it again")
    corners = _places([given[:2], given[2:]], width, height)
    low, high = corners.min(0), corners.max(0)
    if not (high > low).all():
        raise BadInput("the box has no area inside the image; drag it over the object")
    return np.concatenate([low, high]).astype(np.float32)


def _places(given: Sequence[object], width: int, height: int) -> NDArray[np.float64]:
    """Return (N, 2) places held to the image, or raise BadInput."""
    for place in given:
        if not (isinstance(place, Sequence) and len(place) == 2 and all(map(_is_number, place))):
            raise BadInput(f"a place must be two finite numbers, x and y, got {str(place)[:40]!r}; mark it again")
    return np.clip(np.array(given, np.float64).reshape(-1, 2), 0, [width, height])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _of(mark: object, name: str) -> Any:
    return mark.get(name) if isinstance(mark, Mapping) else None
