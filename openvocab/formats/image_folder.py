"""Hugging Face ImageFolder: metadata.jsonl with one line per image, and objects and tags as lists of equal length.

`datasets` loads only images in the folder: link or copy them, or move the file to the images and name them with
relative_to.
"""

from __future__ import annotations

from typing import Any

from openvocab.batch.rows import Row
from openvocab.formats.detections import counts_of, detections_of, tags_of
from openvocab.formats.job import Job
from openvocab.formats.targets import ImageFiles, atomic_folder, dumps, open_text

__all__ = ["write_image_folder"]


def write_image_folder(job: Job) -> None:
    """Write metadata.jsonl with boxes as left, top, width, height and masks in COCO run-length encoding.

    Inputs without an answer, and images that could not be linked or copied, are listed only in images.jsonl.
    """
    refer = job.options.images == "refer"
    with (
        atomic_folder(job.path) as folder,
        ImageFiles(job, folder, "images/") as images,
        open_text(folder / "metadata.jsonl") as metadata,
    ):
        for row in job:
            _, file = images.add(row)
            if row.status == "ok" and (file or refer):
                metadata.write(dumps({"file_name": file or job.image(row)} | _plain(job, row)) + "\n")


def _plain(job: Job, row: Row) -> dict[str, Any]:
    found, tags = list(detections_of(row, job)), tags_of(row)
    objects = {
        "bbox": [detection.xywh for detection in found],
        "category": [detection.label for detection in found],
        "category_id": [detection.class_id for detection in found],
        "score": [detection.score for detection in found],
        "counts": [counts_of(detection) for detection in found],
    }
    named = {name: [tag[name] for tag in tags] for name in ("label", "score")}
    return {"width": row.width, "height": row.height, "objects": objects, "tags": named}
