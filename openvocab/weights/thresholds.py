"""Default thresholds of tags and boxes, with their sources: the checkpoint's, else its family's."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from openvocab.weights.manifest import origin, published_for

__all__ = ["Threshold", "box_threshold", "family_thresholds", "tag_threshold"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A score in 0 to 1, and its source."""

    value: float
    source: str


@cache
def _families() -> Mapping[str, Mapping[str, Any]]:
    path = Path(__file__).resolve().with_name("families.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


@cache
def family_thresholds(stage: str) -> Mapping[str, Threshold]:
    """Return family -> threshold for the stage "tagger" or "detector"; a tagger's rule counts as a family."""
    name = {"tagger": "tag_threshold", "detector": "box_threshold"}[stage]
    return {family: Threshold(row[name], row["threshold_source"]) for family, row in _families()[stage].items()}


def tag_threshold(spec: str, *, independent: bool) -> Threshold:
    """Return the default tag threshold of a tagger.

    Args:
        spec: the tagger's, as its ModelRecord has it.
        independent: whether scores are independent (sigmoid); else they sum to 1 (softmax).
    """
    spec = origin(spec)
    record, families = published_for(spec), family_thresholds("tagger")
    if record is not None and record.tag_threshold is not None:
        return Threshold(record.tag_threshold, record.threshold_source)
    rule = families["sigmoid" if independent else "softmax"]
    return families.get(spec.partition(":")[0], rule)


def box_threshold(spec: str) -> Threshold:
    """Return the default box threshold of a detector; spec is that of its ModelRecord."""
    spec = origin(spec)
    record, families = published_for(spec), family_thresholds("detector")
    if record is not None and record.box_threshold is not None:
        return Threshold(record.box_threshold, record.threshold_source)
    return families.get(spec.partition(":")[0], families["other"])
