"""Masks as PNG files, with one value per detection (instance) or per label (semantic).

0 is the background. The value of a detection is its index in its row plus 1; that of a label is its index in the
vocabulary plus 1. Where masks overlap, the detection with the better score gets the pixel. Files have a palette for up
to 255 values, and are 16-bit gray for more. Boxes and hidden parts of masks are lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from openvocab.batch.rows import Row
from openvocab.errors import BadInput
from openvocab.formats.detections import detections_of, mask_of
from openvocab.formats.job import Job
from openvocab.formats.targets import ImageFiles, atomic_folder, dumps, open_text
from openvocab.pipeline.detections import Detection

__all__ = ["palette", "write_instance_masks", "write_semantic_masks"]

_MAX_PALETTE, _MAX_VALUES = 255, 65535


def write_instance_masks(job: Job) -> None:
    """Write masks/NAME.png with one value per detection; images.jsonl maps values to labels and scores.

    Raises:
        BadInput: An image has more than 65535 detections.
    """
    with atomic_folder(job.path) as folder, ImageFiles(job, folder, "images/") as images:
        (folder / "masks").mkdir()
        for row in job:
            found = list(enumerate(detections_of(row, job), 1))
            listed = [
                {"value": value, "label": detection.label, "score": detection.score} for value, detection in found
            ]
            name, _ = images.add(row, detections=listed, mask=_has_masks(row))
            if _has_masks(row):
                _check(len(found), f"{row.id!r} has", "detections")
                _save(_painted(row, iter(found[::-1])), len(found), folder / "masks" / f"{name}.png")


def write_semantic_masks(job: Job) -> None:
    """Write masks/NAME.png with one value per label; values.json maps values to labels.

    Raises:
        BadInput: There are more than 65535 labels.
    """
    _check(len(job.labels), "there are", "labels")
    with atomic_folder(job.path) as folder, ImageFiles(job, folder, "images/") as images:
        (folder / "masks").mkdir()
        colors = palette().reshape(-1, 3).tolist() if len(job.labels) <= _MAX_PALETTE else []
        with open_text(folder / "values.json") as values:
            named = [
                {"value": value, "label": label, "color": colors[value] if colors else None}
                for value, label in enumerate(job.labels.names, 1)
            ]
            values.write(dumps(named) + "\n")
        for row in job:
            name, _ = images.add(row, mask=_has_masks(row))
            if _has_masks(row):
                found = [(detection.class_id + 1, detection) for detection in detections_of(row, job)]
                _save(_painted(row, iter(found[::-1])), len(job.labels), folder / "masks" / f"{name}.png")


@cache
def palette() -> NDArray[np.uint8]:
    """Return the (768,) uint8 RGB palette of Pascal VOC for 256 values.

    The bits of a value, from the lowest and three at a time, become the bits of red, green and blue from the highest.
    """
    values = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for step in range(3):
        for color in range(3):
            colors[:, color] |= ((values >> (3 * step + color) & 1) << (7 - step)).astype(np.uint8)
    colors.flags.writeable = False
    return colors.reshape(-1)


def _has_masks(row: Row) -> bool:
    """Return whether a row has masks, or has no detections."""
    return row.detections is not None and (row.detections.masks is not None or not len(row.detections))


def _check(count: int, who: str, what: str) -> None:
    if count > _MAX_VALUES:
        raise BadInput(f"{who} {count} {what}, and a PNG holds {_MAX_VALUES} values; choose another format")


def _painted(row: Row, last_first: Iterator[tuple[int, Detection]]) -> NDArray[np.uint16]:
    found = np.zeros((row.height or 0, row.width or 0), np.uint16)
    for value, detection in last_first:
        mask = mask_of(detection)
        if mask is not None:
            found[mask] = value
    return found


def _save(values: NDArray[np.uint16], count: int, path: Path) -> None:
    if count > _MAX_PALETTE:
        Image.fromarray(values).save(path)
        return
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(palette().tobytes())
    image.save(path)
