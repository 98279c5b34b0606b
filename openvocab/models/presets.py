"""Load a pipeline by the name of a preset, by SPECs, or by both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from openvocab.errors import BadInput, unknown
from openvocab.models.registry import load_detector, load_segmenter, load_tagger, split_segmenters
from openvocab.pipeline.pipeline import Pipeline
from openvocab.pipeline.settings import SettingChanges, Settings
from openvocab.weights.manifest import PresetRecord, preset_records
from openvocab.weights.store import refuse_absent

if TYPE_CHECKING:
    from openvocab.models.device import DeviceLike, DtypeLike

__all__ = ["Preset", "load", "presets"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A named combination of models.

    Attributes:
        name: The name that load takes.
        tagger: SPEC of the tagger; empty if there is none.
        detector: SPEC of the detector; empty if there is none.
        segmenter: SPEC of the segmenter; empty if there is none.
        license: License or licenses of the weights.
        size_bytes: Size of the weights in bytes.
        description: One sentence.
    """

    name: str
    tagger: str
    detector: str
    segmenter: str
    license: str
    size_bytes: int
    description: str


def presets() -> list[Preset]:
    """Return all presets."""
    return [
        Preset(each.name, each.tagger, each.detector, each.segmenter, each.license, each.size, each.description)
        for each in preset_records().values()
    ]


def load(
    preset: str | None = None,
    *,
    tagger: str | None = None,
    detector: str | None = None,
    segmenter: str | None = None,
    device: DeviceLike = None,
    dtype: DtypeLike = None,
    tags_alone: bool = False,
    **settings: Unpack[SettingChanges],
) -> Pipeline:
    """Load a pipeline.

    Args:
        preset: Name of a preset; "pocket" ships with the package.
        tagger: SPEC of the tagger. A SPEC replaces the preset's stage; a stage that neither names is left out.
        detector: SPEC of the detector.
        segmenter: SPEC of the segmenter; of SegGPT for exemplars, or of both joined by "+".
        device: "cuda", "mps", "cpu" or a torch.device; None for the best there is.
        dtype: "float32", "bfloat16", "float16" or a torch.dtype; None for what is fast on the device.
        tags_alone: Load the tagger only, also of a preset.
        settings: Fields of Settings to change, e.g. box_threshold=0.4; None leaves the preset's value.

    Raises:
        UnknownName: There is no such preset, family or architecture.
        BadInput: There is nothing to load, no tagger with tags_alone, or a setting does not fit.
        BadWeights: A checkpoint is absent (checked before any is loaded), of another kind, or fails its digest.
        MissingExtra: The weights of a preset come with a package that is not installed.
    """
    record = None if preset is None else _record(preset)
    first, second, third = specs = _stages(record, [tagger, detector, segmenter], tags_alone)
    own = record.settings if record and not tagger and not detector else {}
    chosen = Settings().changed(**own).changed_in(load, settings)
    _refuse_absent(record, specs)
    return Pipeline(
        load_tagger(first, device, dtype) if first else None,
        load_detector(second, device, dtype) if second else None,
        load_segmenter(third, device, dtype) if third else None,
        chosen,
    )


def _record(preset: str) -> PresetRecord:
    known = preset_records()
    if preset not in known:
        raise unknown("preset", preset, known)
    return known[preset]


def _refuse_absent(record: PresetRecord | None, specs: list[str | None]) -> None:
    """Raise if weights of the preset are absent, before the first model is loaded."""
    if record:
        theirs = (record.tagger, record.detector, record.segmenter)
        refuse_absent(record.name, [spec for spec in specs if spec and spec in theirs])


def _stages(record: PresetRecord | None, given: list[str | None], tags_alone: bool) -> list[str | None]:
    """Return the SPECs of tagger, detector and segmenter to load: the given ones, else the preset's.

    Raises:
        BadInput: there is neither tagger nor detector.
    """
    usual = [record.tagger, record.detector, record.segmenter] if record else [None] * 3
    specs = [spec or own for spec, own in zip(given, usual, strict=True)]
    wanted = [specs[0], None, None] if tags_alone else specs
    alone = wanted[2] is not None and bool(split_segmenters(wanted[2])[1])
    if not any(wanted[:2]) and not alone:
        also = "" if tags_alone else " or detector=SPEC"
        raise BadInput(f"nothing to load; name a preset such as 'pocket', or tagger=SPEC{also}")
    return wanted
