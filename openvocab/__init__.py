"""openvocab turns pictures and words into tags, boxes and masks.

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
    ImageError,
    MissingExtra,
    OpenVocabError,
    OpenVocabWarning,
    UnknownName,
)

if TYPE_CHECKING:
    from openvocab.pipeline.chain import Pipeline, Vocabulary
    from openvocab.pipeline.examples import ExampleScene, example_scenes
    from openvocab.pipeline.images import find_images, read_image
    from openvocab.pipeline.presets import Preset, load, presets
    from openvocab.pipeline.record import ModelRecord, Regions, Result, RunRecord, Tag
    from openvocab.pipeline.registry import families, load_detector, load_segmenter, load_tagger
    from openvocab.pipeline.settings import Settings
    from openvocab.prompts.labels import label_sets, read_labels
    from openvocab.prompts.templates import PromptSet, prompt_set

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "BadOutput",
    "BadWeights",
    "ExampleScene",
    "ImageError",
    "MissingExtra",
    "ModelRecord",
    "OpenVocabError",
    "OpenVocabWarning",
    "Pipeline",
    "Preset",
    "PromptSet",
    "Regions",
    "Result",
    "RunRecord",
    "Settings",
    "Tag",
    "UnknownName",
    "Vocabulary",
    "example_scenes",
    "families",
    "find_images",
    "label_sets",
    "load",
    "load_detector",
    "load_segmenter",
    "load_tagger",
    "presets",
    "prompt_set",
    "read_image",
    "read_labels",
]

_HOMES = {
    "chain": ("Pipeline", "Vocabulary"),
    "examples": ("ExampleScene", "example_scenes"),
    "images": ("find_images", "read_image"),
    "presets": ("Preset", "load", "presets"),
    "record": ("ModelRecord", "Regions", "Result", "RunRecord", "Tag"),
    "registry": ("families", "load_detector", "load_segmenter", "load_tagger"),
    "settings": ("Settings",),
}
_LATE = {name: f"openvocab.pipeline.{home}" for home, names in _HOMES.items() for name in names} | {
    "PromptSet": "openvocab.prompts.templates",
    "label_sets": "openvocab.prompts.labels",
    "prompt_set": "openvocab.prompts.templates",
    "read_labels": "openvocab.prompts.labels",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'openvocab' has no attribute {name!r}")
    value = getattr(import_module(_LATE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
