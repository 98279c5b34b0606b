"""Coefficients of presence: fitted for a pair of tagger and detector, else priors, with their sources."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from openvocab.weights.manifest import origin
from openvocab.weights.thresholds import box_threshold, tag_threshold

__all__ = ["EVIDENCE", "FITTED", "Logistic", "PresenceModel", "background_words", "presence_model"]

EVIDENCE = ("image", "window", "box")
"""The log-odds that a presence model may weigh."""

FITTED = Path(__file__).resolve().with_name("presence.json")
"""The fitted coefficients."""


@dataclass(frozen=True, slots=True)
class Logistic:
    """A logistic function: the probability is sigmoid(bias + sum of weight * log-odds).

    Attributes:
        bias: The constant.
        weights: Evidence -> its weight.
    """

    bias: float
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PresenceModel:
    """The coefficients of one tagger and detector.

    Attributes:
        logistics: One function for each set of evidence that may be at hand.
        relative: Whether the tagger's logits are taken relative to the background labels.
        source: "fitted ..." or "prior: ...".
    """

    logistics: tuple[Logistic, ...]
    relative: bool
    source: str

    @property
    def fitted(self) -> bool:
        """Whether the coefficients were fitted on labeled images."""
        return self.source.startswith("fitted")

    def logistic(self, known: frozenset[str]) -> Logistic | None:
        """Return the function of the most evidence that is known, or None if none of it is."""
        fits = [each for each in self.logistics if known.issuperset(each.weights)]
        return max(fits, key=lambda each: len(each.weights), default=None)


@cache
def _rules() -> Mapping[str, Any]:
    return tomllib.loads(FITTED.with_suffix(".toml").read_text(encoding="utf-8"))


def background_words() -> tuple[str, ...]:
    """The labels that stand for anything else."""
    return tuple(_rules()["background"])


@cache
def _fitted() -> Mapping[tuple[str, str], PresenceModel]:
    if not FITTED.is_file():
        return {}
    rows = json.loads(FITTED.read_text(encoding="utf-8"))
    return {(row["tagger"], row["detector"]): _read(row) for row in rows}


def _read(row: Mapping[str, Any]) -> PresenceModel:
    logistics = tuple(Logistic(each["bias"], each["weights"]) for each in row["logistics"])
    return PresenceModel(logistics, row["relative"], row["source"])


@cache
def presence_model(tagger: str, detector: str, *, independent: bool) -> PresenceModel:
    """Return the coefficients of a tagger and a detector.

    Args:
        tagger: SPEC of the tagger's ModelRecord; empty without one.
        detector: SPEC of the detector's; empty without one.
        independent: Whether the tagger's scores are independent (sigmoid); else they sum to 1 (softmax).
    """
    tagger, detector = origin(tagger), origin(detector)
    if (fitted := _fitted().get((tagger, detector))) is not None:
        return fitted
    rules = _rules()["prior"]
    classifier = tagger.startswith("classifier:")
    tag = rules["classifier" if classifier else "sigmoid" if independent else "softmax"]
    centers = dict.fromkeys(EVIDENCE, 0.0)
    if tagger:
        center = tag.get("center", tag_threshold(tagger, independent=independent).value)
        centers |= dict.fromkeys(("image", "window"), _log_odds(center))
    if detector:
        centers["box"] = _log_odds(box_threshold(detector).value)
    sets = chain.from_iterable(combinations(EVIDENCE, size) for size in range(1, len(EVIDENCE) + 1))
    sources = [tag["source"]] if tagger else []
    sources += [rules["box"]["source"]] if detector else []
    logistics = tuple(_prior(names, rules["weights"], centers) for names in sets)
    return PresenceModel(logistics, tag["relative"] and bool(tagger), "; ".join(dict.fromkeys(sources)))


def _prior(names: tuple[str, ...], weights: Mapping[str, Any], centers: Mapping[str, float]) -> Logistic:
    """Return the weighted mean of the log-odds, each less that of its center."""
    total = sum(weights[name] for name in names)
    shares = {name: weights[name] / total for name in names}
    return Logistic(-sum(shares[name] * centers[name] for name in names), shares)


def _log_odds(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
