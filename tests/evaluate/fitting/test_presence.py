"""Coefficients of presence: what is fitted, what draws them to those that ship, and when these are kept."""

from __future__ import annotations

import numpy as np
import pytest

from openvocab.evaluate.fitting.presence import EvidencePairs, fit_logistic, fit_presence, log_losses
from openvocab.pipeline.presence import presence_of
from openvocab.weights.presence import Logistic, PresenceModel

SHIPPED = PresenceModel(
    (Logistic(0.0, {"image": 1.0}), Logistic(0.0, {"image": 0.5, "box": 0.5}), Logistic(0.0, {"box": 1.0})), False, ""
)
TRUE = Logistic(-2.0, {"image": 0.5, "box": 1.5})


def drawn(seed: int, images: int, true: Logistic, *, unseen: float = 0.0) -> EvidencePairs:
    """Six labels an image, whose presence is drawn from a function of the evidence; some boxes were not measured."""
    rng, count = np.random.default_rng(seed), images * 6
    evidence = {name: rng.normal(0, 3, count).astype(np.float32) for name in true.weights}
    odds = true.bias + sum(weight * evidence[name] for name, weight in true.weights.items())
    present = rng.random(count) < 1 / (1 + np.exp(-odds))
    if "box" in evidence:
        evidence["box"][rng.random(count) < unseen] = np.nan
    return EvidencePairs(evidence, present, np.arange(count) // 6, np.arange(count) % 6)


def coefficients(one: Logistic) -> list[float]:
    return [one.bias, *one.weights.values()]


def test_without_a_prior_it_is_the_logistic_regression_of_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    pairs = drawn(0, 60, TRUE)
    scaled = (pairs.table - pairs.table.mean(0)) / pairs.table.std(0)
    want = linear.LogisticRegression(C=1.0, tol=1e-8).fit(scaled, pairs.present)
    got = fit_logistic(pairs.table, pairs.present, ("image", "box"))
    weights = want.coef_[0] / pairs.table.std(0)
    assert [*got.weights.values()] == pytest.approx(weights.tolist(), abs=1e-3)
    assert got.bias == pytest.approx(float(want.intercept_[0] - weights @ pairs.table.mean(0)), abs=1e-3)


@pytest.mark.parametrize(
    ("images", "precision", "near", "within"),
    [
        pytest.param(4000, 1.0, TRUE, 0.15, id="many images: what made the data"),
        pytest.param(10, 1e6, Logistic(0.0, {"image": 0.5, "box": 0.5}), 0.01, id="a strong prior: what ships"),
    ],
)
def test_the_prior_draws_the_coefficients(images: int, precision: float, near: Logistic, within: float) -> None:
    pairs, prior = drawn(1, images, TRUE), Logistic(0.0, {"image": 0.5, "box": 0.5})
    got = fit_logistic(pairs.table, pairs.present, ("image", "box"), prior, precision)
    assert coefficients(got) == pytest.approx(coefficients(near), abs=within)


def test_separable_evidence_has_a_finite_fit() -> None:
    table, truth = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([False, False, True, True])
    got = fit_logistic(table, truth, ("image",), Logistic(0.0, {"image": 1.0}), 0.1)
    assert np.isfinite(coefficients(got)).all() and got.weights["image"] > 1


@pytest.mark.parametrize(
    ("true", "taken"),
    [
        pytest.param(TRUE, True, id="other coefficients are better"),
        pytest.param(Logistic(0.0, {"image": 0.5, "box": 0.5}), False, id="those that ship are right"),
    ],
)
def test_a_fit_is_taken_where_it_is_better_on_held_out_images(true: Logistic, taken: bool) -> None:
    model, report = fit_presence(drawn(2, 60, true), SHIPPED, source="fitted here")
    assert report is not None and report.taken == taken
    assert (report.evidence, report.images, report.pairs) == (("image", "box"), 60, 360)
    if not taken:
        assert model is None or all(set(each.weights) != {"image", "box"} for each in model.logistics)
        return
    assert model is not None and model.fitted and model.source == "fitted here"
    assert report.fitted.log_loss < report.shipped.log_loss and report.fitted.ece < report.shipped.ece
    assert report.fitted.mcc is not None and report.shipped.mcc is not None and report.fitted.mcc > report.shipped.mcc
    new = drawn(3, 2000, true)
    merged, losses = SHIPPED.with_fitted(model), []
    for one in (merged, SHIPPED):
        made = one.logistic(frozenset({"image", "box"}))
        assert made is not None
        odds = made.bias + new.table @ np.array([made.weights["image"], made.weights["box"]])
        losses.append(log_losses(1 / (1 + np.exp(-odds)), new.present).mean())
    assert losses[0] == pytest.approx(report.fitted.log_loss, abs=0.08) and losses[0] < losses[1]


def test_each_set_of_evidence_has_its_own_function_and_unmeasured_boxes_are_left_out() -> None:
    pairs = drawn(4, 200, TRUE, unseen=0.4)
    model, report = fit_presence(pairs, SHIPPED)
    assert model is not None and report is not None
    assert {tuple(each.weights) for each in model.logistics} == {("image",), ("image", "box"), ("box",)}
    assert report.pairs == int((~np.isnan(pairs.evidence["box"])).sum()) < len(pairs)
    alone, _ = fit_presence(pairs.of(("image",)), SHIPPED)
    assert alone is not None and [tuple(each.weights) for each in alone.logistics] == [("image",)]


@pytest.mark.parametrize("kind", [pytest.param(True, id="all present"), pytest.param(False, id="all absent")])
def test_labels_of_one_kind_fit_nothing(kind: bool) -> None:
    pairs = drawn(5, 20, TRUE)
    assert fit_presence(pairs.take(pairs.present == kind), SHIPPED) == (None, None)
    assert fit_presence(pairs.take(np.zeros(len(pairs), np.bool_)), SHIPPED) == (None, None)


def test_a_function_for_other_logits_replaces_all_of_those_that_ship() -> None:
    other = PresenceModel((Logistic(1.0, {"image": 2.0}),), True, "fitted")
    assert SHIPPED.with_fitted(other) == other
    same = SHIPPED.with_fitted(PresenceModel(other.logistics, False, "fitted"))
    assert same.logistic(frozenset({"image"})) == other.logistics[0] and same.source == "fitted"
    assert same.logistic(frozenset({"box"})) == SHIPPED.logistics[2]


@pytest.mark.parametrize("threshold", [pytest.param(0.0, id="none"), pytest.param(0.5, id="half")])
def test_as_many_labels_pass_the_threshold_as_before(threshold: float) -> None:
    pairs = drawn(6, 200, TRUE)
    model, report = fit_presence(pairs, SHIPPED, threshold=threshold)
    assert model is not None and report is not None
    likely = [presence_of(each, pairs.evidence) for each in (SHIPPED, SHIPPED.with_fitted(model))]
    passed = [
        int((np.asarray(each) >= least).sum())
        for each, least in zip(likely, (threshold, report.threshold), strict=True)
    ]
    assert passed[0] == passed[1] and (report.threshold == 0) == (threshold == 0)
