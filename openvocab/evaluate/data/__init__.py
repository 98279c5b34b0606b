"""Pictures with labels, from the formats that people keep them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from openvocab.errors import BadInput, unknown
from openvocab.evaluate.data.annotated import Annotated, AnnotatedSet
from openvocab.evaluate.data.coco import load_coco
from openvocab.evaluate.data.image_folder import load_image_folder
from openvocab.evaluate.data.lists import load_list
from openvocab.evaluate.data.records import Labelled, LabelledSet
from openvocab.evaluate.data.voc import load_voc
from openvocab.evaluate.data.web_dataset import load_web_dataset

__all__ = [
    "ANNOTATED",
    "LABELLED",
    "Annotated",
    "AnnotatedSet",
    "Labelled",
    "LabelledSet",
    "load_annotated",
    "load_labelled",
]

LABELLED: Mapping[str, Callable[[str], LabelledSet]] = {
    "imagefolder": load_image_folder,
    "list": load_list,
    "webdataset": load_web_dataset,
}
"""Format -> what reads it."""

ANNOTATED = ("coco", "voc")
"""Formats of pictures with boxes."""


def load_labelled(path: str, format: str) -> LabelledSet:  # noqa: A002
    """Return a set of labelled pictures.

    Args:
        path: the folder or file.
        format: imagefolder; list, which is CSV, JSON lines or Parquet; or webdataset, in CLIP_benchmark's layout.

    Raises:
        UnknownName: there is no format of that name.
        BadInput: the data cannot be read; the message names the file and, where there is one, the line.
    """
    if format not in LABELLED:
        raise unknown("format of labelled pictures", format, LABELLED)
    return LABELLED[format](path)


def load_annotated(path: str, format: str, pictures: str | None = None) -> AnnotatedSet:  # noqa: A002
    """Return a set of pictures with boxes.

    Args:
        path: for coco the JSON file, for voc the folder that holds Annotations and JPEGImages.
        format: coco or voc.
        pictures: for coco, the folder of the pictures; the JSON file's own where not given.

    Raises:
        UnknownName: there is no format of that name.
        BadInput: the data cannot be read, or pictures is given for voc.
        MissingExtra: voc, and defusedxml is not installed.
    """
    if format not in ANNOTATED:
        raise unknown("format of annotated pictures", format, ANNOTATED)
    if format == "coco":
        return load_coco(path, pictures)
    if pictures is not None:
        raise BadInput("a folder of pictures is for coco, since voc has them in JPEGImages; leave it out")
    return load_voc(path)
