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

from openvocab.errors import BadInput
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

    def with_fitted(self, fitted: PresenceModel) -> PresenceModel:
        """Return the functions of another model, and one's own for other sets of evidence if they read the same."""
        if fitted.relative != self.relative:
            return fitted
        made = {frozenset(each.weights): each for each in (*self.logistics, *fitted.logistics)}
        return PresenceModel(tuple(made.values()), self.relative, fitted.source)

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        rows = [{"bias": each.bias, "weights": dict(each.weights)} for each in self.logistics]
        return {"relative": self.relative, "source": self.source, "logistics": rows}

    @staticmethod
    def from_plain(row: Mapping[str, Any]) -> PresenceModel:
        """Return the model that to_plain wrote.

        Raises:
            BadInput: there is no function, a coefficient is not finite, or a weight is for no known evidence.
        """
        made = tuple(Logistic(each["bias"], dict(each["weights"])) for each in row["logistics"])
        numbers = [number for each in made for number in (each.bias, *each.weights.values())]
        known = made and all(each.weights and set(EVIDENCE) >= set(each.weights) for each in made)
        if not known or not all(map(math.isfinite, numbers)):
            raise BadInput(f"coefficients of presence are finite numbers for {', '.join(EVIDENCE)}; fit them again")
        return PresenceModel(made, bool(row["relative"]), str(row["source"]))


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
    return {(row["tagger"], row["detector"]): PresenceModel.from_plain(row) for row in rows}


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
