"""Conversion to supervision.Detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from openvocab.batch.rows import Row, row_of
from openvocab.formats.job import LabelIndex
from openvocab.pipeline.quiet import quiet_supervision
from openvocab.pipeline.result import Result

if TYPE_CHECKING:
    import supervision

__all__ = ["to_supervision"]


def to_supervision(row: Row | Result, labels: Sequence[str] | None = None) -> supervision.Detections:
    """Return the detections of a row as supervision.Detections.

    Args:
        row: The row or result.
        labels: The vocabulary, by default that of the row. class_id is a label's index in it, so the rows of one run
            agree; the label is data["class_name"].

    Raises:
        BadInput: A detection's label is not in the vocabulary.
    """
    quiet_supervision()
    import supervision

    one = row if isinstance(row, Row) else row_of(row)
    detections = one.detections
    if detections is None or not len(detections):
        return supervision.Detections.empty()
    index = LabelIndex(one.classes if labels is None else labels)
    class_ids = np.array([index.class_id(label, one) for label in detections.labels], np.int64)
    return replace(detections, class_ids=class_ids).to_supervision()
