"""Load a whole pipeline by the name of a preset, by SPECs, or by both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openvocab.errors import BadInput, unknown
from openvocab.pipeline.chain import Pipeline
from openvocab.pipeline.registry import load_detector, load_segmenter, load_tagger
from openvocab.pipeline.settings import Settings
from openvocab.weights.manifest import preset_records

__all__ = ["Preset", "load", "presets"]


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset is: a SPEC for each stage, its licence, the bytes of its weights, and a line about it."""

    name: str
    tagger: str
    detector: str
    segmenter: str
    licence: str
    size_bytes: int
    description: str


def presets() -> list[Preset]:
    """The presets that there are."""
    return [
        Preset(each.name, each.tagger, each.detector, each.segmenter, each.licence, each.size, each.description)
        for each in preset_records().values()
    ]


def load(
    preset: str | None = None,
    *,
    tagger: str | None = None,
    detector: str | None = None,
    segmenter: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    **settings: Any,
) -> Pipeline:
    """Load a pipeline.

    Args:
        preset: the name of a preset; "pocket" ships with the package.
        tagger, detector, segmenter: a SPEC each; with a preset they replace its stage, without one the stages
            that are not named are left out.
        device: cuda, mps or cpu; the best there is where not given.
        dtype: float32 or bfloat16; bfloat16 where the hardware multiplies it, where not given.
        settings: fields of Settings to change, e.g. box_threshold=0.4.

    Raises:
        UnknownName: no preset, family or architecture of that name.
        BadInput: nothing to load, or a setting that does not fit.
        BadWeights: a checkpoint is absent, of another architecture, or fails its digest.
    """
    known = preset_records()
    if preset is not None and preset not in known:
        raise unknown("preset", preset, known)
    record = known[preset] if preset else None
    specs = [tagger or (record and record.tagger), detector or (record and record.detector)]
    if not any(specs):
        raise BadInput("nothing to load; name a preset such as 'pocket', or tagger=SPEC or detector=SPEC")
    last = segmenter or (record and record.segmenter)
    own = dict(record.settings) if record and not tagger and not detector else {}
    return Pipeline(
        load_tagger(specs[0], device, dtype) if specs[0] else None,
        load_detector(specs[1], device, dtype) if specs[1] else None,
        load_segmenter(last, device, dtype) if last else None,
        Settings().changed(**{**own, **settings}),
    )
