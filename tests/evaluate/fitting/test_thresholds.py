"""Fitted thresholds: the best ones, found exactly, and the default where they bring nothing."""

from __future__ import annotations

import numpy as np
import pytest

from openvocab.evaluate.fitting.pairs import Pairs, f1_of, reported, tag_pairs
from openvocab.evaluate.fitting.thresholds import best_threshold, fit_stage
from openvocab.pipeline.calibration import logit

RIGHT, WRONG = 1.5, -1.5
"""Mean log-odds of the scores of present and absent labels."""


def drawn(rng: np.random.Generator, images: int, offsets: list[float], noise: float = 1.0) -> Pairs:
    """Scores of every label in every image, moved by an offset of the label; a label is in three of ten images."""
    truth = rng.random((images, len(offsets))) < 0.3
    odds = np.where(truth, RIGHT, WRONG) + rng.normal(0, noise, truth.shape) + np.array(offsets)
    names = tuple(f"label {number}" for number in range(len(offsets)))
    return tag_pairs(names, (1 / (1 + np.exp(-odds))).astype(np.float32), truth)


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_of_the_best_f1_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 12, 40).astype(np.float64)  # with ties, which no threshold parts
    hit = rng.random(40) < values / 12
    wanted = int(hit.sum()) + 3
    found = best_threshold(values, hit, wanted)

    def f1(threshold: float) -> float:
        kept = values >= threshold
        return float(2 * (hit & kept).sum() / (kept.sum() + wanted))

    assert f1(found) == max(map(f1, np.arange(-0.5, 13)))
    assert not (values == found).any()  # between two values


def test_no_answer_has_some_threshold() -> None:
    assert best_threshold(np.zeros(0), np.zeros(0, np.bool_), 3) == 0.0


@pytest.mark.parametrize(
    ("offsets", "default", "rule"),
    [
        pytest.param([0.0] * 6, 0.5, "default", id="a good default stays"),
        pytest.param([0.0] * 6, 0.9, "shared threshold", id="a bad default is replaced"),
        pytest.param([-3.0, 3.0] * 3, 0.5, "threshold a label", id="labels that differ"),
    ],
)
def test_a_rule_is_taken_where_it_pays(offsets: list[float], default: float, rule: str) -> None:
    made = fit_stage(drawn(np.random.default_rng(1), 300, offsets), default)
    new = drawn(np.random.default_rng(2), 2000, offsets)
    before, after = (
        f1_of(new, kept) for kept in (new.score >= default, reported(new, made.fit, made.fit.shared.threshold))
    )
    assert made.rule == rule and (made.images, made.labels) == (300, 6)
    assert after == before if rule == "default" else after > before + 0.05
    assert after == pytest.approx(made.f1, abs=0.03) and before == pytest.approx(made.f1_default, abs=0.03)


def test_the_calibrated_scores_are_probabilities() -> None:
    made = fit_stage(drawn(np.random.default_rng(3), 400, [-2.0, 0.0, 2.0]), 0.5)
    new = drawn(np.random.default_rng(4), 4000, [-2.0, 0.0, 2.0])
    scores = made.fit.scores(new.score, new.labels, new.label)
    for low in np.arange(0, 1, 0.2):
        inside = (scores >= low) & (scores < low + 0.2)
        assert new.hit[inside].mean() == pytest.approx(scores[inside].mean(), abs=0.08)


def test_a_label_that_the_images_lack_shares_the_fit() -> None:
    pairs = drawn(np.random.default_rng(5), 200, [-3.0, 3.0])
    made = fit_stage(pairs, 0.5)
    assert set(made.fit.labels) <= set(pairs.labels)
    score = np.array([0.7], np.float32)
    shared = made.fit.scores(score, ("unseen",))
    assert shared == pytest.approx(1 / (1 + np.exp(-made.fit.shared.scale * logit(score) - made.fit.shared.shift)))


@pytest.mark.parametrize("labels", [pytest.param(1, id="one label"), pytest.param(3, id="three labels")])
def test_it_is_hardly_ever_worse_than_the_default_however_few_images_there_are(labels: int) -> None:
    rng, gains = np.random.default_rng(6), []
    new = drawn(rng, 2000, [0.5] * labels)
    for seed in range(20):
        made = fit_stage(drawn(rng, 12, [0.5] * labels), 0.5, seed)
        gains.append(f1_of(new, reported(new, made.fit, made.fit.shared.threshold)) - f1_of(new, new.score >= 0.5))
    assert sum(gain < -0.02 for gain in gains) <= 1


def test_the_same_images_and_seed_give_the_same_fit() -> None:
    pairs = drawn(np.random.default_rng(7), 60, [-1.0, 1.0, 0.0])
    one, two = (fit_stage(pairs, 0.5, seed=9) for _ in range(2))
    assert one.fit.shared == two.fit.shared and one.fit.labels == two.fit.labels
