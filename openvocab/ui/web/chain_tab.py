"""The tab Chain: an image and words in; tags, boxes and masks out, to look at, to correct and to take away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

import openvocab
from openvocab import Explored
from openvocab.ui.web import downloads
from openvocab.ui.web.asking import sentence, told
from openvocab.ui.web.events import MODEL, QUICK
from openvocab.ui.web.fields import WordFields, word_fields
from openvocab.ui.web.finding import Finding, size_of
from openvocab.ui.web.images import image_input, name_of, read_upload, thumbnail
from openvocab.ui.web.parts import part
from openvocab.ui.web.saving import download_buttons
from openvocab.ui.web.showing import LOOKING, show, steps_of
from openvocab.ui.web.words import labels_of

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["build"]

_HOUR = 3600
_UNSEEN = {"text": "Press Run to look at this image."}
SLIDERS = {
    "tag_threshold": "Tags ≥",
    "box_threshold": "Boxes ≥",
    "mask_threshold": "Masks ≥",
    "nms_iou": "Overlap ≤",
}
"""Setting -> the name of its slider."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The components that a person fills in."""

    image: gr.Image
    examples: gr.HTML
    fields: WordFields
    run: gr.Button


@dataclass(frozen=True, slots=True)
class _Outputs:
    """The components that show what was found; token is the place of the Finding in context.findings."""

    view: gr.HTML
    note: gr.HTML
    tables: gr.HTML
    sliders: list[gr.Slider]
    token: gr.State


def build(context: Context) -> tuple[gr.Button, gr.State]:
    """Lay out the tab inside the one that is open; return the button that asks for a correction, and the token."""
    with gr.Row(elem_classes="ov-columns"):
        with gr.Column(scale=5, min_width=300):
            inputs = _lay_out_inputs(context)
        with gr.Column(scale=8, min_width=300):
            outputs = _lay_out_outputs(context)
            save = download_buttons("chain")
            correct = gr.Button("Correct in Prompt", size="sm", elem_classes="ov-downloads", elem_id="chain-correct")
    chain = _Chain(context)
    _wire_inputs(chain, inputs, outputs)
    _wire_outputs(chain, outputs)
    save(chain.download, outputs.token)
    return correct, outputs.token


def _lay_out_inputs(context: Context) -> _Inputs:
    shown = [
        {
            "name": scene.path.name,
            "image": thumbnail(openvocab.read_image(scene.path)),
            "words": ", ".join(scene.labels),
        }
        for scene in openvocab.example_scenes()
    ]
    image = image_input(
        label="Image",
        height=280,
        sources=["upload", "clipboard", "webcam"],
        buttons=["fullscreen"],
        alt_text="the image chosen",
        elem_id="chain-image",
    )
    examples = part("examples", shown, elem_id="chain-examples")
    fields = word_fields("chain", "Words to look for", context.models.names)
    run = gr.Button("Run", variant="primary", size="lg", elem_id="chain-run")
    return _Inputs(image, examples, fields, run)


def _lay_out_outputs(context: Context) -> _Outputs:
    view = part("view", None, elem_id="chain-view")
    note = part("note", {"text": ""}, elem_id="chain-note")
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
    tables = part("tables", None, elem_id="chain-tables")
    token = gr.State(None, time_to_live=_HOUR, delete_callback=context.findings.drop)
    return _Outputs(view, note, tables, sliders, token)


def _wire_inputs(chain: _Chain, inputs: _Inputs, outputs: _Outputs) -> None:
    """Say what happens when something is chosen, typed or run."""
    fields = inputs.fields
    shown = [outputs.view, outputs.note, outputs.tables, outputs.token]
    run: dict[str, Any] = {
        "fn": told(chain.run),
        "inputs": [inputs.image, fields.words, fields.preset, outputs.token, *outputs.sliders],
        "outputs": shown,
        "api_visibility": "private",
        "show_progress": "hidden",
        **MODEL,
    }
    inputs.run.click(**run)
    fields.words.submit(**run)
    chosen = inputs.examples.pick(told(chain.example), None, [inputs.image, fields.words, fields.known], **QUICK)
    chosen.success(**run)
    inputs.image.input(lambda: (None, _UNSEEN, None), None, shown[:3], **QUICK)
    fields.preset.input(told(chain.defaults), [fields.preset], outputs.sliders, api_visibility="private", **MODEL)


