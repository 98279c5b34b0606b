"""The fields for words, which several tabs have: free text, a count of what it means, and a choice of label sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

import openvocab
from openvocab.ui.web.asking import told
from openvocab.ui.web.events import QUICK
from openvocab.ui.web.parts import part
from openvocab.ui.web.words import labels_of, said

__all__ = ["WordFields", "word_fields"]

_OWN = "own words"


@dataclass(frozen=True, slots=True)
class WordFields:
    """The text, which alone is what a handler needs; the label set that it came from; and the choice of models."""

    words: gr.Textbox
    known: gr.Dropdown
    preset: gr.Dropdown


def word_fields(tab: str, label: str, presets: tuple[str, ...]) -> WordFields:
    """Lay out the fields and say how they follow each other.

    Args:
        tab: begins the elements' ids: TAB-words, TAB-count, TAB-set, TAB-preset.
        label: what stands over the text.
        presets: names of the presets that may be chosen.
    """
    words = gr.Textbox(
        label=label, lines=3, max_lines=6, max_length=200_000, placeholder="apple, guitar, dog", elem_id=f"{tab}-words"
    )
    count = part("note", _counted(""), elem_id=f"{tab}-count")
    sets = [(f"{name} ({size} labels)", name) for name, size in openvocab.label_sets().items()]
    with gr.Row(elem_classes="ov-choices"):
        known = gr.Dropdown([(_OWN, ""), *sets], value="", label="Label set", min_width=130, elem_id=f"{tab}-set")
        preset = gr.Dropdown(list(presets), value=presets[0], label="Models", min_width=130, elem_id=f"{tab}-preset")
    words.change(told(_counted), [words], [count], trigger_mode="always_last", **QUICK)
    words.input(lambda: "", None, [known], **QUICK)
    known.input(told(_words_of), [known], [words], **QUICK)
    return WordFields(words, known, preset)


def _counted(words: str) -> dict[str, Any]:
    text, fine = said(words)
    return {"text": text, "wrong": not fine}


def _words_of(known: str) -> str:
    return ", ".join(labels_of(known)) if known else ""
