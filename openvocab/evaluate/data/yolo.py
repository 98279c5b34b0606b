"""YOLO folders as ultralytics reads them: data.yaml with names and splits, images/ and, beside it, labels/.

A line of a label file is a class and its box (centre x, centre y, width, height), or a class and a polygon (x, y and so
on); all numbers are relative to the picture. A picture without a label file, or with an empty one, shows nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import Annotated, AnnotatedSet, Faults, within
from openvocab.evaluate.data.outlines import rle_of
from openvocab.pipeline.batch.sources import looks_like_picture
from openvocab.prompts.files import is_file, read_lines, read_text
from openvocab.prompts.labels import check_labels

__all__ = ["SPLITS", "load_yolo"]

SPLITS = ("val", "test", "train")
"""Splits of data.yaml; the first that it names is taken where none is asked for."""

Line = tuple[int, list[float], str]
"""Class, the numbers behind it, and where the line stands."""


def load_yolo(path: str, split: str | None = None) -> AnnotatedSet:
    """Return one split; labels are in the order of the class numbers, pictures in that of their names or of the list.

    A picture that is listed but missing, or that cannot be read, and a box that is outside its picture or empty, is
    left out; where some line has a polygon, things with a box alone have it as their mask. Each kind is counted in a
    warning that names the first.

    Args:
        path: data.yaml, or the folder that holds it.
        split: train, val or test; where not given, the first of val, test and train that data.yaml names.

    Raises:
        BadInput: data.yaml or a label file cannot be read, a class has no name, the split is not there, or no picture
            of it exists; the message names the file and, where there is one, the line.
    """
    file = path if is_file(path) else os.path.join(path, "data.yaml")
    said = _described(file)
    names = _names(file, said.get("names"))
    labels, place = check_labels(list(names.values())), {key: row for row, key in enumerate(names)}
    faults, found = Faults(), list[tuple[str, tuple[int, int], list[Line]]]()
    listed = _listed(file, said, split)
    for picture in listed:
        size = _size(picture, faults)
        if size is not None:
            found.append((picture, size, _lines(_label_file(picture), place)))
    if not found:
        raise BadInput(f"none of the {len(listed)} pictures of {file!r} can be read; check its paths")
    outlined = any(len(numbers) > 4 for _, _, lines in found for _, numbers, _ in lines)
    pictures = tuple(_annotated(*each, place, faults, outlined) for each in found)
    faults.tell()
    return AnnotatedSet(path, labels, pictures, faults.counts)


# --- data.yaml


def _described(file: str) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        raise BadInput(f"{file!r} is no YAML ({' '.join(str(error).split())}); save it again") from error
    if not isinstance(said, dict):
        raise BadInput(f"{file!r} says nothing of names and splits; write names, and train, val or test")
    return said


def _names(file: str, names: object) -> dict[int, str]:
    """Return class -> name, from a list or a mapping."""
    plain = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(plain, dict) or not plain or not all(isinstance(key, int) for key in plain):
        raise BadInput(f"{file!r} has no names; write a list of names, or one behind each class number")
    return {key: str(name) for key, name in sorted(plain.items())}


def _listed(file: str, said: Mapping[str, Any], split: str | None) -> list[str]:
    """Return the paths of the pictures of a split.

    Raises:
        BadInput: the split is not named, or is not there.
    """
    known = [name for name in SPLITS if said.get(name)]
    wanted = split or (known[0] if known else SPLITS[0])
    if wanted not in known:
        raise BadInput(f"{file!r} names no {wanted} split; it has {', '.join(known) or 'none'}")
    given = said[wanted]
    parts = given if isinstance(given, list) else [given]
    roots = _roots(file, said.get("path"))
    return [picture for part in parts for picture in _pictures(file, wanted, str(part), roots)]


def _roots(file: str, path: object) -> list[str]:
    """Return where a split may lie: in path, from the folder of data.yaml or from here, or else beside data.yaml."""
    here = os.path.dirname(file)
    said = [os.path.join(here, str(path)), str(path)] if path else []
    return [*said, here]


def _pictures(file: str, split: str, part: str, roots: Sequence[str]) -> Iterator[str]:
    """Yield the pictures of a folder, at any depth, or of a list in a .txt file."""
    inner = [part, part[3:]] if part.startswith("../") else [part]  # as ultralytics does for exports of Roboflow
    tried = [os.path.normpath(os.path.join(root, each)) for root in roots for each in inner]
    place = next((each for each in tried if os.path.exists(each)), None)
    if place is None:
        raise BadInput(f"{file!r} has its {split} split in {part!r}, but {tried[0]!r} does not exist; check its path")
    if place.endswith(".txt"):
        for line in read_lines(place):
            yield os.path.normpath(os.path.join(os.path.dirname(place), line)) if line.startswith("./") else line
        return
    for folder, below, names in os.walk(place, followlinks=True):
        below.sort()
        yield from (full for name in sorted(names) if looks_like_picture(full := os.path.join(folder, name)))


# --- pictures and their labels


def _size(picture: str, faults: Faults) -> tuple[int, int] | None:
    """Return height and width of a picture, upright, from its header; None where it is missing or cannot be read."""
    if not os.path.isfile(picture):
        faults.add("pictures that are listed and missing, left out", repr(picture))
        return None
    try:
        with Image.open(picture) as opened:
            width, height = opened.size
            return (width, height) if opened.getexif().get(0x0112) in (5, 6, 7, 8) else (height, width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        faults.add("pictures that cannot be read, left out", repr(picture))
        return None


def _label_file(picture: str) -> str:
    """Return where the labels of a picture lie: the last folder called images is called labels."""
    before, sign, behind = picture.rpartition(f"{os.sep}images{os.sep}")
    moved = f"{before}{os.sep}labels{os.sep}{behind}" if sign else picture
    return str(Path(moved).with_suffix(".txt"))


def _lines(file: str, place: Mapping[int, int]) -> list[Line]:
    """Return the lines of a label file; none where there is no such file.

    Raises:
        BadInput: a line is no class with a box or a polygon, or its class has no name.
    """
    if not is_file(file):
        return []
    made = []
    for count, text in enumerate(read_text(file).splitlines(), 1):
        where, words = f"{file!r}, line {count}", text.split()
        if not words:
            continue
        try:
            kind, numbers = int(float(words[0])), [float(word) for word in words[1:]]
        except (ValueError, OverflowError) as error:
            raise BadInput(f"{where}, has a word that is no number; write a class and its box or polygon") from error
        if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
            raise BadInput(f"{where}, has {len(numbers)} numbers behind its class; write four, or a polygon's points")
        if kind not in place:
            raise BadInput(f"{where}, has class {kind}, which has no name; add it to names in data.yaml")
        made.append((kind, numbers, where))
    return made


def _annotated(
    picture: str, size: tuple[int, int], lines: Sequence[Line], place: Mapping[int, int], faults: Faults, outlined: bool
) -> Annotated:
    height, width = size
    boxes, index, masks = [], list[int](), []
    for kind, numbers, where in lines:
        scaled = np.array(numbers, np.float64).reshape(-1, 2) * (width, height)
        low, high = (scaled.min(axis=0), scaled.max(axis=0)) if len(scaled) > 2 else _edges(scaled)
        box = within((*low, *high), height, width, where, faults)
        if box is not None:
            boxes.append(box)
            index.append(place[kind])
            outline = [scaled.ravel().tolist()] if len(scaled) > 2 else None
            masks += [rle_of(outline, box, height, width, where, faults)] if outlined else []
    xyxy = np.array(boxes, np.float64).reshape(-1, 4)
    crowd = np.zeros(len(boxes), bool)
    shapes = tuple(masks) if outlined else None
    return Annotated(picture, height, width, xyxy, np.array(index, np.int64), crowd, masks=shapes)


def _edges(centred: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Return left, top and right, bottom of a box given as centre and sides."""
    return centred[0] - centred[1] / 2, centred[0] + centred[1] / 2
