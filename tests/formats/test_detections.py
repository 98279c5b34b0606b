"""Rows as supervision.Detections."""

from __future__ import annotations

import numpy as np
import pytest
import supervision

import openvocab
from openvocab.errors import BadInput


def test_detections_hold_what_the_row_holds(scene):
    row = scene.rows[0]
    found = openvocab.to_supervision(row, scene.labels)
    np.testing.assert_array_equal(found.xyxy, row.detections.xyxy)
    np.testing.assert_array_equal(found.mask, scene.masks)
    np.testing.assert_array_equal(found.confidence, row.detections.scores)
    assert (
        [scene.labels[place] for place in np.array(found.class_id)]
        == np.array(found["class_name"]).tolist()
        == list(row.detections.labels)
    )
    assert len(found.with_nms(0.5)) <= 4


@pytest.mark.parametrize("place", [2, 3, 4], ids=["nothing found", "an error", "tags alone"])
def test_rows_without_detections_are_empty(scene, place):
    assert openvocab.to_supervision(scene.rows[place], scene.labels) == supervision.Detections.empty()


def test_boxes_alone_have_no_mask(scene):
    assert openvocab.to_supervision(scene.rows[1], scene.labels).mask is None


def test_a_foreign_label_is_refused(scene):
    with pytest.raises(BadInput, match="has the label '犬', which is not among the 1 given"):
        openvocab.to_supervision(scene.rows[0], ["cat"])
