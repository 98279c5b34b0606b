"""CSV with one line per tag or detection, and JSON Lines with one line per image."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from openvocab.batch.rows import Row, text_of
from openvocab.formats.detections import counts_of, detections_of, tags_of
from openvocab.formats.job import Job
from openvocab.formats.targets import atomic_file, dumps
from openvocab.pipeline.detections import Detection, shortest
from openvocab.pipeline.display import escaped
from openvocab.pipeline.verdict import VERIFICATION

__all__ = ["COLUMNS", "write_csv", "write_json_lines"]

COLUMNS = (
    *("id", "status", "error_kind", "error", "width", "height", "kind", "label", "score"),
    *("detector_score", "mask_score", "left", "top", "right", "bottom", "counts"),
    *("verdict", "verdict_label", "verdict_probability"),
)
"""The columns of a CSV file; kind is tag or detection, or empty for an image with neither."""


def write_csv(job: Job) -> None:
    """Write one line per tag or detection, or per image with neither; cells are escaped unless raw is set."""
    with atomic_file(job.path) as file:
        lines = csv.writer(file)
        lines.writerow(COLUMNS)
        for row in job:
            for cells in _lines(row, job):
                texts = cells if job.options.raw else {name: _safe(value) for name, value in cells.items()}
                lines.writerow([texts.get(name) for name in COLUMNS])


def _safe(value: Any) -> Any:
    return escaped(value) if isinstance(value, str) else value


def _lines(row: Row, job: Job) -> Iterator[dict[str, Any]]:
    image: dict[str, Any] = {
        "id": job.image(row),
        "status": row.status,
        "error_kind": row.error_kind,
        "error": row.error,
    }
    image |= {"width": row.width, "height": row.height}
    empty = True
    for tag in tags_of(row):
        empty = False
        yield {**image, "kind": "tag", **tag}
    for detection in detections_of(row, job):
        empty = False
        box = dict(zip(("left", "top", "right", "bottom"), detection.xyxy, strict=True))
        scores = {name: getattr(detection, name) for name in ("label", "score", "detector_score", "mask_score")}
        verdict = dict(zip(COLUMNS[-3:], (_verdict(detection) or {}).values(), strict=False))
        yield {**image, "kind": "detection", **scores, **box, "counts": counts_of(detection), **verdict}
    if empty:
        yield image


def write_json_lines(job: Job) -> None:
    """Write one line per image with the complete row; boxes, scores and features are exact."""
    with atomic_file(job.path) as file:
        for row in job:
            file.write(dumps(_plain(row, job)) + "\n")


def _plain(row: Row, job: Job) -> dict[str, Any]:
    plain: dict[str, Any] = {"id": text_of(row.id), "image": job.image(row)}
    plain |= {name: getattr(row, name) for name in ("status", "sha256", "width", "height", "frames")}
    plain |= {"error_kind": row.error_kind, "error": row.error, "drawing": row.drawing, "tags": tags_of(row)}
    plain |= {"corrected": row.corrected, "reviewed": row.reviewed, "notes": list(row.notes), "presence": row.presence}
    found = None if row.detections is None else detections_of(row, job)
    for name, each in (("detections", found), ("rejected", row.rejected)):
        plain[name] = None if each is None else list(map(_plain_detection, each))
    if row.features is not None:
        plain["features"] = [shortest(value) for value in row.features]
    return plain


def _plain_detection(one: Detection) -> dict[str, Any]:
    plain = {name: getattr(one, name) for name in ("label", "score", "detector_score", "mask_score", "xyxy")}
    return plain | {"mask": one.rle, "verdict": _verdict(one)}


def _verdict(one: Detection) -> dict[str, Any] | None:
    return asdict(one.data[VERIFICATION]) if VERIFICATION in one.data else None
