"""The tab Workspace: words find objects, clicks and boxes add them, and all of them are corrected in one canvas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from openvocab.ui.web.canvas_messages import canvas
from openvocab.ui.web.download_buttons import download_buttons
from openvocab.ui.web.error_messages import report_errors
from openvocab.ui.web.events import MODEL, QUICK
from openvocab.ui.web.examples import example_inputs, examples_component
from openvocab.ui.web.html_component import html_component
from openvocab.ui.web.images import image_input
from openvocab.ui.web.label_fields import LabelFields, label_fields
from openvocab.ui.web.saved_prompts.panel import PromptPanel, prompt_panel
from openvocab.ui.web.strip.component import export_of_the_run, strip, upload_button, wire_strip, wire_upload
from openvocab.ui.web.strip.handlers import StripHandlers
from openvocab.ui.web.texts import strings
from openvocab.ui.web.workspace_handlers import SLIDERS, WorkspaceHandlers

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["build"]

_PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_TELL = "() => document.querySelectorAll('#work-canvas .cv').forEach(each => each.dispatchEvent(new Event('{}')))"
_REQUEST_FAILED = _TELL.format("cv-busy")
"""Tells the canvas that a request was rejected, for example because the queue is full."""
_NOT_OPENED = _TELL.format("cv-stays")
"""Tells the canvas that no image is opened."""
_IMAGE = "(image, ...more) => [document.querySelector('#work-canvas .cv').dataset.removed ? null : image, ...more]"
"""Leaves an image out that was just removed: Gradio still sends it."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """The components; token holds the key of the workspace in context.workspaces."""

    image: gr.Image
    examples: gr.HTML
    fields: LabelFields
    run: gr.Button
    canvas: gr.HTML
    note: gr.HTML
    sliders: list[gr.Slider]
    token: gr.State
    strip: gr.HTML
    files: gr.UploadButton


def build(context: Context) -> None:
    """Lay out the tab inside the open one."""
    handlers = WorkspaceHandlers(context)
    parts = _lay_out(context, handlers)
    connect_downloads = download_buttons("work")
    ran = _wire_run(handlers, parts, prompt_panel(context, handlers, parts.fields.labels, parts.token))
    _wire_edits(handlers, parts)
    connect_downloads(handlers.download, parts.token)
    folder, fields = StripHandlers(context, handlers), parts.fields
    outputs = [parts.canvas, parts.note, parts.token, parts.image, fields.labels, *parts.sliders]
    inputs = [parts.token, fields.labels, fields.preset, *parts.sliders]
    wire_strip(folder, parts.strip, inputs, outputs, ran)
    wire_upload(folder, parts.files, parts.strip, parts.note)
    export_of_the_run(folder, parts.strip, uploads=context.served is None)


def _lay_out(context: Context, handlers: WorkspaceHandlers) -> _Parts:
    with gr.Row(elem_classes="ov-inputs"):
        with gr.Column(scale=2, min_width=190):
            image = image_input(
                label=strings.IMAGE,
                height=86 if context.served is None else 112,
                show_label=False,
                sources=["upload", "clipboard", "webcam"],
                buttons=[],
                alt_text=strings.CHOSEN_IMAGE,
                elem_id="work-image",
            )
            files = upload_button(context)
        with gr.Column(scale=3, min_width=240, visible=context.served is None):
            examples = examples_component("work")
        with gr.Column(scale=9, min_width=300):
            fields = label_fields("work", context.models.names, submits=True)
        with gr.Column(scale=1, min_width=100):
            run = gr.Button(strings.RUN, variant="primary", size="lg", elem_id="work-run")
    images = strip(served=context.served is not None, elem_id="work-folder", elem_classes="ov-part")
    note = html_component("note", {"text": ""}, elem_id="work-note")
    with gr.Column(elem_classes="ov-work"):
        shown = canvas(elem_id="work-canvas", elem_classes="ov-part")
        with gr.Group(elem_classes="ov-sliders"), gr.Row():
            defaults = handlers.defaults(context.models.names[0])
            sliders = [_slider(name, value) for name, value in zip(SLIDERS, defaults, strict=True)]
    token = gr.State(None, delete_callback=context.workspaces.discard)
    return _Parts(image, examples, fields, run, shown, note, sliders, token, images, files)


def _slider(name: str, value: float) -> gr.Slider:
    title, slug = strings.SLIDERS[name], f"work-{name.replace('_', '-')}"
    made = gr.Slider(0, 1, value, step=0.01, label=title, min_width=130, buttons=[], elem_id=slug)
    made.preprocess = _within  # type: ignore[assignment, method-assign]
    return made


def _within(value: float | None) -> float:
    """Return a typed number as the slider shows it once it is left: within 0 to 1, and 0 for an empty field."""
    return min(max(float(value or 0), 0.0), 1.0)


def _wire_run(handlers: WorkspaceHandlers, parts: _Parts, prompts: PromptPanel) -> tuple[Any, ...]:
    """Connect the input components, and return the events that run the models."""
    fields, results = parts.fields, [parts.canvas, parts.note, parts.token]
    run: dict[str, Any] = {
        "fn": report_errors(prompts.handlers.run),
        "inputs": [parts.image, fields.labels, fields.preset, parts.token, *prompts.inputs, *parts.sliders],
        "outputs": results,
        **_PRIVATE,
        **MODEL,
    }
    failed: dict[str, Any] = {"fn": None, "js": _NOT_OPENED, "api_visibility": "private"}
    ran = parts.run.click(**run), fields.labels.submit(**run)
    chosen = parts.examples.pick(report_errors(_example), None, [parts.image, fields.labels, fields.label_set], **QUICK)
    chosen.success(**{**run, "fn": report_errors(prompts.handlers.run_chosen)}).failure(**failed)
    opened = [parts.image, fields.preset, parts.token]
    open_ = report_errors(handlers.open)
    parts.image.input(open_, opened, results, js=_IMAGE, **_PRIVATE, **MODEL).failure(**failed)
    fields.preset.input(report_errors(handlers.defaults), [fields.preset], parts.sliders, **_PRIVATE, **MODEL)
    return ran


def _wire_edits(handlers: WorkspaceHandlers, parts: _Parts) -> None:
    """Connect the canvas and the sliders."""
    gr.on(
        [slider.input for slider in parts.sliders] + [slider.release for slider in parts.sliders],
        report_errors(handlers.set_thresholds),
        [parts.token, *parts.sliders],
        [parts.canvas, parts.note],
        trigger_mode="always_last",
        **QUICK,
    )
    for event, handler, options in (
        (parts.canvas.act, handlers.act, {**_PRIVATE, **MODEL}),
        (parts.canvas.edit, handlers.edit, QUICK),
    ):
        acted = event(handler, [parts.token], [parts.canvas], trigger_mode="multiple", **options)
        acted.failure(None, js=_REQUEST_FAILED, api_visibility="private")
    again = [parts.canvas, parts.note, parts.token, parts.fields.labels, parts.fields.preset, *parts.sliders]
    parts.canvas.reopen(report_errors(handlers.reopen), None, again, **QUICK)


def _example(event: gr.EventData) -> tuple[Any, str, str]:
    """Fill in an example's image and labels."""
    return *example_inputs(event), ""
