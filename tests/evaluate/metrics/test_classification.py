"""Single-label metrics: by hand, against naive loops, and against CLIP_benchmark's functions."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from openvocab.errors import BadInput, BadOutput
from openvocab.evaluate.metrics.bootstrap import resample_counts
from openvocab.evaluate.metrics.classification import BINS, classification_metrics, rank_of_truth, reliability

LABELS = [f"label {number}" for number in range(7)]


def scene(images: int, labels: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits that lean towards the truth, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, images)
    logits = rng.normal(size=(images, labels)).astype(np.float32)
    logits[np.arange(images), truth] += 1
    return logits, truth


@pytest.mark.parametrize(
    ("logits", "truth", "rank"),
    [
        pytest.param([3, 2, 1], 0, 0, id="best"),
        pytest.param([3, 2, 1], 2, 2, id="worst"),
        pytest.param([1, 1, 1], 0, 0, id="all equal: the first label is first"),
        pytest.param([1, 1, 1], 2, 2, id="all equal: the last label is last"),
        pytest.param([0, 2, 2, 3], 2, 2, id="a tie in the middle"),
        pytest.param([-5], 0, 0, id="one label"),
    ],
)
def test_rank_breaks_ties_in_the_order_of_labels(logits, truth, rank):
    table = np.array([logits], np.float32)
    assert rank_of_truth(table, np.array([truth])).tolist() == [rank]
    assert np.argsort(-table[0], kind="stable").tolist().index(truth) == rank


def test_metrics_by_hand():
    logits = np.array([[2, 1, 0], [2, 1, 0], [0, 3, 3], [0, 0, 9.0]], np.float32)
    got = classification_metrics(logits, np.array([0, 1, 2, 2]), ["a", "b", "c"])
    assert (got.top1.value, got.top5, got.ties) == (0.5, None, 1)
    assert got.mean_per_class_recall.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert got.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert [astuple(row) for row in got.rows] == [
        ("a", 1, 1.0, 0.5, pytest.approx(2 / 3), None),
        ("b", 1, 0.0, 0.0, 0.0, "a"),
        ("c", 2, 0.5, 1.0, pytest.approx(2 / 3), "b"),
    ]
    assert (got.calibration_error, got.reliability) == (None, None)


def test_a_label_without_an_image_has_no_recall_and_does_not_count():
    got = classification_metrics(np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 1]), ["a", "b", "never"])
    assert got.mean_per_class_recall.value == 1
    assert (got.rows[2].images, got.rows[2].recall, got.rows[2].precision) == (0, None, None)


def test_calibration_error_is_that_of_a_naive_loop():
    rng = np.random.default_rng(3)
    confidence = np.concatenate([rng.random(300), [0, 1, 1 / BINS, 0.6]]).astype(np.float32)
    right = rng.random(len(confidence)) < confidence
    total = 0.0
    for low in range(BINS):
        inside = [
            row
            for row, sure in enumerate(confidence.astype(float))
            if low < sure * BINS <= low + 1 or (low == 0 and sure == 0)
        ]
        if inside:
            total += abs(confidence[inside].astype(float).mean() - right[inside].mean()) * len(inside)
    made = reliability(confidence, right)
    assert made.counts.sum() == len(confidence)
    assert made.error == pytest.approx(total / len(confidence), abs=1e-9)


def test_calibration_error_of_the_report_is_that_of_its_bins():
    logits, truth = scene(200, 7)
    confidence = np.exp(logits).max(axis=1) / np.exp(logits).sum(axis=1)
    got = classification_metrics(logits, truth, LABELS, confidence=confidence)
    assert got.calibration_error is not None and got.reliability is not None
    assert got.calibration_error.value == pytest.approx(got.reliability.error)
    assert got.calibration_error.low <= got.calibration_error.high


def test_intervals_depend_on_the_seed_alone_and_contain_the_value():
    logits, truth = scene(150, 7)
    one, same, other = (classification_metrics(logits, truth, LABELS, seed=seed) for seed in (1, 1, 2))
    assert (one.top1, one.mean_per_class_recall) == (same.top1, same.mean_per_class_recall)
    assert one.mean_per_class_recall != other.mean_per_class_recall
    assert one.top1.low < one.top1.value < one.top1.high
    spread = np.sqrt(one.top1.value * (1 - one.top1.value) / 150)  # of a share, by the normal approximation
    assert one.top1.high - one.top1.low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_resamples_do_not_depend_on_the_size_of_a_chunk(monkeypatch):
    straight = np.concatenate(list(resample_counts(20, 5, 30)))
    monkeypatch.setattr("openvocab.evaluate.metrics.bootstrap._MAX_COUNTS", 140)
    np.testing.assert_array_equal(np.concatenate(list(resample_counts(20, 5, 30))), straight)
    assert straight.shape == (30, 20) and (straight.sum(axis=1) == 20).all()


@pytest.mark.parametrize(("images", "labels"), [(1, 5), (40, 3), (200, 20), (333, 7)])
def test_parity_with_clip_benchmark(images, labels, monkeypatch):
    upstream = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    import torch

    # its accuracy calls float() on an array of shape (1,), which NumPy no longer takes
    monkeypatch.setattr(upstream, "float", lambda value: np.asarray(value).item(), raising=False)

    logits, truth = scene(images, labels, seed=images)
    got = classification_metrics(logits, truth, [str(number) for number in range(labels)], resamples=10)
    depth = (1, 5) if labels >= 5 else (1,)
    expected = upstream.accuracy(torch.from_numpy(logits), torch.from_numpy(truth), topk=depth)
    assert [each.value for each in (got.top1, got.top5) if each] == pytest.approx(expected, abs=1e-12)
    recall = upstream.balanced_accuracy_score(truth, logits.argmax(axis=1))
    assert got.mean_per_class_recall.value == pytest.approx(recall, abs=1e-12)


GOOD: dict[str, Any] = {"logits": np.zeros((2, 3), np.float32), "truth": np.array([0, 1]), "labels": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        pytest.param({"labels": []}, BadInput, "no labels", id="no label"),
        pytest.param({"labels": ["a", "b"]}, BadInput, r"shape \(images, 2\), got \(2, 3\)", id="labels do not match"),
        pytest.param({"logits": np.zeros((0, 3))}, BadInput, "at least one image", id="no image"),
        pytest.param({"logits": np.array([[0, 1, 2], [0, np.nan, 1]])}, BadOutput, "image 1", id="not finite"),
        pytest.param({"truth": np.array([0])}, BadInput, r"shape \(2,\)", id="truth of another length"),
        pytest.param({"truth": np.array([0, 3])}, BadInput, r"truth\[1\] is 3", id="index out of range"),
        pytest.param({"truth": np.array([0.0, 1])}, BadInput, "integers", id="truth is no index"),
        pytest.param({"confidence": np.array([0.5, 1.5])}, BadInput, "in 0 to 1", id="confidence is a logit"),
        pytest.param({"seed": -1}, BadInput, "seed", id="negative seed"),
        pytest.param({"resamples": 0}, BadInput, "resamples", id="no resample"),
    ],
)
def test_bad_input_is_named(change, error, says):
    with pytest.raises(error, match=says):
        classification_metrics(**{**GOOD, **change})
