"""supervision.Detections of a row."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Return the regions of a row as supervision.Detections.

    Args:
        labels: the vocabulary, that of the row where not given; class_id is a label's place in it, so that the rows of
            one run agree. The label itself is data["class_name"].

    Raises:
        BadInput: a region's label is not among them.
    """
    quiet_supervision()
    import supervision

    one = row if isinstance(row, Row) else row_of(row)
    regions = one.regions
    if regions is None or not len(regions):
        return supervision.Detections.empty()
    index = LabelIndex(one.classes if labels is None else labels)
    return supervision.Detections(
        xyxy=regions.xyxy.copy(),
        mask=regions.masks(one.height or 0, one.width or 0),
        confidence=regions.scores.copy(),
        class_id=np.array([index.place(label, one) for label in regions.labels], int),
        data={"class_name": np.array(regions.labels, dtype=str)},
    )
