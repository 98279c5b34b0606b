"""COCO segmentations as run-length encoding: polygons, runs of pixels, and compressed runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import Faults
from openvocab.evaluate.data.safe_read import MAX_COORDINATE

__all__ = ["box_rle", "encode_segmentation"]

_MIN_NUMBERS = 6
"""Numbers of a polygon with three points."""

_MAX_LENGTH = 2_000_000
"""Maximum length of a polygon's edges in pixels."""

_MAX_CHARACTERS = 7
"""Characters of a 32-bit number in compressed runs."""

_REPLACED = ", replaced by their box"


def encode_segmentation(
    segmentation: object, box: Sequence[float], height: int, width: int, where: str, faults: Faults
) -> dict[str, Any]:
    """Return the mask of an object as COCO run-length encoding, {"size": [height, width], "counts": bytes}.

    Polygons are merged. An object without a valid segmentation gets its filled box, and a fault is counted.

    Args:
        segmentation: A list of polygons, each x, y, x, y and so on in pixels; or {"size", "counts"}, whose counts are
            a list of runs in column-major order, background first, or the same runs compressed to a string.
        box: Left, top, right, bottom in pixels, half-open.
        height, width: Size of the image in pixels.
        where: Where the object is, for messages.
        faults: Counts what is wrong with the segmentation.

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
        faults.add(f"objects without a segmentation{_REPLACED}", where)
        return box_rle(box, height, width)
    if made is not None and not mask.area(made):
        faults.add(f"segmentations without a pixel in their image{_REPLACED}", where)
        made = None
    return box_rle(box, height, width) if made is None else made


def box_rle(box: Sequence[float], height: int, width: int) -> dict[str, Any]:
    """Return the filled box (left, top, right, bottom), half-open, as COCO run-length encoding."""
    from pycocotools import mask

    left, top, right, bottom = box
    made: dict[str, Any] = mask.frPyObjects(np.array([[left, top, right - left, bottom - top]]), height, width)[0]
    return made


def _from_polygons(
    polygons: Sequence[object], height: int, width: int, where: str, faults: Faults
) -> dict[str, Any] | None:
    """Return the mask of the polygons that are valid; None if none is.

    Raises:
        BadInput: see _points.
    """
    from pycocotools import mask

    good = [points for part in polygons if (points := _points(part, where)) is not None]
    if len(good) < len(polygons):
        kind = "invalid polygons, left out" if good else f"invalid segmentations{_REPLACED}"
        faults.add(kind, where)
    made: dict[str, Any] | None = mask.merge(mask.frPyObjects(good, height, width)) if good else None
    return made


def _points(part: object, where: str) -> list[float] | None:
    """Return x, y, x, y and so on of a polygon; None if it is not a list of three points or more.

    Raises:
        BadInput: a point is too far away, or the edges are too long; pycocotools' time grows with their length.
    """
    if (
        not isinstance(part, list)
        or len(part) < _MIN_NUMBERS
        or len(part) % 2
        or not set(map(type, part)) <= {int, float}
    ):
        return None
    if any(abs(each) > MAX_COORDINATE for each in part):
        raise BadInput(f"{where} has a polygon with a point over {MAX_COORDINATE:.0f} pixels away; correct it")
    points = np.array(part, np.float64).reshape(-1, 2)
    if np.isnan(points).any():
        return None
    length = float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
    if length > _MAX_LENGTH:
        raise BadInput(
            f"{where} has a polygon of {length:.0f} pixels, more than the limit of {_MAX_LENGTH}; correct it"
        )
    made: list[float] = points.ravel().tolist()
    return made


def _from_runs(given: dict[str, Any], height: int, width: int, where: str, faults: Faults) -> dict[str, Any] | None:
    """Return the mask of runs; None if they are invalid or have another size than the image."""
    from pycocotools import mask

    if given.get("size") != [height, width]:
        faults.add(f"segmentations of another size than their image{_REPLACED}", where)
        return None
    counts = given.get("counts")
    runs = _decompress(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
    if not (whole and runs and len(runs) <= height * width + 1 and sum(runs) == height * width):
        faults.add(f"invalid segmentations{_REPLACED}", where)
        return None
    made: dict[str, Any] = mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return made


def _decompress(text: str) -> list[int] | None:
    """Return the runs of a compressed string; None if it is truncated or has an invalid character or number.

    pycocotools reads past the end of a truncated string, so it is checked here. As in its rleFrString, a character
    minus 48 has 5 bits of a number, the lowest first, plus 32 if more follow; from the fourth on, a number is the
    difference to the last but one.
    """
    if not text or not text.isascii():
        return None
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    if codes.min() < 0 or codes.max() >= 64 or codes[-1] & 32:
        return None
    last = np.flatnonzero(codes & 32 == 0)
    begins = np.concatenate([[0], last[:-1] + 1])
    lengths = last - begins + 1
    if lengths.max() > _MAX_CHARACTERS:
        return None
    place = np.arange(len(codes)) - np.repeat(begins, lengths)
    numbers = np.add.reduceat((codes & 31) << 5 * place, begins)
    numbers -= np.where(codes[last] & 16, 1 << 5 * lengths, 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    runs: list[int] = numbers.tolist()
    return runs
