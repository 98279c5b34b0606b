"""SA-Co: COCO's JSON in which each entry of images is a pair of an image and a noun phrase.

A pair without annotations is a negative: the phrase names nothing in the image. SA-Co/Gold has the same pairs from
three annotators, in one file each. Pairs that an annotator did not annotate exhaustively are left out, as in its
evaluator. Boxes are stored as shares of the image; here they are computed from the masks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet, Faults
from openvocab.evaluate.data.safe_read import check_number, image_size, path_inside, read_json, short_repr
from openvocab.evaluate.data.segmentations import encode_segmentation
from openvocab.prompts.labels import check_labels

__all__ = ["load_saco"]

Pair = tuple[str, int]
"""File name of an image, and index of a label."""

Objects = list[tuple[Mapping[str, Any], str]]
"""Annotations, each with where it is, for messages."""


def load_saco(path: str, images: str | None = None) -> AnnotatedSet:
    """Return the images, each with its own labels in checked_labels, and those of the other annotators.

    Args:
        path: The JSON file; or the files of several annotators, with commas between them.
        images: The folder that file_name is relative to; the first file's folder if None.

    Raises:
        BadInput: a file cannot be read, a part is missing or has another type, a file_name leads out of the folder, or
            no image exists.
    """
    paths = [part.strip() for part in path.split(",") if part.strip()]
    faults, index_of = Faults(), dict[str, int]()
    labels: list[str] = []
    read = [_read(each, index_of, labels, faults) for each in paths or [path]]
    sizes = read[0][1]
    known = [pair for pair in read[0][0] if all(pair in pairs for pairs, _ in read)]
    if len(known) < len(read[0][0]):
        lost = f"{len(read[0][0]) - len(known)} of {len(read[0][0])}"
        faults.add("sets with pairs that not every annotator annotated exhaustively, left out", f"{path!r}, {lost}")
    folder = os.path.dirname((paths or [path])[0]) if images is None else images
    by_image: dict[str, list[int]] = {}
    for name, label in known:
        by_image.setdefault(name, []).append(label)
    made: list[list[AnnotatedImage]] = [[] for _ in read]
    for name, rows in by_image.items():
        file = path_inside(folder, name, repr(path))
        if not os.path.isfile(file):
            faults.add("images that are listed and missing, left out", f"{path!r} ({short_repr(file)})")
            continue
        for number, (pairs, _) in enumerate(read):
            made[number].append(_annotated(file, sizes[name], rows, [pairs[name, row] for row in rows], faults))
    if not made[0]:
        raise BadInput(f"none of the images of {path!r} is in {folder!r}; give their folder as images=FOLDER")
    faults.warn()
    first, *others = map(tuple, made)
    source = f"the noun phrases of {path!r}"
    return AnnotatedSet(path, tuple(labels), first, faults.counts, source, own_labels=True, annotators=tuple(others))


def _read(
    path: str, index_of: dict[str, int], labels: list[str], faults: Faults
) -> tuple[dict[Pair, Objects], dict[str, tuple[int, int]]]:
    """Return the objects of each exhaustive pair, and the (height, width) of each image; new labels are appended.

    Raises:
        BadInput: the file is not of this format.
    """
    whole = read_json(path)
    parts = [whole.get(name) if isinstance(whole, dict) else None for name in ("images", "annotations")]
    if not all(isinstance(part, list) and all(isinstance(row, dict) for row in part) for part in parts):
        raise BadInput(f"{path!r} lacks a list of images or annotations; give a file of SA-Co")
    pair_of: dict[Any, Pair] = {}
    pairs: dict[Pair, Objects] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for row in parts[0] or []:
        where = f"{path!r}, image {short_repr(row.get('id'))}"
        name, text = (_text(row, key, where) for key in ("file_name", "text_input"))
        sizes[name] = image_size(row.get("height"), row.get("width"), where)
        pair = name, _index(text, index_of, labels)
        if not row.get("is_instance_exhaustive", 1):
            continue
        if pair in pairs:
            faults.add("pairs of image and label that are listed twice, joined", where)
        pair_of[_id(row.get("id"), where)] = pair
        pairs.setdefault(pair, [])
    for row in parts[1] or []:
        where = f"{path!r}, annotation {short_repr(row.get('id'))}"
        owner = pair_of.get(_id(row.get("image_id"), where))
        if owner is not None:
            pairs[owner].append((row, where))
    return pairs, sizes


def _index(text: str, index_of: dict[str, int], labels: list[str]) -> int:
    """Return the index of a noun phrase; phrases that differ in case only are one label."""
    (label,) = check_labels([text])
    if (key := label.casefold()) not in index_of:
        index_of[key] = len(labels)
        labels.append(label)
    return index_of[key]


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    """Return a text of a row.

    Raises:
        BadInput: it is missing, or not a text.
    """
    if not isinstance(row.get(key), str) or not row[key].strip():
        raise BadInput(f"{where}, has no {key}; SA-Co's images have file_name and text_input")
    return str(row[key])


def _id(value: object, where: str) -> int | str:
    """Return an id.

    Raises:
        BadInput: it is neither a number nor a text.
    """
    if not isinstance(value, int | str):
        raise BadInput(f"{where}, has {short_repr(value)} for an id; write a number or a string")
    return value


def _annotated(
    file: str, size: tuple[int, int], rows: Sequence[int], objects: Sequence[Objects], faults: Faults
) -> AnnotatedImage:
    from pycocotools import mask

    height, width = size
    flat = [(row, one, where) for row, each in zip(rows, objects, strict=True) for one, where in each]
    codes = [
        encode_segmentation(one.get("segmentation"), _box(one, height, width, where), height, width, where, faults)
        for _, one, where in flat
    ]
    boxes = np.array([mask.toBbox(code) for code in codes], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    crowd = [bool(one.get("iscrowd") or one.get("is_crowd")) for _, one, _ in flat]
    index = np.array([row for row, *_ in flat], np.int64)
    checked = np.unique(np.array(rows, np.int64))
    return AnnotatedImage(file, height, width, boxes, index, np.array(crowd, bool), None, tuple(codes), checked)


def _box(one: Mapping[str, Any], height: int, width: int, where: str) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom in pixels; the whole image if there is no box.

    Raises:
        BadInput: an edge is not a number from 0 to 1.
    """
    box = one.get("bbox")
    if not (isinstance(box, list) and len(box) == 4):
        return 0.0, 0.0, float(width), float(height)
    left, top, wide, tall = (
        check_number(edge, where, "an edge of its bbox, a share of the image", 0, 1) for edge in box
    )
    return left * width, top * height, (left + wide) * width, (top + tall) * height
