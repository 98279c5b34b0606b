"""Plots are written for few and for many labels, the same every time, whatever the labels are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from openvocab.evaluate.metrics.classification import reliability
from openvocab.evaluate.metrics.precision_recall import precision_recall
from openvocab.evaluate.reports.plots import most_confused, plot_confusion, plot_precision_recall, plot_reliability
from tests.evaluate.metrics.test_detection import LABELS, synthetic


@pytest.mark.parametrize(("count", "wide"), [(1, 400), (3, 400), (20, 900), (60, 1500), (61, 1700), (200, 1700)])
def test_confusion(count, wide, tmp_path):
    rng = np.random.default_rng(count)
    confusion = rng.poisson(1, (count, count)).astype(np.int64)
    labels = [f"a label $ of a name that is long, number {row}" for row in range(count)]
    for name in ("one.png", "two.png"):
        plot_confusion(tmp_path / name, confusion, labels)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as plot:
        assert wide < plot.width < 2200 and plot.height < 2200


def test_a_matrix_of_many_labels_without_a_mistake(tmp_path):
    plot_confusion(tmp_path / "plot.png", np.eye(80, dtype=np.int64), [str(row) for row in range(80)])
    assert (tmp_path / "plot.png").stat().st_size


def test_most_confused():
    confusion = np.array([[9, 2, 0], [5, 1, 2], [0, 0, 7]])
    assert most_confused(confusion) == [(1, 0, 5), (0, 1, 2), (1, 2, 2)]
    assert most_confused(confusion, 1) == [(1, 0, 5)]
    assert most_confused(np.eye(3, dtype=np.int64)) == []


def test_other_plots(tmp_path):
    confidence = np.linspace(0, 1, 50)
    bins = reliability(confidence, confidence > 0.5)
    plot_reliability(tmp_path / "a.png", bins, bins.error)
    truth, predictions = synthetic(1)
    plot_precision_recall(tmp_path / "b.png", precision_recall(truth, predictions, LABELS), LABELS)
    assert all(Image.open(tmp_path / name).size > (400, 400) for name in ("a.png", "b.png"))
