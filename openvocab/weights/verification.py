"""Coefficients of verification: fitted for a tagger and a detector, else priors, with their sources."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.weights.manifest import origin
from openvocab.weights.presence import Logistic, PresenceModel, presence_model

__all__ = ["FITTED", "VerificationModel", "verification_model"]

FITTED = Path(__file__).resolve().with_name("verification.json")
"""The fitted coefficients."""

_LIMIT = 12.0
"""Log-odds beyond this are not told apart."""


@dataclass(frozen=True, slots=True)
class VerificationModel:
    """The rule of one tagger and detector.

    Attributes:
        logistics: One function for each set of evidence that may be at hand.
        threshold: A label that is less likely right is not kept.
        source: "fitted ..." or "prior: ...".
    """

    logistics: tuple[Logistic, ...]
    threshold: float
    source: str

    @property
    def fitted(self) -> bool:
        """Whether the coefficients were fitted on labeled images."""
        return self.source.startswith("fitted")

    def probabilities(self, evidence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        """Return how likely each of C labels is right, by the function of the most evidence that is known.

        Args:
            evidence: "box", "crop", "masked", "presence" -> (C,) log-odds; no more than _LIMIT counts.
        """
        fits = [each for each in self.logistics if evidence.keys() >= each.weights.keys()]
        best = max(fits, key=lambda each: len(each.weights))
        shares = [weight * np.clip(evidence[name], -_LIMIT, _LIMIT) for name, weight in best.weights.items()]
        return np.asarray(1 / (1 + np.exp(-(best.bias + np.sum(shares, axis=0, dtype=np.float64)))))


@cache
def _fitted() -> Mapping[tuple[str, str], VerificationModel]:
    if not FITTED.is_file():
        return {}
    rows = json.loads(FITTED.read_text(encoding="utf-8"))
    return {(row["tagger"], row["detector"]): _read(row) for row in rows}


def _read(row: Mapping[str, Any]) -> VerificationModel:
    logistics = tuple(Logistic(each["bias"], each["weights"]) for each in row["logistics"])
    return VerificationModel(logistics, row["threshold"], row["source"])


@cache
def verification_model(tagger: str, detector: str, *, independent: bool) -> VerificationModel:
    """Return the rule for a tagger and a detector.

    Args:
        tagger: SPEC of the tagger's ModelRecord.
        detector: SPEC of the detector's.
        independent: Whether the tagger's scores are independent (sigmoid); else they sum to 1 (softmax).
    """
    if (fitted := _fitted().get((origin(tagger), origin(detector)))) is not None:
        return fitted
    rule = tomllib.loads(FITTED.with_suffix(".toml").read_text(encoding="utf-8"))["prior"]
    presence = presence_model(tagger, detector, independent=independent)
    sets = (("crop",), ("masked",), ("box", "crop"), ("box", "masked"))
    logistics = tuple(_prior(names, rule["weights"], presence) for names in sets)
    return VerificationModel(logistics, rule["threshold"], f"{rule['source']}; {presence.source}")


def _prior(names: tuple[str, ...], weights: Mapping[str, float], presence: PresenceModel) -> Logistic:
    """Return the weighted mean of what presence makes of the tagger and of the box alone."""
    total, bias, made = sum(weights[name] for name in names), 0.0, dict[str, float]()
    for name in names:
        one = presence.logistic(frozenset({"box" if name == "box" else "image"}))
        share = weights[name] / total
        bias += share * one.bias if one else 0.0
        made[name] = share * sum(one.weights.values()) if one else 0.0
    return Logistic(bias, made)