def _wire_outputs(chain: _Chain, outputs: _Outputs) -> None:
    """Say what happens when a result is changed."""
    shown = [outputs.view, outputs.note, outputs.tables]
    gr.on(
        [slider.input for slider in outputs.sliders] + [slider.release for slider in outputs.sliders],
        told(chain.move),
        [outputs.token, *outputs.sliders],
        shown,
        trigger_mode="always_last",
        **QUICK,
    )
    outputs.tables.rename(told(chain.rename), [outputs.token], shown, **QUICK)
    outputs.tables.remove(told(chain.remove), [outputs.token], shown, **QUICK)
    outputs.tables.restore(told(chain.restore), [outputs.token], shown, **QUICK)


class _Chain:
    """The handlers of the tab."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def run(
        self, image: str | None, words: str, preset: str, token: str | None, *levels: float
    ) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Answer stage by stage; the encodings of an image that was there before are used again."""
        before = self._before(token, image, preset)
        try:
            labels = labels_of(words)
            source = before.explored.encoded if before else read_upload(image, self._context.limits.pixels)
            image_before = show(before).view if before else {}
            yield {**image_before, "steps": steps_of(None, running=True)}, LOOKING, None, token
            changes = dict(zip(SLIDERS, levels, strict=True))
            for explored, last in self._explored(source, labels, preset):
                finding = Finding(explored, name_of(image), str(image), preset, changes)
                if last:
                    token = self._context.findings.keep(finding, size_of(finding), token)
                yield *show(finding, running=not last), token
        except Exception as error:
            view, _, tables = show(before) if before else (None, None, None)
            yield view, {"text": sentence(error), "wrong": True}, tables, token
            raise

    def _explored(self, source: Any, labels: tuple[str, ...], preset: str) -> Iterator[tuple[Explored, bool]]:
        """Yield what each stage found, then the last again, with True; the models are let go of in between."""
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

    def _before(self, token: str | None, image: str | None, preset: str) -> Finding | None:
        """Return what was found in this very image by these models, if it is still held."""
        try:
            found = self._context.findings.get(token)
        except openvocab.BadInput:
            return None
        return found if (found.upload, found.preset) == (image, preset) else None

    def move(self, token: str | None, *levels: float) -> tuple[Any, Any, Any]:
        """Read the raw scores again under other thresholds."""
        if token is None:
            return gr.skip(), gr.skip(), gr.skip()
        return self._kept(token, self._context.findings.get(token).moved(**dict(zip(SLIDERS, levels, strict=True))))

    def rename(self, token: str | None, event: gr.EventData) -> tuple[Any, Any, Any]:
        """Give a detection another label."""
        found = self._context.findings.get(token)
        try:
            return self._kept(token, found.with_label(str(event.key), str(event.label)))
        except openvocab.OpenVocabError as error:
            return gr.skip(), {"text": sentence(error), "wrong": True}, show(found).tables

    def remove(self, token: str | None, event: gr.EventData) -> tuple[Any, Any, Any]:
        """Take a detection out."""
        return self._kept(token, self._context.findings.get(token).without(str(event.key)))

    def restore(self, token: str | None) -> tuple[Any, Any, Any]:
        """Undo every correction."""
        return self._kept(token, self._context.findings.get(token).as_found())

    def _kept(self, token: str | None, finding: Finding) -> tuple[Any, Any, Any]:
        self._context.findings.keep(finding, size_of(finding), token)
        return show(finding)

    def download(self, kind: str, token: str | None) -> str:
        """Write the corrected result as a file."""
        if token is None:
            raise openvocab.BadInput("there is no result yet; press Run first")
        return downloads.for_page(self._context.findings.get(token).result(), kind)

    def example(self, event: gr.EventData) -> tuple[Any, str, str]:
        """Fill in an example's image and words."""
        from gradio.processing_utils import save_file_to_cache
        from gradio.utils import get_upload_folder

        scenes = openvocab.example_scenes()
        scene = scenes[int(event.index) % len(scenes)]
        return save_file_to_cache(scene.path, get_upload_folder()), ", ".join(scene.labels), ""

    def defaults(self, preset: str) -> list[float]:
        """Return the preset's own thresholds, in the order of the sliders."""
        return [_settings(self._context, preset)[name] for name in SLIDERS]


def _settings(context: Context, preset: str) -> dict[str, float]:
    """Return where the sliders begin: at the preset's own settings; it is loaded for that."""
    with context.models.using(preset) as pipe:
        return {name: getattr(pipe.settings, name) or 0.0 for name in SLIDERS}  # None: there is no such stage
