"""COCO JSON: instances, results, and the folder that FiftyOne loads.

Masks are run-length encoded with iscrowd 0, so that an evaluation counts them. Image ids number the rows and category
ids number the labels, both from 1. Files are written item by item, with constant memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import openvocab
from openvocab.batch.rows import Row, text_of
from openvocab.errors import BadInput
from openvocab.formats.detections import detections_of, tags_of
from openvocab.formats.job import Job
from openvocab.formats.targets import (
    ImageFiles,
    JsonList,
    atomic_file,
    atomic_folder,
    dumps,
    open_text,
    spool,
)
from openvocab.pipeline.detections import Detection

__all__ = ["write_fiftyone", "write_instances", "write_results"]


def write_instances(job: Job) -> None:
    """Write one instances file: images, annotations with scores, and categories.

    The tags of an image are its entry `tags`. Inputs without an answer, which have no size, are listed in `errors`.
    """
    with atomic_file(job.path) as file:
        _instances(job, file, job.path, job.image)


def write_fiftyone(job: Job) -> None:
    """Write the folder of FiftyOne's COCODetectionDataset: labels.json, and data/ with linked or copied images."""
    with atomic_folder(job.path) as folder, ImageFiles(job, folder, "data/") as images:

        def name(row: Row) -> str:
            _, file = images.add(row)
            return file.removeprefix("data/") if file else _absolute(job, row)

        with open_text(folder / "labels.json") as labels:
            _instances(job, labels, job.path, name)


def write_results(job: Job) -> None:
    """Write a results file for pycocotools' loadRes: a list of detections with scores.

    The option match gives the file whose ids are used.

    Raises:
        BadInput: match cannot be read, or lacks an image or a label.
    """
    ids = _Ids.of(job)
    with atomic_file(job.path) as file:
        results = JsonList(file)
        for number, row in enumerate(job, 1):
            for detection in detections_of(row, job):
                plain = {"image_id": ids.image(number, row), "category_id": ids.category(detection)}
                results.add(plain | _common(detection, row))
        results.close()


def _absolute(job: Job, row: Row) -> str:
    """Return the absolute path of an image, unless there is a prefix."""
    name = job.image(row)
    return name if job.options.prefix or "::" in name or not Path(name).is_file() else str(Path(name).absolute())


def _common(detection: Detection, row: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {"bbox": detection.xywh, "score": detection.score}
    code = detection.rle
    return plain if code is None else plain | {"segmentation": code}


def _instances(job: Job, file: IO[str], beside: Path, name: Callable[[Row], str]) -> None:
    """Write the file; annotations and errors are buffered in temporary files until all images are written."""
    with spool(beside) as buffered, spool(beside) as failed:
        head = {"description": "openvocab", "version": openvocab.__version__}
        categories = [{"id": number, "name": label} for number, label in enumerate(job.labels.names, 1)]
        file.write(f'{{"info": {dumps(head)},\n"licenses": [],\n"categories": {dumps(categories)},\n"images": ')
        images, annotations, errors = JsonList(file), JsonList(buffered), JsonList(failed)
        number = 0
        for image, row in enumerate(job, 1):
            named = {"id": image, "file_name": name(row)}
            if row.status == "error":
                errors.add(named | {"error_kind": row.error_kind, "error": row.error})
                continue
            images.add(named | {"width": row.width, "height": row.height, "tags": tags_of(row)})
            for detection in detections_of(row, job):
                number += 1
                annotations.add({"id": number, "image_id": image} | _annotation(detection, row))
        images.close()
        for each, title, from_file in ((annotations, "annotations", buffered), (errors, "errors", failed)):
            each.close()
            from_file.seek(0)
            file.write(f',\n"{title}": ')
            shutil.copyfileobj(from_file, file, 2**14)
        file.write("}\n")


def _annotation(detection: Detection, row: Row) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    code = detection.rle
    _, _, width, height = detection.xywh
    area = width * height if code is None else float(coco_mask.area({**code, "counts": code["counts"].encode()}))
    plain = {"category_id": detection.class_id + 1, "area": area, "iscrowd": 0, "segmentation": []}
    more = {"detector_score": detection.detector_score, "mask_score": detection.mask_score}
    return plain | _common(detection, row) | {name: value for name, value in more.items() if value is not None}


class _Ids:
    """The ids of images and categories in a results file."""

    def __init__(self, job: Job, images: Mapping[str, int] | None, categories: Mapping[str, int] | None) -> None:
        self._job, self._images, self._categories = job, images, categories
        self._rows = dict[int, str]()

    @classmethod
    def of(cls, job: Job) -> _Ids:
        """Read the ids of the match file, if there is one."""
        path = job.options.match
        if path is None:
            return cls(job, None, None)
        try:
            given = json.loads(Path(path).read_text("utf-8"))
            images = {image["file_name"]: image["id"] for image in given["images"]}
            return cls(job, images, {each["name"]: each["id"] for each in given["categories"]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"match: {path} is not a COCO file with images and categories ({error!r})") from error

    def image(self, number: int, row: Row) -> int:
        """Return the id of a row's image, found by its name or by the last part of its name.

        Raises:
            BadInput: match has no such image, or one that is already another row's.
        """
        if self._images is None:
            return number
        names = [self._job.image(row), text_of(row.id).replace("\\", "/").rpartition("/")[2]]
        found = [self._images[name] for name in names if name in self._images]
        if not found:
            raise BadInput(f"match: {self._job.options.match} has no image {names[0]!r}; try relative_to")
        first = self._rows.setdefault(found[0], row.id)
        if first != row.id:
            raise BadInput(
                f"match: {self._job.options.match} has one image for {text_of(first)!r} and {text_of(row.id)!r}; "
                "try relative_to"
            )
        return found[0]

    def category(self, detection: Detection) -> int:
        """Return the id of a detection's label."""
        if self._categories is None:
            return detection.class_id + 1
        if detection.label not in self._categories:
            raise BadInput(f"match: {self._job.options.match} has no category {detection.label!r}")
        return self._categories[detection.label]
