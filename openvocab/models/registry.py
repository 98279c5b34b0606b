"""Which model families there are, and the one way from a SPEC to a loaded stage.

A SPEC is FAMILY:REST, or FAMILY alone where the family needs no more. Families are imported when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from openvocab.errors import BadInput, unknown
from openvocab.pipeline.protocols import Captioner, Detector, ExemplarSegmenter, Segmenter, Tagger

__all__ = [
    "CAPTIONERS",
    "DETECTORS",
    "EXEMPLAR_SEGMENTERS",
    "SEGMENTERS",
    "TAGGERS",
    "Family",
    "families",
    "load_captioner",
    "load_detector",
    "load_exemplar_segmenter",
    "load_segmenter",
    "load_tagger",
]


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
        found = getattr(import_module(f"openvocab.models.{self.module}"), self.loader)
        return found.load(rest, device, dtype) if self.example else found(device, dtype)


TAGGERS: Mapping[str, Family] = MappingProxyType(
    {
        "open_clip": Family("taggers.clip_tagger", "OpenClipTagger", "open_clip:ViT-B-32/laion2b_s34b_b79k"),
        "clip": Family("taggers.transformers_tagger", "ClipTagger", "clip:openai/clip-vit-base-patch32"),
        "siglip": Family("taggers.transformers_tagger", "SiglipTagger", "siglip:google/siglip2-base-patch16-224"),
        "metaclip2": Family(
            "taggers.transformers_tagger", "MetaClip2Tagger", "metaclip2:facebook/metaclip-2-worldwide-huge-quickgelu"
        ),
        "classifier": Family("taggers.classifier_tagger", "ClassifierTagger", "classifier:google/vit-base-patch16-224"),
        "pocket": Family("pocket", "load_tagger"),
    }
)
DETECTORS: Mapping[str, Family] = MappingProxyType(
    {
        "detr": Family("detectors.detr_detector", "DetrDetector", "detr:facebook/detr-resnet-50"),
        "grounding_dino": Family(
            "detectors.grounding_dino_detector",
            "GroundingDinoDetector",
            "grounding_dino:IDEA-Research/grounding-dino-tiny",
        ),
        "mm_grounding_dino": Family(
            "detectors.grounding_dino_detector",
            "MMGroundingDinoDetector",
            "mm_grounding_dino:openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
        ),
        "omdet_turbo": Family(
            "detectors.omdet_detector", "OmDetDetector", "omdet_turbo:omlab/omdet-turbo-swin-tiny-hf"
        ),
        "owlv2": Family("detectors.owl_detector", "Owlv2Detector", "owlv2:google/owlv2-base-patch16-ensemble"),
        "owlvit": Family("detectors.owl_detector", "OwlVitDetector", "owlvit:google/owlvit-base-patch32"),
        "sam3": Family("segmenters.sam3", "Sam3Detector", "sam3:facebook/sam3"),
        "pocket": Family("pocket", "load_detector"),
    }
)
SEGMENTERS: Mapping[str, Family] = MappingProxyType(
    {
        "sam": Family("segmenters.sam_segmenter", "SamSegmenter", "sam:vit_b@sam_vit_b_01ec64.pth"),
        "sam_hf": Family("segmenters.transformers_segmenter", "SamHfSegmenter", "sam_hf:facebook/sam-vit-base"),
        "sam_hq": Family(
            "segmenters.transformers_segmenter", "SamHqSegmenter", "sam_hq:syscv-community/sam-hq-vit-base"
        ),
        "sam2": Family("segmenters.transformers_segmenter", "Sam2Segmenter", "sam2:facebook/sam2.1-hiera-tiny"),
        "pocket": Family("pocket", "load_segmenter"),
    }
)
EXEMPLAR_SEGMENTERS: Mapping[str, Family] = MappingProxyType(
    {
        "seggpt": Family("segmenters.seggpt", "SegGptSegmenter", "seggpt:BAAI/seggpt-vit-large"),
    }
)
CAPTIONERS: Mapping[str, Family] = MappingProxyType(
    {
        "coca": Family(
            "taggers.coca_captioner", "CocaCaptioner", "coca:coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k"
        ),
    }
)


def families() -> dict[str, tuple[str, ...]]:
    """Stage -> the names of its model families."""
    return {
        "tagger": tuple(TAGGERS),
        "detector": tuple(DETECTORS),
        "segmenter": tuple(SEGMENTERS),
        "exemplar segmenter": tuple(EXEMPLAR_SEGMENTERS),
        "captioner": tuple(CAPTIONERS),
    }


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


def load_exemplar_segmenter(spec: str, device: str | None = None, dtype: str | None = None) -> ExemplarSegmenter:
    """Load a segmenter that goes by an example image and its mask, e.g. seggpt:FOLDER; see load_tagger."""
    loaded: ExemplarSegmenter = _create("exemplar segmenter", EXEMPLAR_SEGMENTERS, spec, device, dtype)
    return loaded


def load_captioner(spec: str, device: str | None = None, dtype: str | None = None) -> Captioner:
    """Load a captioner, e.g. coca:coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k; see load_tagger."""
    loaded: Captioner = _create("captioner", CAPTIONERS, spec, device, dtype)
    return loaded
