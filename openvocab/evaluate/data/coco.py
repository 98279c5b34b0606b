"""COCO instances: one JSON file with images, annotations and categories, and the pictures in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import Annotated, AnnotatedSet, Faults, within
from openvocab.prompts.files import read_text
from openvocab.prompts.labels import check_labels

__all__ = ["load_coco"]


def load_coco(path: str, pictures: str | None = None) -> AnnotatedSet:
    """Return the set; labels are in the order of the categories, pictures in that of the images.

    A picture that is listed but missing, and a box that is outside its picture or empty, is left out; each kind is
    counted in a warning that names the first.

    Args:
        path: the JSON file.
        pictures: the folder that file_name is taken from; the JSON file's own where not given.

    Raises:
        BadInput: the JSON cannot be read, a part is missing, an annotation names an image or a category that is not
            there, or no picture exists.
    """
    images, annotations, categories = _parts(path)
    names = {_field(path, "category", row, "id"): str(_field(path, "category", row, "name")) for row in categories}
    labels, place = check_labels(list(names.values())), {key: row for row, key in enumerate(names)}
    folder = os.path.dirname(path) if pictures is None else pictures
    faults, own = Faults(), _by_image(path, images, annotations, place)
    made = []
    for row in images:
        file = os.path.join(folder, str(_field(path, "image", row, "file_name")))
        if os.path.isfile(file):
            made.append(_annotated(path, file, row, own.get(row["id"], []), place, faults))
        else:
            faults.add("pictures that are listed and missing, left out", f"{path!r}, image {row['id']} ({file})")
    if not made:
        raise BadInput(f"none of the {len(images)} pictures of {path!r} lies in {folder!r}; give their folder")
    faults.tell()
    return AnnotatedSet(path, labels, tuple(made), faults.counts)


def _parts(path: str) -> list[list[dict[str, Any]]]:
    """Return images, annotations and categories.

    Raises:
        BadInput: the file is no JSON object with these lists.
    """
    try:
        whole = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path!r} is no JSON ({error}); save it again") from error
    parts = [whole.get(name) if isinstance(whole, dict) else None for name in ("images", "annotations", "categories")]
    if not all(isinstance(part, list) and all(isinstance(row, dict) for row in part) for part in parts):
        raise BadInput(f"{path!r} lacks a list of images, annotations or categories; give COCO's instances")
    if not parts[0]:
        raise BadInput(f"{path!r} lists no image; give a set that holds some")
    return [part or [] for part in parts]


def _field(path: str, kind: str, row: Mapping[str, Any], name: str) -> Any:
    """Return what a row says, or raise BadInput where it does not."""
    if row.get(name) is None:
        raise BadInput(f"{path!r}, {kind} {row.get('id', '?')}, has no {name}; add it")
    return row[name]


def _by_image(
    path: str, images: Sequence[Mapping[str, Any]], annotations: Sequence[dict[str, Any]], place: Mapping[Any, int]
) -> dict[Any, list[dict[str, Any]]]:
    """Return the annotations of each image.

    Raises:
        BadInput: one names an image or a category that is not there, or has no box of four numbers.
    """
    own: dict[Any, list[dict[str, Any]]] = {_field(path, "image", row, "id"): [] for row in images}
    for row in annotations:
        image, category = (_field(path, "annotation", row, name) for name in ("image_id", "category_id"))
        where = f"{path!r}, annotation {row.get('id', '?')}"
        if image not in own:
            raise BadInput(f"{where}, is of image {image}, which is not listed; drop it or list the image")
        if category not in place:
            raise BadInput(f"{where}, has category {category}, which has no name; add it to categories")
        box = row.get("bbox")
        if not (isinstance(box, list) and len(box) == 4 and all(isinstance(edge, int | float) for edge in box)):
            raise BadInput(f"{where}, has no bbox of four numbers; write left, top, width and height")
        own[image].append(row)
    return own


def _annotated(
    path: str,
    file: str,
    image: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    place: Mapping[Any, int],
    faults: Faults,
) -> Annotated:
    height, width = (int(_field(path, "image", image, side)) for side in ("height", "width"))
    kept, boxes = [], []
    for row in rows:
        left, top, wide, tall = row["bbox"]
        where = f"{path!r}, annotation {row.get('id', '?')}"
        box = within((left, top, left + wide, top + tall), height, width, where, faults)
        if box is not None:
            kept.append(row)
            boxes.append(box)
    areas = [row.get("area", (box[2] - box[0]) * (box[3] - box[1])) for row, box in zip(kept, boxes, strict=True)]
    return Annotated(
        file,
        height,
        width,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array([place[row["category_id"]] for row in kept], np.int64),
        np.array([bool(row.get("iscrowd", 0)) for row in kept], bool),
        np.array(areas, np.float64),
    )
