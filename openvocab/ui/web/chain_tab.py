"""The tab Chain: an image and labels in; tags, boxes and masks out, with corrections and downloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

import openvocab
from openvocab import Explored
from openvocab.pipeline.settings import SettingChanges
from openvocab.ui.web import downloads
from openvocab.ui.web.corrections import CorrectedResult
from openvocab.ui.web.download_buttons import download_buttons
from openvocab.ui.web.error_messages import error_message, report_errors
from openvocab.ui.web.events import MODEL, QUICK
from openvocab.ui.web.examples import example_inputs, examples_component
from openvocab.ui.web.html_component import html_component
from openvocab.ui.web.images import file_name, image_input, read_upload
from openvocab.ui.web.label_fields import LabelFields, label_fields
from openvocab.ui.web.text_inputs import parse_labels
from openvocab.ui.web.view_models import RUNNING, chain_view, stage_steps

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["build"]

_HOUR = 3600
_NOT_RUN = {"text": "Press Run to process this image."}
SLIDERS = {
    "tag_threshold": "Tags ≥",
    "box_threshold": "Boxes ≥",
    "mask_threshold": "Masks ≥",
    "nms_iou": "NMS IoU ≤",
}
"""Setting -> title of its slider."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The input components."""

    image: gr.Image
    examples: gr.HTML
    fields: LabelFields
    run: gr.Button


@dataclass(frozen=True, slots=True)
class _Outputs:
    """The output components; token holds the key of the result in context.results."""

    view: gr.HTML
    note: gr.HTML
    tables: gr.HTML
    sliders: list[gr.Slider]
    token: gr.State


def build(context: Context) -> tuple[gr.Button, gr.State]:
    """Lay out the tab inside the open one; return the button "Correct in Prompt" and the token of the result."""
    with gr.Row(elem_classes="ov-columns"):
        with gr.Column(scale=5, min_width=300):
            inputs = _lay_out_inputs(context)
        with gr.Column(scale=8, min_width=300):
            outputs = _lay_out_outputs(context)
            connect_downloads = download_buttons("chain")
            correct = gr.Button("Correct in Prompt", size="sm", elem_classes="ov-downloads", elem_id="chain-correct")
    chain = _ChainHandlers(context)
    _wire_inputs(chain, inputs, outputs)
    _wire_outputs(chain, outputs)
    connect_downloads(chain.download, outputs.token)
    return correct, outputs.token


def _lay_out_inputs(context: Context) -> _Inputs:
    image = image_input(
        label="Image",
        height=280,
        sources=["upload", "clipboard", "webcam"],
        buttons=["fullscreen"],
        alt_text="the chosen image",
        elem_id="chain-image",
    )
    examples = examples_component("chain")
    fields = label_fields("chain", context.models.names)
    run = gr.Button("Run", variant="primary", size="lg", elem_id="chain-run")
    return _Inputs(image, examples, fields, run)


def _lay_out_outputs(context: Context) -> _Outputs:
    view = html_component("view", None, elem_id="chain-view")
    note = html_component("note", {"text": ""}, elem_id="chain-note")
    settings = _settings(context, context.models.names[0])
    with gr.Group(elem_classes="ov-sliders"), gr.Row():
        sliders = [
            gr.Slider(
                0,
                1,
                settings[name],
                step=0.01,
                label=title,
                min_width=130,
                buttons=[],
                elem_id=f"chain-{name.replace('_', '-')}",
            )
            for name, title in SLIDERS.items()
        ]
    tables = html_component("tables", None, elem_id="chain-tables")
    token = gr.State(None, time_to_live=_HOUR, delete_callback=context.results.discard)
    return _Outputs(view, note, tables, sliders, token)


def _wire_inputs(chain: _ChainHandlers, inputs: _Inputs, outputs: _Outputs) -> None:
    """Connect the input components."""
    fields = inputs.fields
    results = [outputs.view, outputs.note, outputs.tables, outputs.token]
    run: dict[str, Any] = {
        "fn": report_errors(chain.run),
        "inputs": [inputs.image, fields.labels, fields.preset, outputs.token, *outputs.sliders],
        "outputs": results,
        "api_visibility": "private",
        "show_progress": "hidden",
        **MODEL,
    }
    inputs.run.click(**run)
    fields.labels.submit(**run)
    chosen = inputs.examples.pick(
        report_errors(chain.example), None, [inputs.image, fields.labels, fields.label_set], **QUICK
    )
    chosen.success(**run)
    inputs.image.input(lambda: (None, _NOT_RUN, None), None, results[:3], **QUICK)
    fields.preset.input(
        report_errors(chain.defaults), [fields.preset], outputs.sliders, api_visibility="private", **MODEL
    )


