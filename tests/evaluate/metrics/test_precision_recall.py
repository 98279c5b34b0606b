"""Precision against recall: the mean of the curves is pycocotools' AP50, and the interval is by image."""

from __future__ import annotations

import numpy as np
import pytest

from openvocab.evaluate import GroundTruth, Predictions, average_precision
from openvocab.evaluate.metrics.precision_recall import precision_recall
from tests.evaluate.metrics.test_detection import LABELS, synthetic


@pytest.mark.parametrize("seed", range(12))
def test_the_mean_is_ap50(seed):
    truth, predictions = synthetic(seed)
    curves, expected = precision_recall(truth, predictions, LABELS), average_precision(truth, predictions, LABELS)
    assert curves.mean.value == pytest.approx(expected.ap50, abs=1e-9)
    assert curves.mean.low <= curves.mean.value <= curves.mean.high
    assert np.isnan(curves.precision[-1]).all() and not curves.objects[-1]


@pytest.mark.parametrize("min_iou", [0.75, 0.95])
def test_another_iou_is_that_of_pycocotools(min_iou):
    truth, predictions = synthetic(5)
    expected = average_precision(truth, predictions, LABELS).ap75
    got = precision_recall(truth, predictions, LABELS, min_iou=min_iou).mean.value
    assert got == pytest.approx(expected, abs=1e-9) if min_iou == 0.75 else got <= (expected or 0)


def test_a_hundred_boxes_of_an_image_and_label_count():
    """As in COCO: the one correct box is the 101st and does not count."""
    truth = [GroundTruth(100, 100, np.array([[50, 50, 90, 90]]), np.array([0]))]
    boxes = np.concatenate([np.tile([0, 0, 9, 9], (100, 1)), [[50, 50, 90, 90]]]).astype(np.float32)
    predictions = [Predictions(boxes, np.linspace(1, 0, 101, dtype=np.float32), np.zeros(101, np.int64))]
    assert (
        precision_recall(truth, predictions, ["a"]).mean.value == average_precision(truth, predictions, ["a"]).ap50 == 0
    )


def test_a_resample_is_the_same_data_with_images_repeated():
    """One image with AP50 1 and one with 0: resamples give 1, the value of both together, or 0."""
    box, zero = np.array([[10, 10, 30, 30]], np.float32), np.array([0])
    truth = [GroundTruth(50, 50, box, zero)] * 2
    predictions = [
        Predictions(box, np.array([0.9], np.float32), zero),
        Predictions(box + 20, np.array([0.8], np.float32), zero),
    ]
    curves = precision_recall(truth, predictions, ["a"], seed=1)
    assert [curves.mean.low, curves.mean.high] == pytest.approx([0, 1])
    assert curves.mean == precision_recall(truth, predictions, ["a"], seed=1).mean


def test_curves_without_objects_or_predictions():
    nothing = Predictions(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    empty = [GroundTruth(9, 9, np.zeros((0, 4)), np.zeros(0, np.int64))]
    assert np.isnan(precision_recall(empty, [nothing], ["a"]).mean.value)
    there = [GroundTruth(9, 9, np.array([[1, 1, 5, 5]]), np.array([0]))]
    assert precision_recall(there, [nothing], ["a"]).mean.value == 0
