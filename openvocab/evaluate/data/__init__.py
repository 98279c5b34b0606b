"""Loaders of labeled images in common formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from openvocab.errors import BadInput, unknown
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet, require_objects
from openvocab.evaluate.data.captions import CaptionedImage, CaptionedSet, load_captions
from openvocab.evaluate.data.coco import load_coco, load_lvis
from openvocab.evaluate.data.image_folder import load_image_folder
from openvocab.evaluate.data.labeled import LabeledImage, LabeledSet
from openvocab.evaluate.data.lists import load_list
from openvocab.evaluate.data.saco import load_saco
from openvocab.evaluate.data.torchvision_sets import TORCHVISION, load_torchvision
from openvocab.evaluate.data.voc import load_voc
from openvocab.evaluate.data.web_dataset import load_web_dataset
from openvocab.evaluate.data.yolo import SPLITS, load_yolo

__all__ = [
    "ANNOTATED",
    "LABELED",
    "SPLITS",
    "TORCHVISION",
    "AnnotatedImage",
    "AnnotatedSet",
    "CaptionedImage",
    "CaptionedSet",
    "LabeledImage",
    "LabeledSet",
    "load_annotated",
    "load_captions",
    "load_labeled",
    "require_objects",
]

LABELED: Mapping[str, Callable[[str], LabeledSet]] = {
    "imagefolder": load_image_folder,
    "list": load_list,
    "torchvision": load_torchvision,
    "webdataset": load_web_dataset,
}
"""Format -> its loader."""

ANNOTATED = ("coco", "lvis", "saco", "voc", "yolo")
"""Formats of images with boxes."""


def load_labeled(path: str, format: str) -> LabeledSet:  # noqa: A002
    """Return a data set of labeled images.

    Args:
        path: Folder or file; for torchvision NAME:ROOT.
        format: imagefolder; list (CSV, JSON lines or Parquet); torchvision, where its class expects the files; or
            webdataset, in CLIP_benchmark's layout.

    Raises:
        UnknownName: there is no format of that name.
        BadInput: the data cannot be read; the message names the file and, if known, the line.
    """
    if format not in LABELED:
        raise unknown("format of labeled images", format, LABELED)
    return LABELED[format](path)


def load_annotated(
    path: str,
    format: str,  # noqa: A002
    images: str | None = None,
    split: str | None = None,
) -> AnnotatedSet:
    """Return a data set of images with boxes.

    Args:
        path: The JSON file of coco, lvis and saco (of several annotators, with commas between them), the folder of voc
            that contains Annotations and JPEGImages, or data.yaml
            of yolo or its folder.
        format: coco, lvis, saco, voc or yolo.
        images: Folder of the images of coco, lvis and saco; the JSON file's folder if None.
        split: val, test or train of yolo; the first of these in data.yaml if None.

    Raises:
        UnknownName: there is no format of that name.
        BadInput: the data cannot be read or have no object, or images or split is given for a format without it.
        MissingExtra: voc, and defusedxml is not installed.
    """
    if format not in ANNOTATED:
        raise unknown("format of annotated images", format, ANNOTATED)
    if images is not None and format not in ("coco", "lvis", "saco"):
        raise BadInput(f"a folder of images is for coco, lvis and saco, because {format} has the paths; leave it out")
    if split is not None and format != "yolo":
        raise BadInput(f"a split is for yolo, because {format} has none; leave it out")
    if format == "yolo":
        return require_objects(load_yolo(path, split))
    read = {"coco": load_coco, "lvis": load_lvis, "saco": load_saco}
    return require_objects(load_voc(path) if format == "voc" else read[format](path, images))