def _wire_outputs(chain: _ChainHandlers, outputs: _Outputs) -> None:
    """Connect the output components."""
    results = [outputs.view, outputs.note, outputs.tables]
    gr.on(
        [slider.input for slider in outputs.sliders] + [slider.release for slider in outputs.sliders],
        report_errors(chain.set_thresholds),
        [outputs.token, *outputs.sliders],
        results,
        trigger_mode="always_last",
        **QUICK,
    )
    outputs.tables.rename(report_errors(chain.rename), [outputs.token], results, **QUICK)
    outputs.tables.remove(report_errors(chain.remove), [outputs.token], results, **QUICK)
    outputs.tables.restore(report_errors(chain.restore), [outputs.token], results, **QUICK)


class _ChainHandlers:
    """The handlers of the tab."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def run(
        self, image: str | None, text: str, preset: str, token: str | None, *thresholds: float
    ) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Yield the results stage by stage; the encodings of the previous image are reused if it is the same."""
        previous = self._previous(token, image, preset)
        try:
            labels = parse_labels(text)
            source = previous.explored.encoded if previous else read_upload(image, self._context.limits.pixels)
            previous_view = chain_view(previous).view if previous else {}
            yield {**previous_view, "steps": stage_steps(None, running=True)}, RUNNING, None, token
            chosen = _slider_settings(thresholds)
            for explored, last in self._explore(source, labels, preset):
                corrected = CorrectedResult(explored, file_name(image), str(image), preset, chosen)
                if last:
                    token = self._context.results.put(corrected, corrected.nbytes, token)
                yield *chain_view(corrected, running=not last), token
        except Exception as error:
            view, _, tables = chain_view(previous) if previous else (None, None, None)
            yield view, {"text": error_message(error), "wrong": True}, tables, token
            raise

    def _explore(self, source: Any, labels: tuple[str, ...], preset: str) -> Iterator[tuple[Explored, bool]]:
        """Yield the result of each stage, then the last one again with True; the models are unlocked in between."""
        with self._context.models.using(preset) as pipe:
            steps = pipe.explore(source, labels)
            explored = next(steps)
        following: Explored | None = explored
        while following is not None:
            explored = following
            yield explored, False
            with self._context.models.using(preset):
                following = next(steps, None)
        yield explored, True

    def _previous(self, token: str | None, image: str | None, preset: str) -> CorrectedResult | None:
        """Return the previous result if it is of the same image and preset and still stored."""
        try:
            found = self._context.results.get(token)
        except openvocab.BadInput:
            return None
        return found if (found.upload, found.preset) == (image, preset) else None

    def set_thresholds(self, token: str | None, *thresholds: float) -> tuple[Any, Any, Any]:
        """Apply other thresholds to the raw scores."""
        if token is None:
            return gr.skip(), gr.skip(), gr.skip()
        chosen = _slider_settings(thresholds)
        return self._replace(token, self._context.results.get(token).with_thresholds(**chosen))

    def rename(self, token: str | None, event: gr.EventData) -> tuple[Any, Any, Any]:
        """Rename a detection."""
        found = self._context.results.get(token)
        try:
            return self._replace(token, found.rename(str(event.key), str(event.label)))
        except openvocab.OpenVocabError as error:
            return gr.skip(), {"text": error_message(error), "wrong": True}, chain_view(found).tables

    def remove(self, token: str | None, event: gr.EventData) -> tuple[Any, Any, Any]:
        """Remove a detection."""
        return self._replace(token, self._context.results.get(token).remove(str(event.key)))

    def restore(self, token: str | None) -> tuple[Any, Any, Any]:
        """Revert all corrections."""
        return self._replace(token, self._context.results.get(token).without_corrections())

    def _replace(self, token: str | None, corrected: CorrectedResult) -> tuple[Any, Any, Any]:
        self._context.results.put(corrected, corrected.nbytes, token)
        return chain_view(corrected)

    def download(self, kind: str, token: str | None) -> str:
        """Write the corrected result to a file."""
        if token is None:
            raise openvocab.BadInput("there is no result yet; press Run first")
        return downloads.for_page(self._context.results.get(token).result(), kind)

    def example(self, event: gr.EventData) -> tuple[Any, str, str]:
        """Fill in an example's image and labels."""
        return *example_inputs(event), ""

    def defaults(self, preset: str) -> list[float]:
        """Return the preset's thresholds in the order of the sliders."""
        return [_settings(self._context, preset)[name] for name in SLIDERS]


def _settings(context: Context, preset: str) -> dict[str, float]:
    """Load a preset and return its thresholds, the initial values of the sliders."""
    with context.models.using(preset) as pipe:
        return {name: getattr(pipe.settings, name) or 0.0 for name in SLIDERS}  # None: there is no such stage


def _slider_settings(thresholds: Sequence[float]) -> SettingChanges:
    """Return the settings that the sliders show, for their values in order."""
    return cast("SettingChanges", dict(zip(SLIDERS, thresholds, strict=True)))
