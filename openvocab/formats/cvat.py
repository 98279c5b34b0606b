"""CVAT for images 1.1: one XML file with boxes, masks and tags, without scores."""

from __future__ import annotations

from typing import TextIO
from xml.etree import ElementTree

from openvocab.batch.rows import Row
from openvocab.formats.detections import Crop, crop, detections_of, mask_of, run_lengths
from openvocab.formats.job import Job
from openvocab.formats.targets import atomic_file
from openvocab.formats.xml_text import attributes, element
from openvocab.pipeline.detections import Detection

__all__ = ["write_cvat"]


def write_cvat(job: Job) -> None:
    """Write the file, one <image> at a time, without inputs that have no answer, which have no size.

    With shapes="both", the box and the mask of a detection share a group.
    """
    with atomic_file(job.path) as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        _write(file, _meta(job))
        number = 0
        for row in job:
            if row.status == "ok":
                _write(file, _image(job, row, number))
                number += 1
        file.write("</annotations>\n")


def _write(file: TextIO, made: ElementTree.Element) -> None:
    ElementTree.indent(made)
    file.write(ElementTree.tostring(made, "unicode") + "\n")


def _meta(job: Job) -> ElementTree.Element:
    made = ElementTree.Element("meta")
    task = element(made, "task")
    element(task, "mode", "annotation")
    labels = element(task, "labels")
    for name in job.labels.names:
        label = element(labels, "label")
        element(label, "name", name)
        element(label, "attributes")
    return made


def _image(job: Job, row: Row, number: int) -> ElementTree.Element:
    named = attributes(id=number, name=job.image(row), width=row.width, height=row.height)
    made = ElementTree.Element("image", named)
    for group, detection in enumerate(detections_of(row, job), 1):
        _shapes(made, job, row, detection, group)
    for tag in row.tags:
        element(made, "tag", label=tag.label, source="auto")
    return made


def _shapes(image: ElementTree.Element, job: Job, row: Row, detection: Detection, group: int) -> None:
    mask = None if job.options.shapes == "box" else mask_of(detection)
    common: dict[str, object] = {"label": detection.label, "source": "auto", "occluded": 0, "z_order": 0}
    if mask is not None and job.options.shapes == "both":
        common["group_id"] = group
    if mask is not None:
        inside = crop(mask)
        bounds = {"left": inside.left, "top": inside.top, "width": inside.width, "height": inside.height}
        element(image, "mask", **common, rle=_runs(inside), **bounds)
    if mask is None or job.options.shapes == "both":
        edges = zip(("xtl", "ytl", "xbr", "ybr"), detection.xyxy, strict=True)
        element(image, "box", **common, **dict(edges))


def _runs(inside: Crop) -> str:
    return ", ".join(map(str, run_lengths(inside.mask.ravel()).tolist()))
