"""COCO instances and LVIS: one JSON file with images, annotations and categories, and the pictures in a folder.

LVIS says of each picture which labels somebody looked for, since nobody looked for all (Gupta, Dollar and Girshick,
2019). Those with a thing in it or in neg_category_ids are kept as looked_for. A label in not_exhaustive_category_ids
gets a crowd over the whole picture, so that a box too many of it is neither right nor wrong, as in LVIS' own figures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import Annotated, AnnotatedSet, Faults, within
from openvocab.evaluate.data.outlines import filled_box, rle_of
from openvocab.prompts.files import read_text
from openvocab.prompts.labels import check_labels

__all__ = ["load_coco", "load_lvis"]


def load_coco(path: str, pictures: str | None = None) -> AnnotatedSet:
    """Return the set; labels are in the order of the categories, pictures in that of the images.

    A picture that is listed but missing, and a box that is outside its picture or empty, is left out; where some thing
    has an outline, those without one that can be used are given their box. Each kind is counted in a warning that names
    the first.

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
    made, outlined = [], any(row.get("segmentation") for row in annotations)
    for row in images:
        file = _picture_file(path, folder, row)
        if os.path.isfile(file):
            one = _annotated(path, file, row, own.get(row["id"], []), place, faults, outlined)
            made.append(_federated(path, one, row, place) if "neg_category_ids" in row else one)
        else:
            faults.add("pictures that are listed and missing, left out", f"{path!r}, image {row['id']} ({file})")
    if not made:
        raise BadInput(f"none of the {len(images)} pictures of {path!r} lies in {folder!r}; give their folder")
    faults.tell()
    return AnnotatedSet(path, labels, tuple(made), faults.counts)


def load_lvis(path: str, pictures: str | None = None) -> AnnotatedSet:
    """Return the set; see load_coco.

    Args:
        path: the JSON file.
        pictures: the folder that holds the pictures by name, or as train2017/NAME and so on.

    Raises:
        BadInput: see load_coco; or an image does not say which labels were looked for.
    """
    for row in _parts(path)[0]:
        for name in _FEDERATED:
            if not isinstance(row.get(name), list):
                raise BadInput(f"{path!r}, image {row.get('id', '?')}, has no list of {name}; give it as coco instead")
    return load_coco(path, pictures)


_FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


def _picture_file(path: str, folder: str, row: Mapping[str, Any]) -> str:
    """Return where a picture lies: file_name, or else the last parts of coco_url, which is all that LVIS has."""
    if row.get("file_name") is None and isinstance(row.get("coco_url"), str):
        long = os.path.join(folder, *row["coco_url"].split("/")[-2:])
        return long if os.path.isfile(long) else os.path.join(folder, os.path.basename(long))
    return os.path.join(folder, str(_field(path, "image", row, "file_name")))


def _federated(path: str, one: Annotated, row: Mapping[str, Any], place: Mapping[Any, int]) -> Annotated:
    """Return a picture with the labels that were looked for, and a crowd for each that was not seen to its end.

    Raises:
        BadInput: a category has no name.
    """
    absent, partly = ([_known(path, row, key, place) for key in row.get(name) or []] for name in _FEDERATED)
    count, whole = len(partly), [0.0, 0.0, float(one.width), float(one.height)]
    masks = one.masks
    if masks is not None:
        masks += tuple(filled_box(whole, one.height, one.width) for _ in partly)
    return replace(
        one,
        xyxy=np.concatenate([one.xyxy, np.tile(whole, (count, 1))]),
        label_index=np.concatenate([one.label_index, np.array(partly, np.int64)]),
        crowd=np.concatenate([one.crowd, np.ones(count, bool)]),
        areas=None if one.areas is None else np.concatenate([one.areas, np.full(count, whole[2] * whole[3])]),
        masks=masks,
        looked_for=np.unique(np.concatenate([one.label_index, np.array(absent + partly, np.int64)])),
    )


def _known(path: str, row: Mapping[str, Any], key: object, place: Mapping[Any, int]) -> int:
    if key not in place:
        raise BadInput(f"{path!r}, image {row['id']}, names category {key}, which has no name; add it to categories")
    return place[key]


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
    outlined: bool,
) -> Annotated:
    height, width = (int(_field(path, "image", image, side)) for side in ("height", "width"))
    kept, boxes, masks = [], [], []
    for row in rows:
        left, top, wide, tall = row["bbox"]
        where = f"{path!r}, annotation {row.get('id', '?')}"
        box = within((left, top, left + wide, top + tall), height, width, where, faults)
        if box is not None:
            kept.append(row)
            boxes.append(box)
            masks += [rle_of(row.get("segmentation"), box, height, width, where, faults)] if outlined else []
    areas = [row.get("area", (box[2] - box[0]) * (box[3] - box[1])) for row, box in zip(kept, boxes, strict=True)]
    return Annotated(
        file,
        height,
        width,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array([place[row["category_id"]] for row in kept], np.int64),
        np.array([bool(row.get("iscrowd", 0)) for row in kept], bool),
        np.array(areas, np.float64),
        tuple(masks) if outlined else None,
    )
