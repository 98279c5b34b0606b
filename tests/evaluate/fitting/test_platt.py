"""Calibration by Platt's method: what is fitted, and how labels with few images stay near the others."""

from __future__ import annotations

import numpy as np
import pytest

from openvocab.evaluate.fitting.pairs import Pairs
from openvocab.evaluate.fitting.platt import PRECISIONS, cross_validated, fit_platt
from openvocab.pipeline.calibration import logit


def drawn(rng: np.random.Generator, shifts: list[float], each: int, scale: float = 0.7) -> Pairs:
    """Answers, one an image, whose odds of being right are exp(scale * logit(score) + the label's shift)."""
    label = np.repeat(np.arange(len(shifts)), each)
    score = rng.uniform(0.02, 0.98, len(label)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(scale * logit(score) + np.array(shifts)[label])))
    hit = rng.random(len(label)) < chance
    names = tuple(f"label {number}" for number in range(len(shifts)))
    return Pairs(names, np.arange(len(label)), label, score, hit, hit.astype(np.int64))


def test_the_coefficients_that_made_the_data_are_found() -> None:
    pairs = drawn(np.random.default_rng(0), [-2.0, 0.0, 1.0], 20_000)
    made = fit_platt(pairs, 1.0)
    assert made.scale == pytest.approx([0.7] * 3, abs=0.05) and made.shift == pytest.approx([-2, 0, 1], abs=0.06)


@pytest.mark.parametrize("precision", [pytest.param(1.0, id="weak"), pytest.param(30.0, id="strong")])
def test_the_penalized_likelihood_has_its_maximum_there(precision: float) -> None:
    pairs = drawn(np.random.default_rng(1), [-1.0, 2.0], 60)
    made, x = fit_platt(pairs, precision), logit(pairs.score)
    error = 1 / (1 + np.exp(-made.log_odds(pairs))) - pairs.hit
    for label in range(2):
        mine = pairs.label == label
        slope = (error * x)[mine].sum() + precision * (made.scale[label] - made.shared[0])
        level = error[mine].sum() + precision * (made.shift[label] - made.shared[1])
        assert (slope, level) == pytest.approx((0, 0), abs=1e-4)


@pytest.mark.parametrize(
    ("each", "precision", "apart"),
    [
        pytest.param(2000, 1.0, 1.9, id="many images: nearly its own"),
        pytest.param(10, 10.0, 1.5, id="few images: drawn to the others"),
        pytest.param(10, np.inf, 0.0, id="shared"),
    ],
)
def test_few_images_draw_a_label_to_the_shared_fit(each: int, precision: float, apart: float) -> None:
    made = fit_platt(drawn(np.random.default_rng(2), [-1.0, 1.0], each), precision)
    gap = float(made.shift[1] - made.shift[0])
    assert gap == 0 if apart == 0 else (gap > apart if each > 100 else 0 < gap < apart)


@pytest.mark.parametrize(
    "hits",
    [
        pytest.param([False, False, True, True], id="separable"),
        pytest.param([True] * 4, id="all right"),
        pytest.param([False] * 4, id="all wrong"),
        pytest.param([True, True, False, False], id="a better score is worse: the order of scores is kept"),
    ],
)
def test_every_fit_is_finite_and_keeps_the_order_of_scores(hits: list[bool]) -> None:
    score, image = np.array([0.0, 0.3, 0.6, 1.0], np.float32), np.arange(4)
    pairs = Pairs(("a", "b"), image, np.zeros(4, np.int64), score, np.array(hits), np.array(hits, np.int64))
    for precision in PRECISIONS:
        made = fit_platt(pairs, precision)
        assert np.isfinite([*made.shared, *made.scale, *made.shift]).all() and (made.scale > 0).all()
        assert (made.scale[1], made.shift[1]) == pytest.approx(made.shared, abs=1e-6)  # a label without an answer


@pytest.mark.parametrize(
    ("shifts", "own"),
    [pytest.param([0.0] * 8, False, id="labels alike"), pytest.param([-3.0, 3.0] * 4, True, id="labels that differ")],
)
def test_cross_validation_chooses_the_prior(shifts: list[float], own: bool) -> None:
    pairs = drawn(np.random.default_rng(3), shifts, 40)
    folds = np.random.default_rng(4).permutation(len(pairs.wanted)) % 5
    precision, chosen, shared = cross_validated(pairs, folds)
    assert (precision <= 3) if own else (precision >= 10)
    loss = [np.logaddexp(0, np.where(pairs.hit, -each, each)).sum() for each in (chosen, shared)]
    assert loss[0] <= loss[1]
