"""Presence: hand-worked values, agreement with scikit-learn, and what must not change a metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from openvocab.errors import BadInput, BadOutput
from openvocab.evaluate.metrics.presence import PresencePairs, presence_metrics

LABELS = ("a", "b", "c")


def random_pairs(seed: int, images: int = 40) -> PresencePairs:
    rng = np.random.default_rng(seed)
    present = rng.random((images, 3)) < 0.3
    noise = rng.integers(0, 8, (images, 3)) / 8
    probabilities = np.clip(0.6 * present + 0.5 * noise, 0, 1)
    image_ids, label_ids = np.indices(present.shape)
    return PresencePairs(probabilities.ravel(), present.ravel(), image_ids.ravel(), label_ids.ravel())


def made(*rows: tuple[float, bool, int, int]) -> PresencePairs:
    probabilities, present, image_ids, label_ids = (np.array(column) for column in zip(*rows, strict=True))
    return PresencePairs(probabilities, present.astype(bool), image_ids, label_ids)


def test_metrics_worked_by_hand() -> None:
    pairs = made((0.9, True, 0, 0), (0.8, False, 0, 1), (0.1, False, 1, 0), (0.2, True, 1, 1), (0.6, True, 2, 0))
    metrics = presence_metrics(pairs, LABELS, resamples=10)
    assert metrics.mcc is not None and metrics.mcc.value == pytest.approx((2 * 1 - 1 * 1) / 6)
    assert (metrics.precision.value, metrics.recall.value) == pytest.approx((2 / 3, 2 / 3))
    assert metrics.false_positive_rate.value == 0.5
    assert metrics.ece.value == pytest.approx((0.1 + 0.8 + 0.1 + 0.8 + 0.4) / 5)
    assert metrics.brier.value == pytest.approx((0.01 + 0.64 + 0.01 + 0.64 + 0.16) / 5)
    assert metrics.auc == pytest.approx(4 / 6)
    assert [row.auc for row in metrics.rows] == [1, 0, None]
    assert [(row.positives, row.negatives) for row in metrics.rows] == [(2, 1), (1, 1), (0, 0)]
    # surest first: 0.9 and 0.1 are right, then 0.8 and 0.2 are wrong, then 0.6 is right
    assert metrics.risk_coverage.area == pytest.approx((0 + 0 + 1 / 3 + 2 / 4 + 2 / 5) / 5)
    assert metrics.risk_coverage.risk[[0, 40, -1]] == pytest.approx([0, 0, 2 / 5])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
def test_values_are_those_of_scikit_learn(seed: int, threshold: float) -> None:
    metric: Any = pytest.importorskip("sklearn.metrics")
    pairs = random_pairs(seed)
    metrics = presence_metrics(pairs, LABELS, threshold=threshold, resamples=2)
    assert metrics.mcc is not None
    answer = pairs.probabilities >= threshold
    assert metrics.mcc.value == pytest.approx(metric.matthews_corrcoef(pairs.present, answer))
    assert metrics.auc == pytest.approx(metric.roc_auc_score(pairs.present, pairs.probabilities))
    assert metrics.brier.value == pytest.approx(metric.brier_score_loss(pairs.present, pairs.probabilities))
    assert metrics.ece.value == pytest.approx(metrics.reliability.error)
    scores = [metric.matthews_corrcoef(pairs.present, pairs.probabilities >= each) for each in pairs.probabilities]
    assert metrics.best_mcc == pytest.approx(max(scores))
    assert metrics.risk_coverage.risk[-1] == pytest.approx((answer != pairs.present).mean())


def test_neither_the_order_of_pairs_nor_that_of_labels_matters() -> None:
    pairs = random_pairs(0)
    turn = np.random.default_rng(1).permutation(len(pairs.present))
    other = PresencePairs(
        pairs.probabilities[turn], pairs.present[turn], pairs.image_ids[turn], 2 - pairs.label_ids[turn]
    )
    first, second = (presence_metrics(each, LABELS, resamples=5) for each in (pairs, other))
    assert first.mcc == second.mcc and first.auc == second.auc
    assert first.risk_coverage.area == pytest.approx(second.risk_coverage.area)
    assert [row.auc for row in first.rows] == [row.auc for row in second.rows[::-1]]


def test_a_perfect_probability_is_perfect() -> None:
    pairs = random_pairs(0)
    sure = PresencePairs(pairs.present.astype(float), pairs.present, pairs.image_ids, pairs.label_ids)
    metrics = presence_metrics(sure, LABELS, resamples=5)
    assert metrics.mcc is not None and metrics.mcc.value == metrics.auc == 1
    assert metrics.ece.value == metrics.risk_coverage.area == 0


def test_without_an_absent_label_there_is_no_mcc() -> None:
    metrics = presence_metrics(made((0.9, True, 0, 0), (0.2, True, 1, 0)), ("a",), resamples=2)
    assert [metrics.mcc, metrics.auc, metrics.mean_auc, metrics.best_mcc] == [None] * 4


@pytest.mark.parametrize(
    ("row", "error", "told"),
    [
        pytest.param((1.2, True, 0, 0), BadInput, "in 0 to 1", id="a logit"),
        pytest.param((np.nan, True, 0, 0), BadOutput, "not finite", id="not a number"),
        pytest.param((0.2, True, 0, 5), BadInput, "label_ids", id="an unknown label"),
    ],
)
def test_odd_pairs_are_refused(row: Any, error: Any, told: str) -> None:
    with pytest.raises(error, match=told):
        presence_metrics(made(row), LABELS)
