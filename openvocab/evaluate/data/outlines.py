"""Outlines of things as COCO writes them: polygons, runs of pixels, and runs packed into a text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from openvocab.evaluate.data.annotated import Faults

__all__ = ["filled_box", "rle_of"]

_FEWEST = 6
"""Numbers of a polygon of three points."""

_INSTEAD = ", the box taken instead"


def rle_of(
    segmentation: object, box: Sequence[float], height: int, width: int, where: str, faults: Faults
) -> dict[str, Any]:
    """Return the pixels of a thing as COCO's packed runs, {"size": [height, width], "counts": bytes}.

    Polygons are joined. A thing without an outline that can be used is given its box, filled, and is counted.

    Args:
        segmentation: a list of polygons, each x, y, x, y and so on in pixels; or {"size", "counts"}, whose counts are
            a list of runs, down the columns and background first, or those runs packed into a text.
        box: left, top, right, bottom in pixels, half-open.
        where: what a fault calls its place.
    """
    from pycocotools import mask

    made = None
    if isinstance(segmentation, dict):
        made = _from_runs(segmentation, height, width, where, faults)
    elif isinstance(segmentation, list) and segmentation:
        made = _from_polygons(segmentation, height, width, where, faults)
    else:
        faults.add(f"things without an outline among others that have one{_INSTEAD}", where)
        return filled_box(box, height, width)
    if made is not None and not mask.area(made):
        faults.add(f"outlines without a pixel in their picture{_INSTEAD}", where)
        made = None
    return filled_box(box, height, width) if made is None else made


def filled_box(box: Sequence[float], height: int, width: int) -> dict[str, Any]:
    """Return the pixels of a box (left, top, right, bottom), half-open, as COCO's packed runs."""
    from pycocotools import mask

    left, top, right, bottom = box
    made: dict[str, Any] = mask.frPyObjects(np.array([[left, top, right - left, bottom - top]]), height, width)[0]
    return made


def _from_polygons(
    polygons: Sequence[object], height: int, width: int, where: str, faults: Faults
) -> dict[str, Any] | None:
    """Return the pixels of those polygons that have three points; None where none has."""
    from pycocotools import mask

    good = [[float(each) for each in part] for part in polygons if isinstance(part, list) and _is_polygon(part)]
    if len(good) < len(polygons):
        said = "polygons that are no list of three points or more, left out" if good else f"broken outlines{_INSTEAD}"
        faults.add(said, where)
    made: dict[str, Any] | None = mask.merge(mask.frPyObjects(good, height, width)) if good else None
    return made


def _is_polygon(part: Sequence[object]) -> bool:
    if len(part) < _FEWEST or len(part) % 2:
        return False
    return all(isinstance(each, int | float) and np.isfinite(each) for each in part)


def _from_runs(given: dict[str, Any], height: int, width: int, where: str, faults: Faults) -> dict[str, Any] | None:
    """Return the pixels of runs; None where they are broken or of another picture's size."""
    from pycocotools import mask

    if given.get("size") != [height, width]:
        faults.add(f"outlines of another size than their picture{_INSTEAD}", where)
        return None
    counts = given.get("counts")
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
    if not (whole and sum(runs or []) == height * width):
        faults.add(f"broken outlines{_INSTEAD}", where)
        return None
    made: dict[str, Any] = mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return made


def _unpacked(text: str) -> list[int] | None:
    """Return the runs of a packed text; None where it is cut short or has another character.

    pycocotools reads past the end of a text that is cut short, so that it is looked at here. As in its rleFrString: a
    character less 48 holds 5 bits of a number, the lowest first, and 32 where more follow; from the fourth on, a
    number is the difference to the last but one.
    """
    codes = [ord(letter) - 48 for letter in text]
    if not codes or not all(0 <= code < 64 for code in codes) or codes[-1] & 32:
        return None
    numbers, begins = list[int](), [0, *(place + 1 for place, code in enumerate(codes) if not code & 32)]
    for begin, end in pairwise(begins):
        value = sum((code & 31) << 5 * place for place, code in enumerate(codes[begin:end]))
        numbers.append(value - (1 << 5 * (end - begin)) if codes[end - 1] & 16 else value)
    return numbers[:1] + _added(numbers[1::2], numbers[2::2])


def _added(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Return the running sums of both in turn."""
    sums = [list(accumulate(one)), list(accumulate(other))]
    return [sums[place % 2][place // 2] for place in range(len(one) + len(other))]
