"""The detections of a row, and their masks as run lengths, crops and polygons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.batch.rows import Row
from openvocab.formats.job import Job
from openvocab.pipeline.detections import Detection, shortest
from openvocab.pipeline.quiet import quiet_supervision

__all__ = ["Crop", "clipped", "counts_of", "crop", "detections_of", "mask_of", "outline", "run_lengths", "tags_of"]

Mask = NDArray[np.bool_]


def clipped(detection: Detection, row: Row) -> tuple[float, float, float, float]:
    """Return the left, top, right and bottom of a box, clipped to the image."""
    left, top, right, bottom = detection.xyxy
    width, height = float(row.width or 0), float(row.height or 0)
    return _clip(left, width), _clip(top, height), _clip(right, width), _clip(bottom, height)


def _clip(edge: float, largest: float) -> float:
    return min(max(edge, 0.0), largest)


def mask_of(detection: Detection) -> Mask | None:
    """Return the (height, width) bool mask, or None if there is none or it is empty."""
    mask = detection.mask
    return mask if mask is not None and mask.any() else None


def counts_of(detection: Detection) -> str | None:
    """Return the COCO run-length counts of the mask, or None if there is none."""
    code = detection.rle
    return None if code is None else str(code["counts"])


def detections_of(row: Row, job: Job) -> Iterator[Detection]:
    """Yield the detections of a row, best first; class ids are indices into the export's vocabulary.

    Raises:
        BadInput: A label is not in the vocabulary.
    """
    for each in row.detections or ():
        yield replace(each, class_id=job.labels.class_id(each.label, row))


def tags_of(row: Row) -> list[dict[str, Any]]:
    """Return the tags of a row as plain JSON types."""
    return [{"label": tag.label, "score": shortest(tag.score)} for tag in row.tags]


@dataclass(frozen=True, slots=True)
class Crop:
    """The bounding box of a mask and the mask inside it.

    Attributes:
        left: The first column.
        top: The first row.
        mask: (h, w) bool.
    """

    left: int
    top: int
    mask: Mask

    @property
    def width(self) -> int:
        """The number of columns."""
        return int(self.mask.shape[1])

    @property
    def height(self) -> int:
        """The number of rows."""
        return int(self.mask.shape[0])


def crop(mask: Mask) -> Crop:
    """Crop a (height, width) mask with at least one pixel to its bounding box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Crop(int(columns[0]), int(rows[0]), inside)


def run_lengths(flat: Mask) -> NDArray[np.int64]:
    """Return the lengths of the runs of an (N,) mask, alternating off and on; the first one is off and may be 0."""
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    lengths = np.diff(edges)
    return np.concatenate([[0], lengths]) if flat[0] else lengths


def outline(mask: Mask) -> NDArray[np.int64]:
    """Return one closed polygon through the outermost pixels of a mask, as OpenCV's fillPoly reads it.

    Holes are filled. Separate parts are joined by a one-pixel line from each to the next and back.

    Args:
        mask: (height, width) bool, with at least one pixel.

    Returns:
        (N, 2) int64 x and y of pixels, N at least 3.
    """
    inside = crop(mask)
    contours = _contours(_filled(inside.mask))
    there: list[NDArray[np.int64]] = []
    back: list[NDArray[np.int64]] = []
    enter = 0
    for contour, following in zip(contours, [*contours[1:], None], strict=True):
        around = np.concatenate([contour[enter:], contour[: enter + 1]])
        leave = len(around) - 1
        if following is not None:
            leave = _nearest(around, following.mean(0))
            enter = _nearest(following, around[leave])
        there.append(around[: leave + 1])
        back.append(around[leave:])
    moved: NDArray[np.int64] = np.concatenate([*there, *back[::-1]]) + np.array([inside.left, inside.top])
    return _open(moved)


def _open(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """Remove trailing points that repeat the first one while more than three remain."""
    while len(points) > 3 and (points[-1] == points[0]).all():
        points = points[:-1]
    return points


def _nearest(points: NDArray[np.int64], to: NDArray[Any]) -> int:
    return int(((points - to) ** 2).sum(1).argmin())


def _filled(mask: Mask) -> Mask:
    """Fill the holes of a mask: background that is not 4-connected to the outside."""
    from scipy import ndimage

    outside, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    filled: Mask = outside[1:-1, 1:-1] != outside[0, 0]
    return filled


def _contours(filled: Mask) -> list[NDArray[np.int64]]:
    """Return the (N, 2) contour of each part of a mask without holes, in scan order."""
    quiet_supervision()
    import supervision
    from scipy import ndimage

    parts, count = ndimage.label(filled, np.ones((3, 3), np.bool_))
    found: dict[int, NDArray[np.int64]] = {}
    for contour in supervision.mask_to_polygons(filled):
        found[int(parts[contour[0, 1], contour[0, 0]])] = contour.astype(np.int64)
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), 1):
        if number not in found:  # a pixel or a straight line has no polygon of three corners
            top, bottom, left, right = rows.start, rows.stop - 1, columns.start, columns.stop - 1
            ends = [[left, top], [right, bottom]] if parts[top, left] == number else [[right, top], [left, bottom]]
            found[number] = np.array(ends, np.int64)
    return [found[number] for number in range(1, count + 1)]
