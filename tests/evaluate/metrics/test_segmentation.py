"""Masks from true boxes: metrics counted by hand, crowds left out, and semantic IoU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.detection import GroundTruth, Predictions
from openvocab.evaluate.metrics.segmentation import BACKGROUND, mask_metrics, semantic_iou

LABELS = ("a", "b")


def rows(*spans: tuple[int, int]) -> Any:
    """Masks of 10 x 10 that fill those rows."""
    made = np.zeros((len(spans), 10, 10), bool)
    for mask, (top, bottom) in zip(made, spans, strict=True):
        mask[top:bottom] = True
    return made


def truth(masks: Any, labels: list[int], crowd: list[bool] | None = None) -> GroundTruth:
    boxes = np.tile([0.0, 0, 10, 10], (len(labels), 1))
    return GroundTruth(10, 10, boxes, np.array(labels, int), None if crowd is None else np.array(crowd), masks)


def predictions(masks: Any, labels: list[int]) -> Predictions:
    boxes = np.tile(np.array([0, 0, 10, 10], np.float32), (len(labels), 1))
    return Predictions(boxes, np.linspace(0.9, 0.5, len(labels), dtype=np.float32), np.array(labels, int), masks)


def codes(masks: Any) -> Any:
    return tuple(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks)


@pytest.mark.parametrize("coded", [False, True], ids=["arrays", "codes"])
def test_metrics_counted_by_hand(coded):
    there, masks = rows((0, 4), (4, 8), (0, 10)), rows((0, 2), (4, 8), (0, 1))
    if coded:
        there, masks = codes(there), codes(masks)
    metrics = mask_metrics(
        [truth(there, [0, 1, 1], [False, False, True])], [predictions(masks, [0, 1, 1])], LABELS, resamples=9
    )
    assert (metrics.objects, metrics.mean_iou.value, metrics.share.value) == (2, 0.75, 1.0)
    assert metrics.per_label == {"a": 0.5, "b": 1.0}


def test_metrics_without_an_object_are_undefined():
    metrics = mask_metrics([truth(rows(), [])], [predictions(rows(), [])], LABELS, resamples=2)
    assert metrics.objects == 0 and np.isnan(metrics.mean_iou.value)
    assert metrics.per_label == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("there", "masks"),
    [
        pytest.param(truth(None, [0]), predictions(rows((0, 1)), [0]), id="no truth"),
        pytest.param(truth(rows((0, 1)), [0]), predictions(None, [0]), id="no answer"),
        pytest.param(truth(rows((0, 1)), [0]), predictions(rows(), []), id="not one for each"),
    ],
)
def test_masks_must_be_there(there, masks):
    with pytest.raises(BadInput, match="does not have one true and one predicted mask for each object"):
        mask_metrics([there], [masks], LABELS)


def test_semantic_iou_paints_small_objects_and_high_scores_on_top():
    there = truth(rows((2, 4), (0, 6)), [1, 0])  # b lies on a, though it comes first
    said = predictions(rows((2, 4), (0, 6)), [1, 0])  # b scores more
    metrics = semantic_iou([there], [said], LABELS)
    assert metrics.mean == 1 and metrics.per_label == {"a": 1.0, "b": 1.0, BACKGROUND: 1.0}
    worse = predictions(rows((0, 6), (2, 4)), [0, 1])  # a scores more and hides b
    assert semantic_iou([there], [worse], LABELS).per_label == {"a": pytest.approx(4 / 6), "b": 0.0, BACKGROUND: 1.0}


def test_semantic_iou_leaves_crowds_out():
    there = truth(rows((0, 4), (6, 10)), [0, 1], [False, True])
    metrics = semantic_iou([there], [predictions(rows((0, 4), (8, 10)), [0, 0])], LABELS)
    assert metrics.per_label == {"a": 1.0, "b": None, BACKGROUND: 1.0}


def test_semantic_iou_needs_masks():
    with pytest.raises(BadInput, match="there are no masks to compare"):
        semantic_iou([truth(None, [0])], [predictions(rows((0, 1)), [0])], LABELS)
