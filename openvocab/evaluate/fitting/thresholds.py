"""Thresholds of the best F1 by cross-validation, and the default's where they gain nothing.

Three rules compete: the default threshold, one fitted threshold for the scores of all labels, and one threshold for
scores that are calibrated for each label. A fitted rule is taken only if its cross-validated F1 is better than that of
the simpler one in 95 % of bootstrap samples of the images. A label whose own gain is negative keeps the default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.fitting.pairs import Pairs, f1_of
from openvocab.evaluate.fitting.platt import Platt, cross_validated, fit_platt
from openvocab.pipeline.calibration import LabelFit, StageFit, logit

__all__ = ["CONFIDENCE", "FOLDS", "StageReport", "best_threshold", "fit_stage"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FOLDS = 5
_LOW = 0.05
"""Scores under this share of the default threshold are not fitted: they are never reported."""
_BOOTSTRAPS = 200
CONFIDENCE = 0.95
"""Share of the bootstrap samples in which a fitted rule must be better than the simpler one."""


@dataclass(frozen=True, slots=True)
class StageReport:
    """What was fitted for a tagger or a detector.

    Attributes:
        fit: For the calibration.
        rule: "default", "shared threshold" or "threshold a label".
        own: Labels that got a threshold of their own.
        kept: Labels that kept the default threshold although a rule was fitted.
        f1_default: F1 of the default threshold.
        f1: Cross-validated F1 of the rule.
        precision: Of the prior of labels around the shared fit; infinite if they share it.
        images: Images that it was fitted on.
        labels: Labels of the data.
    """

    fit: StageFit
    rule: str
    own: int
    kept: int
    f1_default: float
    f1: float
    precision: float
    images: int
    labels: int


def fit_stage(pairs: Pairs, default: float, seed: int = 0) -> StageReport:
    """Fit thresholds and calibration of the scores of one model.

    Args:
        pairs: Its answers.
        default: The threshold of its scores that is used without a calibration.
        seed: Of the folds and of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    known = pairs.take(pairs.score >= default * _LOW)
    images = len(known.wanted)
    folds = rng.permutation(images) % min(FOLDS, images)
    precision, own, _ = cross_validated(known, folds)
    raw = logit(known.score)
    shared_at, own_at = _held_out(raw, known, folds), _held_out(own, known, folds)
    kept = {"default": known.score >= default, "shared": raw >= shared_at, "own": own >= own_at}
    samples = rng.integers(images, size=(_BOOTSTRAPS, images))
    base = "shared" if _better(known, kept["shared"], kept["default"], samples) else "default"
    best = "own" if np.isfinite(precision) and _better(known, kept["own"], kept[base], samples) else base
    platt = fit_platt(known, precision if best == "own" else np.inf)
    at = {"default": float(logit(np.array(default))), "shared": _best_of(raw, known)}
    gains = {name: _label_gains(known, each, kept["default"]) for name, each in kept.items()}
    rules = _rules(gains, base, best)
    fit = _stage_fit(known.labels, platt, rules, at, _best_of(own, known), base)
    final = np.select([np.isin(known.label, np.flatnonzero(rules == name)) for name in kept], list(kept.values()))
    counts = int((rules == "own").sum()), int((rules == "default").sum()) if best != "default" else 0
    title = {"default": "default", "shared": "shared threshold", "own": "threshold a label"}[best]
    scores = f1_of(known, kept["default"]), f1_of(known, final.astype(np.bool_))
    return StageReport(fit, title, *counts, *scores, platt.precision, images, len(known.labels))


def _held_out(values: Floats, pairs: Pairs, folds: NDArray[np.int64]) -> Floats:
    """Return the (N,) thresholds that are best for the images outside the fold of each pair."""
    fold, made = folds[pairs.image], np.zeros(len(pairs))
    for each in np.unique(folds):
        outside = fold != each
        wanted = int(pairs.wanted[folds != each].sum())
        made[~outside] = best_threshold(values[outside], pairs.hit[outside], wanted)
    return made


def _best_of(values: Floats, pairs: Pairs) -> float:
    return best_threshold(values, pairs.hit, int(pairs.wanted.sum()))


def best_threshold(values: Floats, hit: Mask, wanted: int) -> float:
    """Return the threshold of the best F1, midway between the last value that it admits and the next."""
    if not len(values):
        return 0.0
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(hit[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + max(wanted, 1))
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # a threshold cannot part equal values
    last = int(f1.argmax())
    return float(ranked[last] + ranked[last + 1]) / 2 if last + 1 < len(ranked) else float(ranked[last]) - 0.5


def _better(pairs: Pairs, one: Mask, other: Mask, samples: NDArray[np.int64]) -> bool:
    """Return whether one rule has a better F1 than another in enough bootstrap samples of the images."""
    wanted = pairs.wanted[samples].sum(axis=1)

    def f1(kept: Mask) -> Floats:
        images = len(pairs.wanted)
        hits = np.bincount(pairs.image[kept & pairs.hit], minlength=images)[samples].sum(axis=1)
        answers = np.bincount(pairs.image[kept], minlength=images)[samples].sum(axis=1)
        return np.asarray(2 * hits / np.maximum(answers + wanted, 1))

    return bool((f1(one) > f1(other)).mean() >= CONFIDENCE)


def _label_gains(pairs: Pairs, kept: Mask, default: Mask) -> Floats:
    """Return the (C,) share of each label in the gain of F1 over the default, times a positive constant.

    F1 is 2 H / (A + W) for H hits, A answers and W wanted; its change is positive where 2 dH - F1 dA is.
    """
    changed, count = kept.astype(np.int64) - default, len(pairs.labels)
    hits = np.bincount(pairs.label, changed * pairs.hit, count)
    return np.asarray(2 * hits - f1_of(pairs, default) * np.bincount(pairs.label, changed, count))


def _rules(gains: dict[str, Floats], base: str, best: str) -> NDArray[np.str_]:
    """Return the (C,) rule of each label: the best one, or the one before it where a label's gain is negative."""
    rules = np.where(gains[base] < 0, "default", base)
    if best == "own":
        rules = np.where((gains["own"] > 0) & (gains["own"] >= gains[base]), "own", rules)
    return rules


def _stage_fit(
    labels: tuple[str, ...], platt: Platt, rules: NDArray[np.str_], at: dict[str, float], own: float, base: str
) -> StageFit:
    """Return the fit with the thresholds as calibrated scores."""

    def fit(scale: float, shift: float, rule: str) -> LabelFit:
        log_odds = own if rule == "own" else scale * at[rule] + shift
        return LabelFit(scale, shift, float(1 / (1 + np.exp(-log_odds))))

    shared = fit(*platt.shared, base)
    rows = zip(labels, platt.scale.tolist(), platt.shift.tolist(), rules.tolist(), strict=True)
    fits = {label: fit(scale, shift, rule) for label, scale, shift, rule in rows}
    return StageFit(shared, {label: each for label, each in fits.items() if each != shared})
