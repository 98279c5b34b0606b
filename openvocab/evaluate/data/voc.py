"""Pascal VOC: a folder with Annotations/NAME.xml and JPEGImages/.

As in the VOC devkit, pixels count from 1 and the last one is inside. Objects marked difficult are ignored in the way
of COCO's crowds: they do not count as missed, and boxes inside do not count as errors.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from openvocab.errors import BadInput, counted
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet, Faults, clip_box
from openvocab.evaluate.data.safe_read import MAX_COORDINATE, check_number, image_size, read_xml, short_repr
from openvocab.prompts.labels import check_labels

__all__ = ["load_voc"]

_EDGES = ("xmin", "ymin", "xmax", "ymax")


def load_voc(path: str) -> AnnotatedSet:
    """Return the data set, with sorted labels and images in the order of the annotation files.

    Missing images, and boxes that are empty or outside their image, are left out. There is one warning per kind of
    fault.

    Raises:
        BadInput: there is no annotation or no image, or an XML file cannot be read; the message names it.
        MissingExtra: defusedxml is not installed.
    """
    folder = os.path.join(path, "Annotations")
    names = (
        sorted(name for name in os.listdir(folder) if name.lower().endswith(".xml")) if os.path.isdir(folder) else []
    )
    if not names:
        raise BadInput(f"{path!r} has no Annotations/*.xml; give the folder that contains Annotations and JPEGImages")
    faults = Faults()
    read = [made for name in names if (made := _image(path, os.path.join(folder, name), faults)) is not None]
    if not read:
        raise BadInput(f"no image annotated in {path!r} exists in JPEGImages; check the path")
    words = sorted({word for _, found in read for word in found})
    faults.warn()
    label_source = f"the elements object of the {counted(len(names), 'file')} {folder!r}/*.xml"
    if not words:
        raise BadInput(
            f"{path!r} has no object; objects were read from {label_source}; check the path and the annotations"
        )
    index_of = {word: row for row, word in enumerate(words)}
    images = []
    for one, found in read:
        index = np.array([index_of[word] for word in found], np.int64)
        images.append(AnnotatedImage(one.path, one.height, one.width, one.xyxy, index, one.crowd))
    return AnnotatedSet(path, check_labels(words), tuple(images), faults.counts, label_source)


def _image(path: str, file: str, faults: Faults) -> tuple[AnnotatedImage, list[str]] | None:
    """Return an image without class_ids, and the names of its labels; None if it is missing.

    Raises:
        BadInput: the XML cannot be read, or a required element is missing.
    """
    root = read_xml(file)
    name = os.path.basename(_text(root, "filename", repr(file)))
    image = os.path.join(path, "JPEGImages", name)
    if not os.path.isfile(image):
        faults.add("images that are annotated and missing, left out", f"{file!r} ({short_repr(name)})")
        return None
    width, height = (_number(root, f"size/{side}", repr(file)) for side in ("width", "height"))
    height, width = image_size(height, width, repr(file))
    boxes, labels, crowd = [], list[str](), list[bool]()
    for number, element in enumerate(root.findall("object"), 1):
        where = f"{file!r}, object {number}"
        left, top, right, bottom = (_number(element, f"bndbox/{edge}", where) for edge in _EDGES)
        box = clip_box((left - 1, top - 1, right, bottom), height, width, where, faults)
        if box is not None:
            boxes.append(box)
            labels.append(" ".join(_text(element, "name", where).split()))
            crowd.append((element.findtext("difficult") or "0").strip() == "1")
    xyxy = np.array(boxes, np.float64).reshape(-1, 4)
    return AnnotatedImage(image, height, width, xyxy, np.zeros(0, np.int64), np.array(crowd, bool)), labels


def _text(element: Any, tag: str, where: str) -> str:
    """Return the text of a tag, or raise BadInput if there is none."""
    found = (element.findtext(tag) or "").strip()
    if not found:
        raise BadInput(f"{where} has no {tag}; add it")
    return found


def _number(element: Any, tag: str, where: str) -> float:
    text = _text(element, tag, where)
    try:
        value = float(text)
    except ValueError as error:
        raise BadInput(f"{where} has {short_repr(text)} for {tag}, which is not a number; correct it") from error
    return check_number(value, where, tag, -MAX_COORDINATE, MAX_COORDINATE)
