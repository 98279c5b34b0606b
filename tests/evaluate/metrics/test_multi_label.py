"""Multi-label metrics: by hand, by brute force, and against CLIP_benchmark's function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.bootstrap import resample_counts
from openvocab.evaluate.metrics.multi_label import multi_label_metrics


def scene(images: int, labels: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.random((images, labels)) < 0.3
    truth[0] = True
    return (0.6 * rng.random(truth.shape) + 0.4 * truth * rng.random(truth.shape)).astype(np.float32), truth


def test_metrics_by_hand():
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.6, 0.2], [0.1, 0.7, 0.2]], np.float32)
    truth = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], bool)
    got = multi_label_metrics(scores, truth, ["a", "b", "never"])
    a, b, never = got.rows
    assert a.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert (a.precision, a.recall, a.f1) == (0.5, 0.5, 0.5)
    assert a.best_threshold == pytest.approx(0.1)
    assert a.best_f1 == pytest.approx(0.8)
    assert (b.average_precision, b.f1, b.best_f1) == (1, 1, 1)
    assert (never.images, never.average_precision, never.f1, never.best_threshold) == (0, None, None, None)
    assert got.mean_average_precision is not None
    assert got.mean_average_precision.value == pytest.approx((5 / 6 + 1) / 2)
    assert got.micro_f1.value == pytest.approx(2 * 3 / (4 + 4))
    assert got.macro_f1 == pytest.approx(0.75)


def test_one_label_is_measured_like_several():
    scores, truth = scene(60, 3)
    all_three = multi_label_metrics(scores, truth, ["a", "b", "c"], threshold=0.4, resamples=5)
    alone = multi_label_metrics(scores[:, 1:2], truth[:, 1:2], ["b"], threshold=0.4, resamples=5)
    assert alone.rows[0] == all_three.rows[1]


def test_best_threshold_is_the_best_of_all_and_the_highest_of_equals():
    scores, truth = scene(40, 4, seed=2)
    for column, row in enumerate(multi_label_metrics(scores, truth, list("abcd"), resamples=5).rows):
        own = truth[:, column]
        best = (-1.0, 0.0)
        for least in np.unique(scores[:, column]):
            given = scores[:, column] >= least
            best = max(best, (2 * (own & given).sum() / (own.sum() + given.sum()), float(least)))
        assert row.best_f1 == pytest.approx(best[0])
        assert row.best_threshold == pytest.approx(best[1])


@pytest.mark.parametrize("seed", range(4))
def test_mean_average_precision_is_clip_benchmarks(seed):
    upstream = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    import torch

    scores, truth = scene(120, 20, seed)
    got = multi_label_metrics(scores, truth, [str(number) for number in range(20)], resamples=5)
    expected = upstream.average_precision_per_class(torch.from_numpy(scores), torch.from_numpy(truth))
    own = np.array([row.average_precision for row in got.rows], float)
    np.testing.assert_allclose(own, expected.numpy(), atol=1e-6)
    assert got.mean_average_precision is not None
    assert got.mean_average_precision.value == pytest.approx(expected.mean().item(), abs=1e-6)


def test_the_interval_is_that_of_scikit_learn_over_the_same_resamples():
    """Resample by resample, with ties among the scores, and labels that a resample may miss."""
    from sklearn.metrics import average_precision_score

    scores, truth = scene(25, 4, seed=1)
    scores, truth[:, 3] = np.round(scores, 1), np.arange(25) == 3
    got = multi_label_metrics(scores, truth, list("abcd"), seed=7, resamples=40).mean_average_precision
    counts = np.concatenate(list(resample_counts(25, 7, 40)))
    drawn = [
        np.mean([average_precision_score(own, score, sample_weight=each) for own, score in columns])
        for each in counts
        if (columns := [(o, s) for o, s in zip(truth.T, scores.T, strict=True) if (each * o).any()])
    ]
    assert got is not None and (got.low, got.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1e-12)


def test_without_a_label_there_is_no_mean():
    assert multi_label_metrics(np.zeros((2, 1)), np.zeros((2, 1), bool), ["a"]).mean_average_precision is None


@pytest.mark.parametrize(
    ("scores", "truth", "says"),
    [
        pytest.param(np.full((2, 2), 3.0), np.zeros((2, 2), bool), "probabilities, not logits", id="logits"),
        pytest.param(np.zeros((2, 2)), np.zeros((2, 2), int), "truth must be bool", id="truth is not bool"),
        pytest.param(np.zeros((2, 2)), np.zeros((3, 2), bool), r"shape \(2, 2\)", id="truth of another shape"),
    ],
)
def test_bad_input_is_named(scores, truth, says):
    with pytest.raises(BadInput, match=says):
        multi_label_metrics(scores, truth, ["a", "b"])
