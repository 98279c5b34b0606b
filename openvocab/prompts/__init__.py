"""Labels and prompt templates, checked when they are read."""

from __future__ import annotations

from openvocab.prompts.exemplars import Exemplar, Mark
from openvocab.prompts.labels import (
    check_context,
    check_labels,
    check_threshold,
    label_set,
    label_sets,
    read_labels,
)
from openvocab.prompts.prompt import Prompt, read_prompt
from openvocab.prompts.sets import LabelSet, read_label_set
from openvocab.prompts.templates import PromptSet, prompt_set, prompt_sets

__all__ = [
    "Exemplar",
    "LabelSet",
    "Mark",
    "Prompt",
    "PromptSet",
    "check_context",
    "check_labels",
    "check_threshold",
    "label_set",
    "label_sets",
    "prompt_set",
    "prompt_sets",
    "read_label_set",
    "read_labels",
    "read_prompt",
]
