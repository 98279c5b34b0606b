"""The built-in model families: one factory each, which imports its adapter when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

from openvocab.errors import BadInput
from openvocab.pipeline.protocols import Captioner, Detector, ExemplarSegmenter, Segmenter, Tagger

__all__ = ["CAPTIONERS", "DETECTORS", "EXEMPLAR_SEGMENTERS", "SEGMENTERS", "TAGGERS", "Factory", "Family"]

StageT = TypeVar("StageT")

Factory: TypeAlias = Callable[[str, str | None, str | None], StageT]
"""Loads a checkpoint: (what follows "FAMILY:" in the SPEC, name of the device, name of the dtype) -> stage."""

Args: TypeAlias = tuple[str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Family(Generic[StageT]):
    """One model family.

    Attributes:
        load: Loads one of its checkpoints.
        example: A SPEC with a checkpoint, if the SPEC must name one, else "".
        package: The package that the family comes from.
    """

    load: Factory[StageT]
    example: str = ""
    package: str = "openvocab"


def _open_clip(*args: *Args) -> Tagger:
    from openvocab.models.taggers.clip_tagger import OpenClipTagger

    return OpenClipTagger.load(*args)


def _clip(*args: *Args) -> Tagger:
    from openvocab.models.taggers.transformers_tagger import ClipTagger

    return ClipTagger.load(*args)


def _siglip(*args: *Args) -> Tagger:
    from openvocab.models.taggers.transformers_tagger import SiglipTagger

    return SiglipTagger.load(*args)


def _metaclip2(*args: *Args) -> Tagger:
    from openvocab.models.taggers.transformers_tagger import MetaClip2Tagger

    return MetaClip2Tagger.load(*args)


def _classifier(*args: *Args) -> Tagger:
    from openvocab.models.taggers.classifier_tagger import ClassifierTagger

    return ClassifierTagger.load(*args)


def _ram(*args: *Args) -> Tagger:
    from openvocab.models.taggers.ram_tagger import RamTagger

    return RamTagger.load(*args)


def _detr(*args: *Args) -> Detector:
    from openvocab.models.detectors.detr_detector import DetrDetector

    return DetrDetector.load(*args)


def _florence2(*args: *Args) -> Detector:
    from openvocab.models.detectors.florence2_detector import Florence2Detector

    return Florence2Detector.load(*args)


def _grounding_dino(*args: *Args) -> Detector:
    from openvocab.models.detectors.grounding_dino_detector import GroundingDinoDetector

    return GroundingDinoDetector.load(*args)


def _mm_grounding_dino(*args: *Args) -> Detector:
    from openvocab.models.detectors.grounding_dino_detector import MMGroundingDinoDetector

    return MMGroundingDinoDetector.load(*args)


def _omdet_turbo(*args: *Args) -> Detector:
    from openvocab.models.detectors.omdet_detector import OmDetDetector

    return OmDetDetector.load(*args)


def _owlv2(*args: *Args) -> Detector:
    from openvocab.models.detectors.owl_detector import Owlv2Detector

    return Owlv2Detector.load(*args)


def _owlvit(*args: *Args) -> Detector:
    from openvocab.models.detectors.owl_detector import OwlVitDetector

    return OwlVitDetector.load(*args)


def _qwen3_vl(*args: *Args) -> Detector:
    from openvocab.models.detectors.qwen3_vl_detector import Qwen3VlDetector

    return Qwen3VlDetector.load(*args)


def _sam3(*args: *Args) -> Detector:
    from openvocab.models.segmenters.sam3 import Sam3Detector

    return Sam3Detector.load(*args)


def _sam(*args: *Args) -> Segmenter[Any]:
    from openvocab.models.segmenters.sam_segmenter import SamSegmenter

    return SamSegmenter.load(*args)


def _sam_hf(*args: *Args) -> Segmenter[Any]:
    from openvocab.models.segmenters.transformers_segmenter import SamHfSegmenter

    return SamHfSegmenter.load(*args)


def _sam_hq(*args: *Args) -> Segmenter[Any]:
    from openvocab.models.segmenters.transformers_segmenter import SamHqSegmenter

    return SamHqSegmenter.load(*args)


def _sam2(*args: *Args) -> Segmenter[Any]:
    from openvocab.models.segmenters.transformers_segmenter import Sam2Segmenter

    return Sam2Segmenter.load(*args)


def _edgetam(*args: *Args) -> Segmenter[Any]:
    from openvocab.models.segmenters.transformers_segmenter import EdgeTamSegmenter

    return EdgeTamSegmenter.load(*args)


def _seggpt(*args: *Args) -> ExemplarSegmenter:
    from openvocab.models.segmenters.seggpt import SegGptSegmenter

    return SegGptSegmenter.load(*args)


def _coca(*args: *Args) -> Captioner:
    from openvocab.models.taggers.coca_captioner import CocaCaptioner

    return CocaCaptioner.load(*args)


def _florence2_captioner(*args: *Args) -> Captioner:
    from openvocab.models.taggers.florence2_captioner import Florence2Captioner

    return Florence2Captioner.load(*args)


def _exported_tagger(form: str) -> Factory[Tagger]:
    def load(folder: str, device: str | None, dtype: str | None) -> Tagger:
        from openvocab.models.graphs.taggers import load_tagger

        return load_tagger(form, folder, device, dtype)

    return load


def _exported_detector(form: str) -> Factory[Detector]:
    def load(folder: str, device: str | None, dtype: str | None) -> Detector:
        from openvocab.models.graphs.detectors import load_detector

        return load_detector(form, folder, device, dtype)

    return load


def _exported_segmenter(form: str) -> Factory[Segmenter[Any]]:
    def load(folder: str, device: str | None, dtype: str | None) -> Segmenter[Any]:
        from openvocab.models.graphs.segmenters import load_segmenter

        return load_segmenter(form, folder, device, dtype)

    return load


def _pocket(load: Callable[[], Callable[[str | None, str | None], StageT]]) -> Family[StageT]:
    def checked(checkpoint: str, device: str | None, dtype: str | None) -> StageT:
        if checkpoint:
            raise BadInput(f"'pocket:{checkpoint}': there is one embedded model a stage; write 'pocket' alone")
        return load()(device, dtype)

    return Family(checked)


def _pocket_tagger() -> Callable[[str | None, str | None], Tagger]:
    from openvocab.models.pocket.tagger import PocketTagger

    return PocketTagger.load


def _pocket_detector() -> Callable[[str | None, str | None], Detector]:
    from openvocab.models.pocket.detector import PocketDetector

    return PocketDetector.embedded


def _pocket_segmenter() -> Callable[[str | None, str | None], Segmenter[Any]]:
    from openvocab.models.pocket.segmenter import PocketSegmenter

    return PocketSegmenter.embedded


TAGGERS: Mapping[str, Family[Tagger]] = MappingProxyType(
    {
        "open_clip": Family(_open_clip, "open_clip:ViT-B-32/laion2b_s34b_b79k"),
        "clip": Family(_clip, "clip:openai/clip-vit-base-patch32"),
        "siglip": Family(_siglip, "siglip:google/siglip2-base-patch16-224"),
        "metaclip2": Family(_metaclip2, "metaclip2:facebook/metaclip-2-worldwide-huge-quickgelu"),
        "classifier": Family(_classifier, "classifier:google/vit-base-patch16-224"),
        "ram": Family(_ram, "ram:ram_plus_swin_large_14m"),
        "openvino": Family(_exported_tagger("openvino"), "openvino:FOLDER"),
        "onnx": Family(_exported_tagger("onnx"), "onnx:FOLDER"),
        "pocket": _pocket(_pocket_tagger),
    }
)
DETECTORS: Mapping[str, Family[Detector]] = MappingProxyType(
    {
        "detr": Family(_detr, "detr:facebook/detr-resnet-50"),
        "florence2": Family(_florence2, "florence2:florence-community/Florence-2-base"),
        "grounding_dino": Family(_grounding_dino, "grounding_dino:IDEA-Research/grounding-dino-tiny"),
        "mm_grounding_dino": Family(
            _mm_grounding_dino, "mm_grounding_dino:openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det"
        ),
        "omdet_turbo": Family(_omdet_turbo, "omdet_turbo:omlab/omdet-turbo-swin-tiny-hf"),
        "owlv2": Family(_owlv2, "owlv2:google/owlv2-base-patch16-ensemble"),
        "owlvit": Family(_owlvit, "owlvit:google/owlvit-base-patch32"),
        "qwen3_vl": Family(_qwen3_vl, "qwen3_vl:Qwen/Qwen3-VL-2B-Instruct"),
        "sam3": Family(_sam3, "sam3:facebook/sam3"),
        "openvino": Family(_exported_detector("openvino"), "openvino:FOLDER"),
        "onnx": Family(_exported_detector("onnx"), "onnx:FOLDER"),
        "pocket": _pocket(_pocket_detector),
    }
)
SEGMENTERS: Mapping[str, Family[Segmenter[Any]]] = MappingProxyType(
    {
        "sam": Family(_sam, "sam:vit_b@sam_vit_b_01ec64.pth"),
        "sam_hf": Family(_sam_hf, "sam_hf:facebook/sam-vit-base"),
        "sam_hq": Family(_sam_hq, "sam_hq:syscv-community/sam-hq-vit-base"),
        "sam2": Family(_sam2, "sam2:facebook/sam2.1-hiera-tiny"),
        "edgetam": Family(_edgetam, "edgetam:yonigozlan/EdgeTAM-hf"),
        "openvino": Family(_exported_segmenter("openvino"), "openvino:FOLDER"),
        "onnx": Family(_exported_segmenter("onnx"), "onnx:FOLDER"),
        "pocket": _pocket(_pocket_segmenter),
    }
)
EXEMPLAR_SEGMENTERS: Mapping[str, Family[ExemplarSegmenter]] = MappingProxyType(
    {"seggpt": Family(_seggpt, "seggpt:BAAI/seggpt-vit-large")}
)
CAPTIONERS: Mapping[str, Family[Captioner]] = MappingProxyType(
    {
        "coca": Family(_coca, "coca:coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k"),
        "florence2": Family(_florence2_captioner, "florence2:florence-community/Florence-2-base"),
    }
)
