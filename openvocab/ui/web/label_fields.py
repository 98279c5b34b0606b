"""The label fields that several tabs share: free text, its label count, and a choice of label sets and models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

import openvocab
from openvocab.ui.web.error_messages import report_errors
from openvocab.ui.web.events import QUICK
from openvocab.ui.web.html_component import html_component
from openvocab.ui.web.images import paths_of
from openvocab.ui.web.label_files.read import SUFFIXES, text_of_file
from openvocab.ui.web.text_inputs import describe_labels, parse_labels
from openvocab.ui.web.texts import strings

__all__ = ["LabelFields", "label_fields"]


@dataclass(frozen=True, slots=True)
class LabelFields:
    """The components.

    Attributes:
        labels: Text that the handlers parse.
        label_set: Label set that fills in the text.
        preset: Choice of models.
    """

    labels: gr.Textbox
    label_set: gr.Dropdown
    preset: gr.Dropdown


def label_fields(tab: str, presets: tuple[str, ...], *, submits: bool = False) -> LabelFields:
    """Lay out the fields and connect them.

    Args:
        tab: Prefix of the element IDs TAB-labels, TAB-labels-file, TAB-count, TAB-set and TAB-preset.
        presets: Names of the available presets.
        submits: Whether Enter submits the labels; Shift+Enter then breaks the line.
    """
    labels = gr.Textbox(
        label=strings.LABELS,
        lines=1 if submits else 3,
        max_lines=4 if submits else 6,
        max_length=200_000,
        placeholder=strings.EXAMPLE_LABELS_ENTER if submits else strings.EXAMPLE_LABELS,
        elem_id=f"{tab}-labels",
    )
    count = html_component("note", _count_note("", presets[0]), elem_id=f"{tab}-count")
    sets = [(strings.label_set(name, size), name) for name, size in openvocab.label_sets().items()]
    with gr.Row(elem_classes="ov-choices"):
        known = gr.Dropdown(
            [(strings.OWN_LABELS, ""), *sets], value="", label=strings.LABEL_SET, min_width=130, elem_id=f"{tab}-set"
        )
        preset = gr.Dropdown(
            list(presets), value=presets[0], label=strings.MODELS, min_width=130, elem_id=f"{tab}-preset"
        )
    chosen = _file_button(tab)
    chosen.upload(report_errors(text_of_file), [chosen], [labels], **QUICK)
    gr.on(
        [labels.change, preset.change],
        report_errors(_count_note),
        [labels, preset],
        [count],
        trigger_mode="always_last",
        **QUICK,
    )
    labels.input(lambda: "", None, [known], **QUICK)
    known.input(report_errors(_labels_of_set), [known], [labels], **QUICK)
    return LabelFields(labels, known, preset)


def _file_button(tab: str) -> gr.UploadButton:
    """Lay out the choice of a file of labels."""
    title, suffixes = strings.LABELS_FROM_FILE, list(SUFFIXES)
    made = gr.UploadButton(title, file_count="multiple", file_types=suffixes, size="sm", elem_id=f"{tab}-labels-file")
    made.preprocess = paths_of  # type: ignore[method-assign]
    return made


def _count_note(text: str, preset: str) -> dict[str, Any]:
    message, valid = describe_labels(text, preset)
    return {"text": message, "wrong": not valid}


def _labels_of_set(name: str) -> str:
    return ", ".join(parse_labels(name)) if name else ""
