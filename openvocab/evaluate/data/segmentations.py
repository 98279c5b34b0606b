"""Outlines of things as COCO writes them: polygons, runs of pixels, and runs packed into a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import Faults
from openvocab.evaluate.data.safe_read import MAX_COORDINATE

__all__ = ["box_rle", "encode_segmentation"]

_FEWEST = 6
"""Numbers of a polygon of three points."""

_LONGEST = 2_000_000
"""Pixels along the edges of a polygon."""

_LONGEST_NUMBER = 7
"""Characters of a number in packed runs: those of 32 bits."""

_INSTEAD = ", the box taken instead"


def encode_segmentation(
    segmentation: object, box: Sequence[float], height: int, width: int, where: str, faults: Faults
) -> dict[str, Any]:
    """Return the pixels of a thing as COCO's packed runs, {"size": [height, width], "counts": bytes}.

    Polygons are joined. A thing without an outline that can be used is given its box, filled, and is counted.

    Args:
        segmentation: a list of polygons, each x, y, x, y and so on in pixels; or {"size", "counts"}, whose counts are
            a list of runs, down the columns and background first, or those runs packed into a text.
        box: left, top, right, bottom in pixels, half-open.
        where: what a fault calls its place.

    Raises:
        BadInput: a point of a polygon is too far away, or its edges are too long.
    """
    from pycocotools import mask

    made = None
    if isinstance(segmentation, dict):
        made = _from_runs(segmentation, height, width, where, faults)
    elif isinstance(segmentation, list) and segmentation:
        made = _from_polygons(segmentation, height, width, where, faults)
    else:
        faults.add(f"things without an outline among others that have one{_INSTEAD}", where)
        return box_rle(box, height, width)
    if made is not None and not mask.area(made):
        faults.add(f"outlines without a pixel in their image{_INSTEAD}", where)
        made = None
    return box_rle(box, height, width) if made is None else made


def box_rle(box: Sequence[float], height: int, width: int) -> dict[str, Any]:
    """Return the pixels of a box (left, top, right, bottom), half-open, as COCO's packed runs."""
    from pycocotools import mask

    left, top, right, bottom = box
    made: dict[str, Any] = mask.frPyObjects(np.array([[left, top, right - left, bottom - top]]), height, width)[0]
    return made


def _from_polygons(
    polygons: Sequence[object], height: int, width: int, where: str, faults: Faults
) -> dict[str, Any] | None:
    """Return the pixels of those polygons that have three points; None where none has.

    Raises:
        BadInput: see _points.
    """
    from pycocotools import mask

    good = [points for part in polygons if (points := _points(part, where)) is not None]
    if len(good) < len(polygons):
        said = "polygons that are no list of three points or more, left out" if good else f"broken outlines{_INSTEAD}"
        faults.add(said, where)
    made: dict[str, Any] | None = mask.merge(mask.frPyObjects(good, height, width)) if good else None
    return made


def _points(part: object, where: str) -> list[float] | None:
    """Return x, y, x, y and so on of a polygon; None where it is no list of three points or more.

    Raises:
        BadInput: a point is too far away, or the edges are too long: pycocotools walks along them in fifths of a pixel.
    """
    if not isinstance(part, list) or len(part) < _FEWEST or len(part) % 2 or not set(map(type, part)) <= {int, float}:
        return None
    if any(abs(each) > MAX_COORDINATE for each in part):
        raise BadInput(f"{where} has an outline with a point over {MAX_COORDINATE:.0f} pixels away; mend it")
    points = np.array(part, np.float64).reshape(-1, 2)
    if np.isnan(points).any():
        return None
    length = float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
    if length > _LONGEST:
        raise BadInput(f"{where} has an outline of {length:.0f} pixels, more than the limit of {_LONGEST}; mend it")
    made: list[float] = points.ravel().tolist()
    return made


def _from_runs(given: dict[str, Any], height: int, width: int, where: str, faults: Faults) -> dict[str, Any] | None:
    """Return the pixels of runs; None where they are broken or of another image's size."""
    from pycocotools import mask

    if given.get("size") != [height, width]:
        faults.add(f"outlines of another size than their image{_INSTEAD}", where)
        return None
    counts = given.get("counts")
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
    if not (whole and runs and len(runs) <= height * width + 1 and sum(runs) == height * width):
        faults.add(f"broken outlines{_INSTEAD}", where)
        return None
    made: dict[str, Any] = mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return made


def _unpacked(text: str) -> list[int] | None:
    """Return the runs of a packed text; None where it is cut short, or has another character or too long a number.

    pycocotools reads past the end of a text that is cut short, so that it is looked at here. As in its rleFrString: a
    character less 48 holds 5 bits of a number, the lowest first, and 32 where more follow; from the fourth on, a
    number is the difference to the last but one.
    """
    if not text or not text.isascii():
        return None
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    if codes.min() < 0 or codes.max() >= 64 or codes[-1] & 32:
        return None
    last = np.flatnonzero(codes & 32 == 0)
    begins = np.concatenate([[0], last[:-1] + 1])
    lengths = last - begins + 1
    if lengths.max() > _LONGEST_NUMBER:
        return None
    place = np.arange(len(codes)) - np.repeat(begins, lengths)
    numbers = np.add.reduceat((codes & 31) << 5 * place, begins)
    numbers -= np.where(codes[last] & 16, 1 << 5 * lengths, 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    runs: list[int] = numbers.tolist()
    return runs
