"""YOLO text files: one line per detection with its class and relative coordinates, and data.yaml.

Scores, tags and the holes of masks are lost. An image without detections has an empty file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from openvocab.batch.rows import Row
from openvocab.formats.detections import clipped, detections_of, mask_of, outline
from openvocab.formats.job import Job
from openvocab.formats.targets import ImageFiles, atomic_folder, open_text
from openvocab.pipeline.detections import Detection

__all__ = ["write_boxes", "write_polygons"]

Numbers = Callable[[Detection, Row], Iterable[float]]


def write_boxes(job: Job) -> None:
    """Write the layout for detection: class, center x, center y, width, height."""
    _write(job, _centered)


def write_polygons(job: Job) -> None:
    """Write the layout for segmentation: class and one polygon, or the corners of the box if there is no mask."""
    _write(job, _polygon)


def _write(job: Job, numbers: Numbers) -> None:
    with atomic_folder(job.path) as folder:
        (folder / "labels").mkdir()
        (folder / "images").mkdir()
        _describe(job, folder / "data.yaml")
        with ImageFiles(job, folder, "images/") as images:
            for row in job:
                name, _ = images.add(row)
                if row.status == "ok":
                    with open_text(folder / "labels" / f"{name}.txt") as file:
                        file.writelines(
                            _line(detection, numbers(detection, row)) for detection in detections_of(row, job)
                        )


def _describe(job: Job, path: Path) -> None:
    import yaml

    names = dict(enumerate(job.labels.names))
    plain = {"train": "images", "val": "images", "nc": len(names), "names": names}
    plainly = all(name.isprintable() for name in job.labels.names)  # a Unicode line separator would end a line
    with open_text(path) as file:
        yaml.safe_dump(plain, file, allow_unicode=plainly, sort_keys=False)


def _line(detection: Detection, numbers: Iterable[float]) -> str:
    return " ".join([str(detection.class_id), *(f"{number:.9f}" for number in numbers)]) + "\n"


def _centered(detection: Detection, row: Row) -> Iterable[float]:
    left, top, right, bottom = clipped(detection, row)
    width, height = row.width or 1, row.height or 1
    return ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)


def _polygon(detection: Detection, row: Row) -> Iterable[float]:
    mask, width, height = mask_of(detection), row.width or 1, row.height or 1
    if mask is None:
        left, top, right, bottom = clipped(detection, row)
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    else:
        points = [(float(x), float(y)) for x, y in outline(mask).tolist()]
    return [number for x, y in points for number in (x / width, y / height)]
