"""LabelMe: one NAME.json per image, with mask and rectangle shapes, and tags as the image's flags."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from openvocab.batch.rows import Row
from openvocab.formats.detections import Crop, crop, detections_of, mask_of
from openvocab.formats.job import Job
from openvocab.formats.targets import ImageFiles, atomic_folder, dumps, open_text
from openvocab.pipeline.detections import Detection

__all__ = ["write_labelme"]

_VERSION = "5.5.0"
"""The LabelMe release of the files; masks need 5.2.0."""


def write_labelme(job: Job) -> None:
    """Write one JSON file per image; with shapes="both", the box and the mask of a detection share a group."""
    with atomic_folder(job.path) as folder, ImageFiles(job, folder, "") as images:
        with open_text(folder / "labels.txt") as labels:
            labels.writelines(f"{name}\n" for name in job.labels.names)
        for row in job:
            name, file = images.add(row)
            if row.status == "ok":
                with open_text(folder / f"{name}.json") as out:
                    out.write(dumps(_image(job, row, file or _from_folder(job, row))) + "\n")


def _from_folder(job: Job, row: Row) -> str:
    """Return the path of an image relative to the output folder, which LabelMe uses."""
    name = job.image(row)
    if job.options.prefix or not os.path.isfile(row.id):
        return name
    return os.path.relpath(row.id, job.path)


def _image(job: Job, row: Row, path: str) -> dict[str, Any]:
    shapes = [
        shape
        for group, detection in enumerate(detections_of(row, job))
        for shape in _shapes(job, row, detection, group)
    ]
    return {
        "version": _VERSION,
        "flags": {tag.label: True for tag in row.tags},
        "shapes": shapes,
        "imagePath": path,
        "imageData": None,
        "imageHeight": row.height,
        "imageWidth": row.width,
    }


def _shapes(job: Job, row: Row, detection: Detection, group: int) -> Iterator[dict[str, Any]]:
    mask = None if job.options.shapes == "box" else mask_of(detection)
    both = mask is not None and job.options.shapes == "both"
    common: dict[str, Any] = {
        "label": detection.label,
        "group_id": group if both else None,
        "description": "",
        "flags": {},
    }
    common["score"] = detection.score
    if mask is not None:
        inside = crop(mask)
        last = [inside.left + inside.width - 1, inside.top + inside.height - 1]
        yield common | {"shape_type": "mask", "points": [[inside.left, inside.top], last], "mask": _png(inside)}
    if mask is None or both:
        left, top, right, bottom = detection.xyxy
        yield common | {"shape_type": "rectangle", "points": [[left, top], [right, bottom]], "mask": None}


def _png(inside: Crop) -> str:
    """Return a mask as a base64-encoded PNG of zeros and ones, as LabelMe writes it."""
    file = BytesIO()
    Image.fromarray(inside.mask.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
