"""Which model families there are, and the one way from a SPEC to a loaded stage.

A SPEC is FAMILY:REST, or FAMILY alone where the family needs no more. Families are imported when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from openvocab.errors import BadInput, unknown
from openvocab.pipeline.stages import Detector, Segmenter, Tagger

__all__ = ["DETECTORS", "SEGMENTERS", "TAGGERS", "families", "load_detector", "load_segmenter", "load_tagger"]

T = TypeVar("T")
Factory = Callable[[str, str | None, str | None], T]
"""(the SPEC after its family, device, dtype) to a stage."""


def _open_clip(rest: str, device: str | None, dtype: str | None) -> Tagger:
    from openvocab.pipeline.clip_tagger import OpenClipTagger

    return OpenClipTagger.load(rest, device, dtype)


def _owlv2(rest: str, device: str | None, dtype: str | None) -> Detector:
    from openvocab.pipeline.owlv2_detector import Owlv2Detector

    return Owlv2Detector.load(rest, device, dtype)


def _sam(rest: str, device: str | None, dtype: str | None) -> Segmenter[Any]:
    from openvocab.pipeline.sam_segmenter import SamSegmenter

    return SamSegmenter.load(rest, device, dtype)


def _pocket_tagger(rest: str, device: str | None, dtype: str | None) -> Tagger:
    from openvocab.pipeline.pocket import load_tagger

    return load_tagger(device, dtype)


def _pocket_detector(rest: str, device: str | None, dtype: str | None) -> Detector:
    from openvocab.pipeline.pocket import load_detector

    return load_detector(device, dtype)


def _pocket_segmenter(rest: str, device: str | None, dtype: str | None) -> Segmenter[Any]:
    from openvocab.pipeline.pocket import load_segmenter

    return load_segmenter(device, dtype)


TAGGERS: Mapping[str, Factory[Tagger]] = MappingProxyType({"open_clip": _open_clip, "pocket": _pocket_tagger})
DETECTORS: Mapping[str, Factory[Detector]] = MappingProxyType({"owlv2": _owlv2, "pocket": _pocket_detector})
SEGMENTERS: Mapping[str, Factory[Segmenter[Any]]] = MappingProxyType({"sam": _sam, "pocket": _pocket_segmenter})

EXAMPLES = MappingProxyType(
    {
        "open_clip": "open_clip:ViT-B-32/laion2b_s34b_b79k",
        "owlv2": "owlv2:google/owlv2-base-patch16-ensemble",
        "sam": "sam:vit_b@sam_vit_b_01ec64.pth",
    }
)


def families() -> dict[str, tuple[str, ...]]:
    """Stage -> the names of its model families."""
    return {"tagger": tuple(TAGGERS), "detector": tuple(DETECTORS), "segmenter": tuple(SEGMENTERS)}


def _create(stage: str, table: Mapping[str, Factory[T]], spec: str, device: str | None, dtype: str | None) -> T:
    family, colon, rest = spec.partition(":")
    if family not in table:
        raise unknown(f"{stage} family", family, table)
    if family in EXAMPLES and not rest:
        raise BadInput(f"{stage} {spec!r} names no checkpoint; write it as {EXAMPLES[family]}")
    if family not in EXAMPLES and colon:
        raise BadInput(f"{stage} {spec!r}: the embedded models come as they are; write {family!r} alone")
    return table[family](rest, device, dtype)


def load_tagger(spec: str, device: str | None = None, dtype: str | None = None) -> Tagger:
    """Load a tagger, e.g. open_clip:ViT-B-32/laion2b_s34b_b79k, open_clip:local-dir:PATH or pocket.

    Args:
        device: cuda, mps or cpu; the best there is where not given.
        dtype: float32 or bfloat16; bfloat16 where the hardware multiplies it, where not given.

    Raises:
        UnknownName: no such family or architecture.
        BadInput: the SPEC names no checkpoint.
        BadWeights: the checkpoint is absent, of another architecture, or fails its digest.
    """
    return _create("tagger", TAGGERS, spec, device, dtype)


def load_detector(spec: str, device: str | None = None, dtype: str | None = None) -> Detector:
    """Load a detector, e.g. owlv2:google/owlv2-base-patch16-ensemble, owlv2:FOLDER or pocket; see load_tagger."""
    return _create("detector", DETECTORS, spec, device, dtype)


def load_segmenter(spec: str, device: str | None = None, dtype: str | None = None) -> Segmenter[Any]:
    """Load a segmenter, e.g. sam:vit_b@PATH.pth or pocket; see load_tagger."""
    return _create("segmenter", SEGMENTERS, spec, device, dtype)
