"""Exporters: rows of a run, or single results, in the formats of other tools.

Each exporter writes a Job. A format is imported on first use. docs/formats.md lists what each format keeps and loses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from openvocab.errors import BadInput, unknown
from openvocab.formats.options import ExportOptions

if TYPE_CHECKING:
    from openvocab.batch.rows import Row
    from openvocab.formats.job import Exported, Job
    from openvocab.pipeline.result import Result

__all__ = ["FORMATS", "ExportOptions", "Exporter", "export"]

Exporter: TypeAlias = "Callable[[Job], None]"


def _coco() -> Exporter:
    from openvocab.formats.coco import write_instances

    return write_instances


def _coco_results() -> Exporter:
    from openvocab.formats.coco import write_results

    return write_results


def _csv() -> Exporter:
    from openvocab.formats.tables import write_csv

    return write_csv


def _cvat() -> Exporter:
    from openvocab.formats.cvat import write_cvat

    return write_cvat


def _fiftyone() -> Exporter:
    from openvocab.formats.coco import write_fiftyone

    return write_fiftyone


def _image_folder() -> Exporter:
    from openvocab.formats.image_folder import write_image_folder

    return write_image_folder


def _instance_masks() -> Exporter:
    from openvocab.formats.mask_images import write_instance_masks

    return write_instance_masks


def _json_lines() -> Exporter:
    from openvocab.formats.tables import write_json_lines

    return write_json_lines


def _label_studio() -> Exporter:
    from openvocab.formats.label_studio import write_label_studio

    return write_label_studio


def _labelme() -> Exporter:
    from openvocab.formats.labelme import write_labelme

    return write_labelme


def _semantic_masks() -> Exporter:
    from openvocab.formats.mask_images import write_semantic_masks

    return write_semantic_masks


def _voc() -> Exporter:
    from openvocab.formats.voc import write_voc

    return write_voc


def _yolo() -> Exporter:
    from openvocab.formats.yolo import write_boxes

    return write_boxes


def _yolo_seg() -> Exporter:
    from openvocab.formats.yolo import write_polygons

    return write_polygons


FORMATS: Mapping[str, Callable[[], Exporter]] = {
    "coco": _coco,
    "coco-results": _coco_results,
    "csv": _csv,
    "cvat": _cvat,
    "fiftyone": _fiftyone,
    "imagefolder": _image_folder,
    "instance-masks": _instance_masks,
    "jsonl": _json_lines,
    "label-studio": _label_studio,
    "labelme": _labelme,
    "semantic-masks": _semantic_masks,
    "voc": _voc,
    "yolo": _yolo,
    "yolo-seg": _yolo_seg,
}
"""The function that returns the exporter of each format, by name."""


def export(
    rows: Result | Row | Iterable[Result | Row],
    path: str | os.PathLike[str],
    format: str,  # noqa: A002
    labels: Sequence[str] | None = None,
    **options: Any,
) -> Exported:
    """Write results in the format of another tool, atomically: the output is complete or absent.

    Args:
        rows: A Result or a Row, several of them, or a run from read_run. Rows are read once, one at a time.
        path: The file or folder to write, depending on the format; see docs/formats.md.
        format: The name of the format, such as "coco".
        labels: The vocabulary, whose order numbers the categories. A run, a Result and a Row of a run have their own.
        options: The options of ExportOptions.

    Raises:
        UnknownName: There is no format of that name.
        BadInput: An option is unknown or not used by the format, labels are missing for several rows, a row has a label
            that is not among them, or path cannot be used.
        CannotWrite: The disk is full, or the path cannot be written.
    """
    from openvocab.batch.rows import Row
    from openvocab.formats.job import Job, LabelIndex
    from openvocab.pipeline.result import Result

    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    chosen = ExportOptions.of(options, format)
    known = getattr(rows, "labels", None) if labels is None else labels
    if isinstance(rows, Result | Row):
        known = rows.classes if labels is None else labels
        rows = [rows]
    if known is None:
        raise BadInput("labels are required for several rows; give the vocabulary in order")
    job = Job(_rows(rows), LabelIndex(known), Path(path), chosen)
    FORMATS[format]()(job)
    return job.done()


def _row(one: Result | Row) -> Row:
    from openvocab.batch.rows import Row, row_of

    return one if isinstance(one, Row) else row_of(one)


def _rows(several: Iterable[Result | Row]) -> Iterator[Row]:
    return map(_row, several)
