"""COCO instances and LVIS: a JSON file with images, annotations and categories, and a folder of images.

LVIS lists for each image which labels were annotated, because no image is annotated with all of them (Gupta, Dollar and
Girshick, 2019). Labels with an object in the image or in neg_category_ids become checked_labels. A label in
not_exhaustive_category_ids gets a crowd over the whole image, so that unmatched boxes of it are ignored, as in LVIS'
own metrics.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from openvocab.errors import BadInput, counted
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet, Faults, clip_box
from openvocab.evaluate.data.safe_read import (
    MAX_COORDINATE,
    check_number,
    image_size,
    path_inside,
    read_json,
    short_repr,
)
from openvocab.evaluate.data.segmentations import box_rle, encode_segmentation
from openvocab.prompts.labels import check_labels

__all__ = ["load_coco", "load_lvis"]


def load_coco(path: str, images: str | None = None) -> AnnotatedSet:
    """Return the data set, with labels in the order of the categories and images in the order of the file.

    Missing images, and boxes that are empty or outside their image, are left out. If any object has a segmentation,
    objects without a valid one get their box as mask. There is one warning per kind of fault.

    Args:
        path: The JSON file.
        images: The folder that file_name is relative to; the JSON file's folder if None.

    Raises:
        BadInput: the JSON cannot be read, a part is missing or has another type, a number is out of range, a row
            names an unknown image or category, a file_name leads out of the folder, or no image exists.
    """
    return _loaded(path, _parts(path), images)


def _loaded(path: str, parts: Sequence[list[dict[str, Any]]], images: str | None) -> AnnotatedSet:
    listed, annotations, categories = parts
    names = {_key(path, "category", row, "id"): str(_key(path, "category", row, "name")) for row in categories}
    labels, index_of = check_labels(list(names.values())), {key: row for row, key in enumerate(names)}
    folder = os.path.dirname(path) if images is None else images
    faults, own = Faults(), _by_image(path, listed, annotations, index_of)
    file, made, has_masks = folder, [], any(row.get("segmentation") for row in annotations)
    for row in listed:
        file = _image_file(path, folder, row)
        if os.path.isfile(file):
            one = _annotated(path, file, row, own.get(row["id"], []), index_of, faults, has_masks)
            made.append(_federated(path, one, row, index_of) if "neg_category_ids" in row else one)
        else:
            faults.add(
                "images that are listed and missing, left out", f"{_where(path, 'image', row)} ({short_repr(file)})"
            )
    if not made:
        raise BadInput(
            f"no image of {path!r} is in {folder!r} "
            f"({short_repr(file)} is missing); give the folder that their names start in as images=FOLDER"
        )
    faults.warn()
    return AnnotatedSet(
        path, labels, tuple(made), faults.counts, f"the {counted(len(annotations), 'annotation')} of {path!r}"
    )


def load_lvis(path: str, images: str | None = None) -> AnnotatedSet:
    """Return the data set; see load_coco.

    Args:
        path: The JSON file.
        images: The folder that has the images by name, or as train2017/NAME and so on.

    Raises:
        BadInput: see load_coco; or an image does not list which labels were annotated.
    """
    parts = _parts(path)
    for row in parts[0]:
        for name in _FEDERATED:
            if not isinstance(row.get(name), list):
                raise BadInput(f"{_where(path, 'image', row)}, has no list of {name}; give it as coco instead")
    return _loaded(path, parts, images)


_FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


def _image_file(path: str, folder: str, row: Mapping[str, Any]) -> str:
    """Return the path of an image: from file_name, or else from the last parts of coco_url, which LVIS has instead.

    Raises:
        BadInput: there is neither, or it leads out of the folder.
    """
    where, url = _where(path, "image", row), row.get("coco_url")
    if row.get("file_name") is None and isinstance(url, str):
        long = path_inside(folder, "/".join(url.split("/")[-2:]), f"{where},")
        return long if os.path.isfile(long) else os.path.join(folder, os.path.basename(long))
    return path_inside(folder, str(_key(path, "image", row, "file_name")), f"{where},")


def _federated(path: str, one: AnnotatedImage, row: Mapping[str, Any], index_of: Mapping[Any, int]) -> AnnotatedImage:
    """Return an image with its checked labels, and a crowd for each label that was not annotated exhaustively.

    Raises:
        BadInput: a category has no name.
    """
    absent, partly = (_known(path, row, name, index_of) for name in _FEDERATED)
    count, whole = len(partly), [0.0, 0.0, float(one.width), float(one.height)]
    masks = one.masks
    if masks is not None:
        masks += tuple(box_rle(whole, one.height, one.width) for _ in partly)
    return replace(
        one,
        xyxy=np.concatenate([one.xyxy, np.tile(whole, (count, 1))]),
        class_ids=np.concatenate([one.class_ids, np.array(partly, np.int64)]),
        crowd=np.concatenate([one.crowd, np.ones(count, bool)]),
        areas=None if one.areas is None else np.concatenate([one.areas, np.full(count, whole[2] * whole[3])]),
        masks=masks,
        checked_labels=np.unique(np.concatenate([one.class_ids, np.array(absent + partly, np.int64)])),
    )


def _known(path: str, row: Mapping[str, Any], name: str, index_of: Mapping[Any, int]) -> list[int]:
    """Return the label indices of the categories in a list of an image.

    Raises:
        BadInput: it is not a list, or a category has no name.
    """
    where, listed = _where(path, "image", row), row.get(name) or []
    if not isinstance(listed, list):
        raise BadInput(f"{where}, has {short_repr(listed)} for {name}; write a list of categories")
    for key in listed:
        if not isinstance(key, int | float | str) or key not in index_of:
            raise BadInput(f"{where}, names category {short_repr(key)}, which has no name; add it to categories")
    return [index_of[key] for key in dict.fromkeys(listed)]


def _parts(path: str) -> list[list[dict[str, Any]]]:
    """Return images, annotations and categories.

    Raises:
        BadInput: the file is not a JSON object with these lists.
    """
    whole = read_json(path)
    parts = [whole.get(name) if isinstance(whole, dict) else None for name in ("images", "annotations", "categories")]
    if not all(isinstance(part, list) and all(isinstance(row, dict) for row in part) for part in parts):
        raise BadInput(f"{path!r} lacks a list of images, annotations or categories; give COCO's instances")
    if not parts[0]:
        raise BadInput(f"{path!r} lists no image; give a file with images")
    return [part or [] for part in parts]


def _field(path: str, kind: str, row: Mapping[str, Any], name: str) -> Any:
    """Return a value of a row, or raise BadInput if it is missing."""
    if row.get(name) is None:
        raise BadInput(f"{_where(path, kind, row)}, has no {name}; add it")
    return row[name]


def _key(path: str, kind: str, row: Mapping[str, Any], name: str) -> int | float | str:
    """Return an id or a name of a row.

    Raises:
        BadInput: it is missing, or neither a number nor a string.
    """
    value = _field(path, kind, row, name)
    if not isinstance(value, int | float | str):
        raise BadInput(f"{_where(path, kind, row)}, has {short_repr(value)} for {name}; write a number or a string")
    return value


def _where(path: str, kind: str, row: Mapping[str, Any]) -> str:
    return f"{path!r}, {kind} {short_repr(row['id']) if 'id' in row else '?'}"


def _by_image(
    path: str, images: Sequence[Mapping[str, Any]], annotations: Sequence[dict[str, Any]], index_of: Mapping[Any, int]
) -> dict[Any, list[dict[str, Any]]]:
    """Return the annotations of each image.

    Raises:
        BadInput: one names an unknown image or category, or has no box of four numbers.
    """
    own: dict[Any, list[dict[str, Any]]] = {_key(path, "image", row, "id"): [] for row in images}
    for row in annotations:
        image, category = (_key(path, "annotation", row, name) for name in ("image_id", "category_id"))
        where = _where(path, "annotation", row)
        if image not in own:
            raise BadInput(
                f"{where}, is of image {short_repr(image)}, which is not listed; remove it or list the image"
            )
        if category not in index_of:
            raise BadInput(f"{where}, has category {short_repr(category)}, which has no name; add it to categories")
        box = row.get("bbox")
        if not (isinstance(box, list) and len(box) == 4):
            raise BadInput(f"{where}, has no bbox of four numbers; write left, top, width and height")
        for edge in box:
            check_number(edge, where, "an edge of its bbox", -MAX_COORDINATE, MAX_COORDINATE)
        own[image].append(row)
    return own


def _annotated(
    path: str,
    file: str,
    image: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    index_of: Mapping[Any, int],
    faults: Faults,
    has_masks: bool,
) -> AnnotatedImage:
    tall, wide = (_field(path, "image", image, side) for side in ("height", "width"))
    height, width = image_size(tall, wide, _where(path, "image", image))
    kept, boxes, areas, crowd, masks = [], [], list[float](), list[bool](), []
    for row in rows:
        left, top, wide, tall = row["bbox"]
        where = _where(path, "annotation", row)
        box = clip_box((left, top, left + wide, top + tall), height, width, where, faults)
        if box is not None:
            kept.append(row)
            boxes.append(box)
            area, many = row.get("area"), row.get("iscrowd")
            whole = (box[2] - box[0]) * (box[3] - box[1]) if area is None else area
            areas.append(check_number(whole, where, "area", 0, MAX_COORDINATE**2))
            crowd.append(check_number(int(many) if isinstance(many, bool) else many or 0, where, "iscrowd", 0, 1) > 0)
            masks += (
                [encode_segmentation(row.get("segmentation"), box, height, width, where, faults)] if has_masks else []
            )
    return AnnotatedImage(
        file,
        height,
        width,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array([index_of[row["category_id"]] for row in kept], np.int64),
        np.array(crowd, bool),
        np.array(areas, np.float64),
        tuple(masks) if has_masks else None,
    )
