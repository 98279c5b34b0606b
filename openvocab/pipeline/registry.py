"""Which model families there are, and the one way from a SPEC to a loaded stage.

A SPEC is FAMILY:REST, or FAMILY alone where the family needs no more. Families are imported when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from openvocab.errors import BadInput, unknown
from openvocab.pipeline.stages import Detector, Segmenter, Tagger

__all__ = ["DETECTORS", "SEGMENTERS", "TAGGERS", "Family", "families", "load_detector", "load_segmenter", "load_tagger"]


class Family(NamedTuple):
    """One model family.

    module   where its adapter is.
    loader   the name there of a class with a method load(the SPEC after its family, device, dtype); for the
             embedded models, which come as they are, of a function of (device, dtype).
    example  a SPEC; empty for the embedded models.
    """

    module: str
    loader: str
    example: str = ""

    def load(self, rest: str, device: str | None, dtype: str | None) -> Any:
        """Import the adapter and load the checkpoint."""
        found = getattr(import_module(f"openvocab.pipeline.{self.module}"), self.loader)
        return found.load(rest, device, dtype) if self.example else found(device, dtype)


TAGGERS: Mapping[str, Family] = MappingProxyType(
    {
        "open_clip": Family("clip_tagger", "OpenClipTagger", "open_clip:ViT-B-32/laion2b_s34b_b79k"),
        "pocket": Family("pocket", "load_tagger"),
    }
)
DETECTORS: Mapping[str, Family] = MappingProxyType(
    {
        "owlv2": Family("owlv2_detector", "Owlv2Detector", "owlv2:google/owlv2-base-patch16-ensemble"),
        "pocket": Family("pocket", "load_detector"),
    }
)
SEGMENTERS: Mapping[str, Family] = MappingProxyType(
    {
        "sam": Family("sam_segmenter", "SamSegmenter", "sam:vit_b@sam_vit_b_01ec64.pth"),
        "pocket": Family("pocket", "load_segmenter"),
    }
)


def families() -> dict[str, tuple[str, ...]]:
    """Stage -> the names of its model families."""
    return {"tagger": tuple(TAGGERS), "detector": tuple(DETECTORS), "segmenter": tuple(SEGMENTERS)}


def _create(stage: str, table: Mapping[str, Family], spec: str, device: str | None, dtype: str | None) -> Any:
    name, colon, rest = spec.partition(":")
    if name not in table:
        raise unknown(f"{stage} family", name, table)
    family = table[name]
    if family.example and not rest:
        raise BadInput(f"{stage} {spec!r} names no checkpoint; write it as {family.example}")
    if not family.example and colon:
        raise BadInput(f"{stage} {spec!r}: the embedded models come as they are; write {name!r} alone")
    return family.load(rest, device, dtype)


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
    loaded: Tagger = _create("tagger", TAGGERS, spec, device, dtype)
    return loaded


def load_detector(spec: str, device: str | None = None, dtype: str | None = None) -> Detector:
    """Load a detector, e.g. owlv2:google/owlv2-base-patch16-ensemble, owlv2:FOLDER or pocket; see load_tagger."""
    loaded: Detector = _create("detector", DETECTORS, spec, device, dtype)
    return loaded


def load_segmenter(spec: str, device: str | None = None, dtype: str | None = None) -> Segmenter[Any]:
    """Load a segmenter, e.g. sam:vit_b@PATH.pth or pocket; see load_tagger."""
    loaded: Segmenter[Any] = _create("segmenter", SEGMENTERS, spec, device, dtype)
    return loaded
