"""Labels of a COCO file or a YOLO folder as the answers of a served folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from openvocab import Detections
from openvocab.batch.corrections.correction import Correction
from openvocab.batch.corrections.folder import write_correction
from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import AnnotatedImage
from openvocab.evaluate.data.coco import load_coco
from openvocab.evaluate.data.yolo import load_yolo
from openvocab.images.read import read_file
from openvocab.pipeline.masks import EncodedMasks
from openvocab.ui.web.served.folder import ServedFolder
from openvocab.ui.web.workspace import detection_keys

__all__ = ["import_labels"]


def import_labels(served: ServedFolder, path: str) -> int:
    """Take labels as the answers of images that have none yet, and return the number of images.

    Args:
        served: The folder; the labels' images must be in it.
        path: COCO's instances (.json), or a YOLO folder or its data.yaml.

    Raises:
        BadInput: the labels cannot be read, or none of their images is in the folder.
        CannotWrite: the run folder cannot be written.
    """
    data = load_coco(path, str(served.folder)) if path.lower().endswith(".json") else load_yolo(path)
    by_file = {os.path.realpath(each.path): each for each in served.entries if each.path is not None}
    matched = [(by_file[os.path.realpath(each.path)], each) for each in data.images if _known(each, by_file)]
    if not matched:
        raise BadInput(f"no image of {path!r} is in {served.folder}; serve their folder")
    new = [(entry, each) for entry, each in matched if served.status(entry.key) == "new"]
    for entry, each in new:
        found = _detections(each, data.labels)
        digest = hashlib.sha256(read_file(each.path, repr(entry.name))).hexdigest()
        size = each.width, each.height
        flags = (False,) * len(found)
        made = Correction(entry.id, digest, *size, data.labels, (), found, found, detection_keys(found), flags)
        write_correction(served.run, made)
    served.refresh()
    return len(new)


def _known(one: AnnotatedImage, by_file: Mapping[str, Any]) -> bool:
    return os.path.realpath(one.path) in by_file


def _detections(one: AnnotatedImage, labels: tuple[str, ...]) -> Detections:
    """Return the objects of an image, without groups, as detections of score 1."""
    rows = np.flatnonzero(~one.crowd)
    scores = np.ones(len(rows), np.float32)
    masks = None
    if one.masks is not None:
        counts = (one.masks[row]["counts"] for row in rows)
        texts = tuple(each.decode() if isinstance(each, bytes) else each for each in counts)
        masks = EncodedMasks(texts, one.height, one.width)
    names = tuple(labels[one.class_ids[row]] for row in rows)
    xyxy = one.xyxy[rows].astype(np.float32)
    return Detections(xyxy, scores, names, scores, None if masks is None else scores, masks)
