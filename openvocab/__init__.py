"""openvocab turns images and words into tags, boxes and masks.

    import openvocab
    pipe = openvocab.load("pocket")
    result = pipe("scene.png", labels=["apple", "guitar", "dog"])

Everything public is named in __all__; what is costly to import is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from openvocab.errors import (
    BadInput,
    BadOutput,
    BadWeights,
    CannotWrite,
    ImageError,
    MissingExtra,
    ModelFailed,
    OpenVocabError,
    OpenVocabWarning,
    OutOfMemory,
    UnknownName,
)

if TYPE_CHECKING:
    from openvocab.batch.jobs import Loader, read_devices
    from openvocab.batch.rows import Row
    from openvocab.batch.run_folder import Run, read_run
    from openvocab.batch.run_options import RunOptions
    from openvocab.batch.workers import Workers
    from openvocab.batch.writer import Summary
    from openvocab.formats import export
    from openvocab.formats.job import Exported
    from openvocab.formats.supervision_detections import to_supervision
    from openvocab.images.read import read_image
    from openvocab.images.sources import find_images
    from openvocab.models.export.export import export_model
    from openvocab.models.graphs.record import ExportRecord
    from openvocab.models.presets import Preset, load, presets
    from openvocab.models.registry import (
        families,
        load_captioner,
        load_detector,
        load_exemplar_segmenter,
        load_segmenter,
        load_tagger,
        register_detector,
        register_segmenter,
        register_tagger,
    )
    from openvocab.pipeline.calibration import Calibration, read_calibration
    from openvocab.pipeline.detections import Detection, Detections
    from openvocab.pipeline.drawing.draw import colors_of
    from openvocab.pipeline.drawing.lettering import undrawn
    from openvocab.pipeline.examples import ExampleScene, example_scenes
    from openvocab.pipeline.explore import Encoded, Explored
    from openvocab.pipeline.label_check import label_findings
    from openvocab.pipeline.masks import EncodedMasks, decode_mask, encode_mask, mask_box
    from openvocab.pipeline.pipeline import Pipeline
    from openvocab.pipeline.prompting.prompts import exemplars_of
    from openvocab.pipeline.protocols import (
        Boxes,
        Captioner,
        Detector,
        ExemplarDetector,
        ExemplarSegmenter,
        JointScorer,
        LateFusionDetector,
        MaskDetector,
        NamingCaptioner,
        PreparingTagger,
        PromptSegmenter,
        ProposingDetector,
        Queries,
        QueryRow,
        Segmenter,
        SizedInput,
        Tagger,
        TextEmbeddings,
        TokenLimited,
        Vocabulary,
    )
    from openvocab.pipeline.result import ModelRecord, Presence, Result, RunRecord, Tag
    from openvocab.pipeline.settings import Settings
    from openvocab.pipeline.verdict import Verdict
    from openvocab.prompts.check import LabelFinding
    from openvocab.prompts.exemplars import Exemplar, Mark
    from openvocab.prompts.labels import label_sets, read_labels
    from openvocab.prompts.prompt import Prompt, read_prompt
    from openvocab.prompts.sets import LabelSet, read_label_set
    from openvocab.prompts.templates import PromptSet, prompt_set

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "BadOutput",
    "BadWeights",
    "Boxes",
    "Calibration",
    "CannotWrite",
    "Captioner",
    "Detection",
    "Detections",
    "Detector",
    "Encoded",
    "EncodedMasks",
    "ExampleScene",
    "Exemplar",
    "ExemplarDetector",
    "ExemplarSegmenter",
    "Explored",
    "ExportRecord",
    "Exported",
    "ImageError",
    "JointScorer",
    "LabelFinding",
    "LabelSet",
    "LateFusionDetector",
    "Loader",
    "Mark",
    "MaskDetector",
    "MissingExtra",
    "ModelFailed",
    "ModelRecord",
    "NamingCaptioner",
    "OpenVocabError",
    "OpenVocabWarning",
    "OutOfMemory",
    "Pipeline",
    "PreparingTagger",
    "Presence",
    "Preset",
    "Prompt",
    "PromptSegmenter",
    "PromptSet",
    "ProposingDetector",
    "Queries",
    "QueryRow",
    "Result",
    "Row",
    "Run",
    "RunOptions",
    "RunRecord",
    "Segmenter",
    "Settings",
    "SizedInput",
    "Summary",
    "Tag",
    "Tagger",
    "TextEmbeddings",
    "TokenLimited",
    "UnknownName",
    "Verdict",
    "Vocabulary",
    "Workers",
    "colors_of",
    "decode_mask",
    "encode_mask",
    "example_scenes",
    "exemplars_of",
    "export",
    "export_model",
    "families",
    "find_images",
    "label_findings",
    "label_sets",
    "load",
    "load_captioner",
    "load_detector",
    "load_exemplar_segmenter",
    "load_segmenter",
    "load_tagger",
    "mask_box",
    "presets",
    "prompt_set",
    "read_calibration",
    "read_devices",
    "read_image",
    "read_label_set",
    "read_labels",
    "read_prompt",
    "read_run",
    "register_detector",
    "register_segmenter",
    "register_tagger",
    "to_supervision",
    "undrawn",
]

_HOMES = {
    "batch.jobs": ("Loader", "read_devices"),
    "batch.rows": ("Row",),
    "batch.run_folder": ("Run", "read_run"),
    "batch.run_options": ("RunOptions",),
    "images.sources": ("find_images",),
    "batch.workers": ("Workers",),
    "batch.writer": ("Summary",),
    "pipeline.pipeline": ("Pipeline",),
    "pipeline.prompting.prompts": ("exemplars_of",),
    "pipeline.drawing.draw": ("colors_of",),
    "pipeline.examples": ("ExampleScene", "example_scenes"),
    "pipeline.explore": ("Encoded", "Explored"),
    "formats": ("export",),
    "formats.supervision_detections": ("to_supervision",),
    "formats.job": ("Exported",),
    "images.read": ("read_image",),
    "pipeline.masks": ("EncodedMasks", "decode_mask", "encode_mask", "mask_box"),
    "pipeline.drawing.lettering": ("undrawn",),
    "models.export.export": ("export_model",),
    "models.graphs.record": ("ExportRecord",),
    "models.presets": ("Preset", "load", "presets"),
    "pipeline.calibration": ("Calibration", "read_calibration"),
    "pipeline.detections": ("Detection", "Detections"),
    "pipeline.protocols": (
        "Boxes",
        "Captioner",
        "Detector",
        "ExemplarDetector",
        "ExemplarSegmenter",
        "JointScorer",
        "LateFusionDetector",
        "MaskDetector",
        "NamingCaptioner",
        "PreparingTagger",
        "PromptSegmenter",
        "ProposingDetector",
        "Queries",
        "QueryRow",
        "Segmenter",
        "SizedInput",
        "Tagger",
        "TextEmbeddings",
        "TokenLimited",
        "Vocabulary",
    ),
    "pipeline.result": ("ModelRecord", "Presence", "Result", "RunRecord", "Tag"),
    "models.registry": (
        "families",
        "load_captioner",
        "load_detector",
        "load_exemplar_segmenter",
        "load_segmenter",
        "load_tagger",
        "register_detector",
        "register_segmenter",
        "register_tagger",
    ),
    "pipeline.settings": ("Settings",),
    "pipeline.verdict": ("Verdict",),
}
_LATE = {name: f"openvocab.{home}" for home, names in _HOMES.items() for name in names} | {
    "Exemplar": "openvocab.prompts.exemplars",
    "LabelFinding": "openvocab.prompts.check",
    "LabelSet": "openvocab.prompts.sets",
    "Mark": "openvocab.prompts.exemplars",
    "Prompt": "openvocab.prompts.prompt",
    "PromptSet": "openvocab.prompts.templates",
    "label_findings": "openvocab.pipeline.label_check",
    "label_sets": "openvocab.prompts.labels",
    "prompt_set": "openvocab.prompts.templates",
    "read_label_set": "openvocab.prompts.sets",
    "read_labels": "openvocab.prompts.labels",
    "read_prompt": "openvocab.prompts.prompt",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'openvocab' has no attribute {name!r}")
    value = getattr(import_module(_LATE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
