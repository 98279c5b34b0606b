"""The tab Batch: many images or a zip file in, a run folder or the format of another tool out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

import openvocab
from openvocab.ui.web.asking import told
from openvocab.ui.web.batching import FORMATS, Order, Work
from openvocab.ui.web.fields import word_fields
from openvocab.ui.web.held import Held
from openvocab.ui.web.images import image_files
from openvocab.ui.web.parts import part

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["build"]

_TASKS = [("Find, box and cut out", "annotate"), ("Tag whole images", "tag")]
_RUNNING = 64
"""Batches that can be stopped; the oldest is forgotten first."""


def build(context: Context) -> None:
    """Lay out the tab inside the one that is open."""
    with gr.Row(elem_classes="ov-columns"):
        with gr.Column(scale=5, min_width=300):
            inputs = _lay_out_inputs(context)
            with gr.Row():
                run = gr.Button("Run", variant="primary", size="lg", elem_id="batch-run")
                stop = gr.Button("Stop", size="lg", elem_id="batch-stop")
        with gr.Column(scale=8, min_width=300):
            view = part("batch", None, elem_id="batch-view")
            get = gr.DownloadButton("Download the zip", visible="hidden", elem_id="batch-get")
    _wire(_Batch(context), inputs, run, stop, view, get)


def _lay_out_inputs(context: Context) -> list[Any]:
    limits = context.limits
    files = image_files(
        label=f"Images or zip files, {limits.upload_bytes / 2**20:.0f} MB each, {limits.files} images at most",
        height=180,
        elem_id="batch-files",
    )
    fields = word_fields("batch", "Words to look for", context.models.names)
    template = gr.Textbox("", label="Sentence around each label", placeholder="This is a photo of a {label}", lines=1)
    task = gr.Radio(_TASKS, value="annotate", label="What to do", elem_id="batch-task")
    shown = [(title, name) for name, (title, _) in FORMATS.items()]
    form = gr.Dropdown(shown, value="parquet", label="Format", elem_id="batch-format")
    draw = gr.Checkbox(label="Also images with the detections drawn on them", elem_id="batch-draw")
    return [files, fields.words, template, task, form, fields.preset, draw]


def _wire(batch: _Batch, inputs: list[Any], run: gr.Button, stop: gr.Button, view: gr.HTML, get: Any) -> None:
    """Say what the buttons do, and the same for the API."""
    token = gr.State(None, time_to_live=3600, delete_callback=batch.stop)
    one: dict[str, Any] = {"concurrency_id": "batch", "concurrency_limit": 1}
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    run.click(told(batch.show), inputs, [view, get, token], **private, **one)
    stop.click(told(batch.stop), [token], None, queue=False, **private)
    with gr.Row(visible=False):
        api, answer, file = gr.Button(), gr.JSON(), gr.File()
    api.click(told(batch.batch), inputs, [answer, file], api_name="batch", **one)


class _Batch:
    """The handlers of the tab."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: Held[Work] = Held(_RUNNING)

    def show(self, *asked: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Run a batch, telling how far it is."""
        work = self._begin(*asked)
        token = self._running.keep(work, 1)
        for step in work.steps():
            yield step, gr.DownloadButton(value=work.file, visible=True if work.file else "hidden"), token
        self._running.drop(token)

    def stop(self, token: str | None) -> None:
        """End a batch after the images in hand."""
        try:
            self._running.get(token).stop()
        except openvocab.BadInput:
            return

    def batch(
        self,
        files: list[str],
        labels: str,
        template: str = "",
        task: str = "annotate",
        format: str = "parquet",  # noqa: A002
        preset: str = "",
        draw: bool = False,
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Run the models over images and zip files; the answer is the count with its errors, and a zip file."""
        work = self._begin(files, labels, template, task, format, preset, draw)
        for step in work.steps():
            yield step, work.file

    def _begin(
        self,
        files: list[str],
        labels: str,
        template: str,
        task: Any,
        form: str,
        preset: str,
        draw: bool,
    ) -> Work:
        order = Order(tuple(files or ()), labels, template or "", task, form, preset, bool(draw))
        return Work(self._context, order, get_upload_folder())
