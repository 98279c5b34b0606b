"""Pascal VOC: one Annotations/NAME.xml per image, with boxes.

As in the VOC devkit, pixels are numbered from 1 and ranges are closed: left and top of a half-open box are written plus
1, right and bottom unchanged. Fractions are kept. Masks and tags are lost; the order of labels is in labels.json.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from openvocab.batch.rows import Row
from openvocab.formats.detections import detections_of
from openvocab.formats.job import Job
from openvocab.formats.mask_images import palette
from openvocab.formats.targets import ImageFiles, atomic_folder, dumps, open_text
from openvocab.formats.xml_text import element
from openvocab.pipeline.detections import Detection

__all__ = ["write_voc"]


def write_voc(job: Job) -> None:
    """Write Annotations/, JPEGImages/ with linked or copied images, ImageSets/, labels.json and labelmap.txt."""
    with atomic_folder(job.path) as folder, ImageFiles(job, folder, "JPEGImages/") as images:
        (folder / "Annotations").mkdir()
        (folder / "ImageSets" / "Main").mkdir(parents=True)
        _list_labels(job.labels.names, folder)
        with open_text(folder / "ImageSets" / "Main" / "default.txt") as listed:
            for row in job:
                name, file = images.add(row)
                if row.status == "ok":
                    listed.write(f"{name}\n")
                    _annotate(job, row, folder / "Annotations" / f"{name}.xml", file)


def _list_labels(names: tuple[str, ...], folder: Path) -> None:
    """Write labels.json, and labelmap.txt for CVAT and Datumaro, whose labels cannot contain a colon."""
    with open_text(folder / "labels.json") as labels:
        labels.write(dumps(names) + "\n")
    colors = palette().reshape(-1, 3).tolist()
    with open_text(folder / "labelmap.txt") as listed:
        listed.write("# label:color_rgb:parts:actions\n")
        for value, name in enumerate(names, 1):
            if not re.search(r"[:\n\r]|^#", name):
                listed.write(f"{name}:{','.join(map(str, colors[value % 256]))}::\n")


def _annotate(job: Job, row: Row, path: Path, file: str | None) -> None:
    root = ElementTree.Element("annotation")
    element(root, "folder", "JPEGImages")
    element(root, "filename", Path(file or row.id.rpartition("::")[2] or row.id).name)
    element(root, "path", job.image(row))
    element(element(root, "source"), "database", "openvocab")
    size = element(root, "size")
    for name, value in (("width", row.width), ("height", row.height), ("depth", 3)):
        element(size, name, value)
    element(root, "segmented", 0)
    for detection in detections_of(row, job):
        _object(root, detection)
    ElementTree.indent(root)
    with open_text(path) as out:
        out.write(ElementTree.tostring(root, "unicode") + "\n")


def _object(root: ElementTree.Element, detection: Detection) -> None:
    made = element(root, "object")
    for name, value in (("name", detection.label), ("pose", "Unspecified"), ("truncated", 0), ("difficult", 0)):
        element(made, name, value)
    element(made, "score", detection.score)
    left, top, right, bottom = detection.xyxy
    box = element(made, "bndbox")
    for name, edge in (("xmin", left + 1), ("ymin", top + 1), ("xmax", right), ("ymax", bottom)):
        element(box, name, round(edge, 6))
