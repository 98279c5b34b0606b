"""YOLO folders as ultralytics reads them: data.yaml with names and splits, images/ and, beside it, labels/.

A line of a label file is a class and its box (center x, center y, width, height), or a class and a polygon (x, y and so
on); all numbers are relative to the image. An image without a label file, or with an empty one, has no object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet, Faults, clip_box
from openvocab.evaluate.data.safe_read import (
    MAX_SMALL_FILE_BYTES,
    image_size,
    read_lines,
    read_text,
    read_yaml,
    regular_files,
    short_repr,
)
from openvocab.evaluate.data.segmentations import encode_segmentation
from openvocab.images.files import looks_like_image, open_regular
from openvocab.prompts.files import is_file
from openvocab.prompts.labels import check_labels

__all__ = ["SPLITS", "load_yolo"]

SPLITS = ("val", "test", "train")
"""Splits of data.yaml; the first that it names is the default."""

_NULL = ("", "~", "null")
"""Spellings of null in YAML."""

Line = tuple[int, list[float], str]
"""Class, the numbers after it, and where the line is."""


def load_yolo(path: str, split: str | None = None) -> AnnotatedSet:
    """Return one split, with labels in the order of the class numbers and images sorted by name or as listed.

    Missing and unreadable images, and boxes that are empty or outside their image, are left out. If any line has a
    polygon, objects with a box get it as their mask. There is one warning per kind of fault.

    Args:
        path: data.yaml, or the folder that contains it.
        split: train, val or test; the first of val, test and train in data.yaml if None.

    Raises:
        BadInput: data.yaml or a label file cannot be read, a class has no name, the split does not exist, or no
            image of it exists; the message names the file and, if known, the line.
    """
    file = path if is_file(path) else os.path.join(path, "data.yaml")
    description = _described(file)
    names = _names(file, description.get("names"))
    labels, place = check_labels(list(names.values())), {key: row for row, key in enumerate(names)}
    faults, found = Faults(), list[tuple[str, tuple[int, int], list[Line]]]()
    listed = _listed(file, description, split)
    for image in listed:
        size = _size(image, faults)
        if size is not None:
            found.append((image, size, _lines(_label_file(image), place)))
    if not found:
        raise BadInput(f"no image of {file!r} can be read; check its paths")
    wanted = [_label_file(image) for image, _, _ in found]
    there = sum(map(os.path.lexists, wanted))
    label_source = f"{len(wanted)} label files, of which {there} exist, such as {short_repr(wanted[0])}"
    has_masks = any(len(numbers) > 4 for _, _, lines in found for _, numbers, _ in lines)
    images = tuple(_annotated(*each, place, faults, has_masks) for each in found)
    faults.warn()
    return AnnotatedSet(path, labels, images, faults.counts, label_source)


# --- data.yaml


def _described(file: str) -> dict[str, Any]:
    description = read_yaml(file)
    if not isinstance(description, dict):
        raise BadInput(f"{file!r} has no names and splits; write names, and train, val or test")
    return {key: value for key, value in description.items() if value not in _NULL}


def _names(file: str, names: object) -> dict[int, str]:
    """Return class -> name, from a list or a mapping.

    Raises:
        BadInput: there is none, a key is not a class number, or a name is not a string.
    """
    plain = {str(row): name for row, name in enumerate(names)} if isinstance(names, list) else names
    if not isinstance(plain, dict) or not plain or not all(_is_class(key) for key in plain):
        raise BadInput(f"{file!r} has no names; write a list of names, or one name for each class number")
    invalid = next((name for name in plain.values() if not isinstance(name, str)), None)
    if invalid is not None:
        raise BadInput(f"{file!r} has {short_repr(invalid)} among its names; write strings")
    return dict(sorted((int(key), name) for key, name in plain.items()))


def _is_class(key: object) -> bool:
    return isinstance(key, str) and key.isdecimal() and len(key) < 10


def _listed(file: str, description: Mapping[str, Any], split: str | None) -> list[str]:
    """Return the paths of the images of a split.

    Raises:
        BadInput: data.yaml has no such split, or its path does not exist.
    """
    known = [name for name in SPLITS if description.get(name)]
    wanted = split or (known[0] if known else SPLITS[0])
    if wanted not in known:
        raise BadInput(f"{file!r} names no {wanted} split; it has {', '.join(known) or 'none'}")
    given = description[wanted]
    parts, path = given if isinstance(given, list) else [given], description.get("path", "")
    invalid = next((part for part in (*parts, path) if not isinstance(part, str)), None)
    if invalid is not None:
        raise BadInput(
            f"{file!r} has {short_repr(invalid)} for a path or its {wanted} split; write the path of the images"
        )
    roots = _roots(file, path)
    return [image for part in parts for image in _images(file, wanted, part, roots)]


def _roots(file: str, path: str) -> list[str]:
    """Return where a split may be: in path, relative to data.yaml or to the working folder, or beside data.yaml."""
    here = os.path.dirname(file)
    return [os.path.join(here, path), path, here] if path else [here]


def _images(file: str, split: str, part: str, roots: Sequence[str]) -> Iterator[str]:
    """Yield the images of a folder, at any depth, or of a list in a .txt file."""
    inner = [part, part[3:]] if part.startswith("../") else [part]  # as ultralytics does for exports of Roboflow
    tried = [os.path.normpath(os.path.join(root, each)) for root in roots for each in inner]
    place = next((each for each in tried if os.path.exists(each)), None)
    if place is None:
        raise BadInput(
            f"{file!r} has its {split} split in {short_repr(part)}, but {short_repr(tried[0])} does not exist; check it"
        )
    if place.endswith(".txt"):
        for line in read_lines(place):
            yield os.path.normpath(os.path.join(os.path.dirname(place), line)) if line.startswith("./") else line
        return
    yield from filter(looks_like_image, regular_files(place))


# --- images and their labels


def _size(image: str, faults: Faults) -> tuple[int, int] | None:
    """Return height and width of an upright image from its header; None if it is missing or cannot be read."""
    if not os.path.isfile(image):
        faults.add("images that are listed and missing, left out", short_repr(image))
        return None
    try:
        with open_regular(image) as file, Image.open(file) as opened:
            width, height = opened.size
            rotated = opened.getexif().get(0x0112) in (5, 6, 7, 8)
        return image_size(*((width, height) if rotated else (height, width)), repr(image))
    except Exception:  # a plugin can raise anything; decoding the image reports the cause
        faults.add("images that cannot be read, left out", repr(image))
        return None


def _label_file(image: str) -> str:
    """Return the path of an image's labels: the last folder named images becomes labels.

    The path is absolute, so relative and absolute paths give the same data set.
    """
    whole = os.path.abspath(image)
    before, sign, after = whole.rpartition(f"{os.sep}images{os.sep}")
    moved = f"{before}{os.sep}labels{os.sep}{after}" if sign else whole
    return str(Path(moved).with_suffix(".txt"))


def _lines(file: str, place: Mapping[int, int]) -> list[Line]:
    """Return the lines of a label file; none if there is no such file.

    Raises:
        BadInput: it exists and cannot be read, a line is not a class with a box or a polygon, or its class has no name.
    """
    if not os.path.lexists(file):
        return []
    made = []
    for count, text in enumerate(read_text(file, MAX_SMALL_FILE_BYTES).splitlines(), 1):
        where, words = f"{file!r}, line {count}", text.split()
        if not words:
            continue
        try:
            kind, *numbers = (float(word) for word in words)
        except ValueError as error:
            raise BadInput(f"{where}, has a word that is not a number; write a class and its box or polygon") from error
        if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
            raise BadInput(f"{where}, has {len(numbers)} numbers after its class; write four, or a polygon's points")
        if kind not in place:
            raise BadInput(f"{where}, has class {kind:g}, which has no name; add it to names in data.yaml")
        made.append((int(kind), numbers, where))
    return made


def _annotated(
    image: str, size: tuple[int, int], lines: Sequence[Line], place: Mapping[int, int], faults: Faults, has_masks: bool
) -> AnnotatedImage:
    height, width = size
    boxes, index, masks = [], list[int](), []
    for kind, numbers, where in lines:
        scaled = np.array(numbers, np.float64).reshape(-1, 2) * (width, height)
        low, high = (scaled.min(axis=0), scaled.max(axis=0)) if len(scaled) > 2 else _edges(scaled)
        box = clip_box((*low, *high), height, width, where, faults)
        if box is not None:
            boxes.append(box)
            index.append(place[kind])
            outline = [scaled.ravel().tolist()] if len(scaled) > 2 else None
            masks += [encode_segmentation(outline, box, height, width, where, faults)] if has_masks else []
    xyxy = np.array(boxes, np.float64).reshape(-1, 4)
    crowd = np.zeros(len(boxes), bool)
    shapes = tuple(masks) if has_masks else None
    return AnnotatedImage(image, height, width, xyxy, np.array(index, np.int64), crowd, masks=shapes)


def _edges(centered: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Return left, top and right, bottom of a box given as center and sides."""
    return centered[0] - centered[1] / 2, centered[0] + centered[1] / 2
