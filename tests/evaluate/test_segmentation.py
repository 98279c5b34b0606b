"""Masks from true boxes: figures counted by hand, crowds left out, and labels as areas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from openvocab.errors import BadInput
from openvocab.evaluate.detection import Found, Truth
from openvocab.evaluate.segmentation import GROUND, cut_figures, semantic_iou

LABELS = ("a", "b")


def rows(*spans: tuple[int, int]) -> Any:
    """Masks of 10 x 10 that fill those rows."""
    made = np.zeros((len(spans), 10, 10), bool)
    for mask, (top, bottom) in zip(made, spans, strict=True):
        mask[top:bottom] = True
    return made


def truth(masks: Any, labels: list[int], crowd: list[bool] | None = None) -> Truth:
    boxes = np.tile([0.0, 0, 10, 10], (len(labels), 1))
    return Truth(10, 10, boxes, np.array(labels, int), None if crowd is None else np.array(crowd), masks)


def found(masks: Any, labels: list[int]) -> Found:
    boxes = np.tile(np.array([0, 0, 10, 10], np.float32), (len(labels), 1))
    return Found(boxes, np.linspace(0.9, 0.5, len(labels), dtype=np.float32), np.array(labels, int), masks)


def codes(masks: Any) -> Any:
    return tuple(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks)


@pytest.mark.parametrize("coded", [False, True], ids=["arrays", "codes"])
def test_figures_counted_by_hand(coded):
    there, cut = rows((0, 4), (4, 8), (0, 10)), rows((0, 2), (4, 8), (0, 1))
    if coded:
        there, cut = codes(there), codes(cut)
    figures = cut_figures([truth(there, [0, 1, 1], [False, False, True])], [found(cut, [0, 1, 1])], LABELS, draws=9)
    assert (figures.things, figures.mean_iou.value, figures.share.value) == (2, 0.75, 1.0)
    assert figures.per_label == {"a": 0.5, "b": 1.0}


def test_no_thing_is_not_defined():
    figures = cut_figures([truth(rows(), [])], [found(rows(), [])], LABELS, draws=2)
    assert figures.things == 0 and np.isnan(figures.mean_iou.value)
    assert figures.per_label == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("there", "cut"),
    [
        pytest.param(truth(None, [0]), found(rows((0, 1)), [0]), id="no truth"),
        pytest.param(truth(rows((0, 1)), [0]), found(None, [0]), id="no answer"),
        pytest.param(truth(rows((0, 1)), [0]), found(rows(), []), id="not one for each"),
    ],
)
def test_masks_must_be_there(there, cut):
    with pytest.raises(BadInput, match="has not one true mask and one to compare for each thing"):
        cut_figures([there], [cut], LABELS)


def test_semantic_iou_paints_small_things_and_sure_answers_on_top():
    there = truth(rows((2, 4), (0, 6)), [1, 0])  # b lies on a, though it comes first
    said = found(rows((2, 4), (0, 6)), [1, 0])  # b scores more
    figures = semantic_iou([there], [said], LABELS)
    assert figures.mean == 1 and figures.per_label == {"a": 1.0, "b": 1.0, GROUND: 1.0}
    worse = found(rows((0, 6), (2, 4)), [0, 1])  # a scores more and hides b
    assert semantic_iou([there], [worse], LABELS).per_label == {"a": pytest.approx(4 / 6), "b": 0.0, GROUND: 1.0}


def test_semantic_iou_leaves_crowds_out():
    there = truth(rows((0, 4), (6, 10)), [0, 1], [False, True])
    figures = semantic_iou([there], [found(rows((0, 4), (8, 10)), [0, 0])], LABELS)
    assert figures.per_label == {"a": 1.0, "b": None, GROUND: 1.0}


def test_semantic_iou_needs_masks():
    with pytest.raises(BadInput, match="there are no masks to compare"):
        semantic_iou([truth(None, [0])], [found(rows((0, 1)), [0])], LABELS)
