"""The tab Batch: images or zip files to a run folder or another tool's format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

import openvocab
from openvocab.ui.web.batch_job import FORMATS, BatchJob, BatchRequest
from openvocab.ui.web.error_messages import report_errors
from openvocab.ui.web.html_component import html_component
from openvocab.ui.web.images import image_files
from openvocab.ui.web.label_fields import label_fields
from openvocab.ui.web.lru_store import LRUStore
from openvocab.ui.web.texts import strings

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["build"]

_MAX_RUNNING = 64
"""Maximum number of batches with a working Stop button."""


def build(context: Context) -> None:
    """Lay out the tab inside the open one."""
    with gr.Row(elem_classes="ov-columns"):
        with gr.Column(scale=5, min_width=300):
            inputs = _lay_out_inputs(context)
            with gr.Row():
                run = gr.Button(strings.RUN, variant="primary", size="lg", elem_id="batch-run")
                stop = gr.Button(strings.STOP, size="lg", elem_id="batch-stop")
        with gr.Column(scale=8, min_width=300):
            view = html_component("batch", None, elem_id="batch-view")
            get = gr.DownloadButton(strings.GET_ZIP, visible="hidden", elem_id="batch-get")
    _wire(_BatchHandlers(context), inputs, run, stop, view, get)


def _lay_out_inputs(context: Context) -> list[Any]:
    limits = context.limits
    files = image_files(
        label=strings.batch_files(limits.upload_bytes / 2**20, limits.files),
        height=180,
        elem_id="batch-files",
    )
    fields = label_fields("batch", context.models.names)
    template = gr.Textbox("", label=strings.TEMPLATE, placeholder=strings.EXAMPLE_TEMPLATE, lines=1)
    tasks = [(title, name) for name, title in strings.TASKS.items()]
    task = gr.Radio(tasks, value="annotate", label=strings.TASK, elem_id="batch-task")
    choices = [(strings.FORMATS[name], name) for name in FORMATS]
    form = gr.Dropdown(choices, value="parquet", label=strings.FORMAT, elem_id="batch-format")
    draw = gr.Checkbox(label=strings.DRAW, elem_id="batch-draw")
    with gr.Accordion(strings.PROMPT_INSTEAD, open=False, elem_id="batch-prompt"):
        prompt = image_files(label=strings.PROMPT_FILE, file_types=[".json"], height=120, elem_id="batch-prompt-file")
    return [files, fields.labels, template, task, form, fields.preset, draw, prompt]


def _wire(batch: _BatchHandlers, inputs: list[Any], run: gr.Button, stop: gr.Button, view: gr.HTML, get: Any) -> None:
    """Connect the buttons and the API endpoint."""
    token = gr.State(None, time_to_live=3600, delete_callback=batch.stop)
    serial: dict[str, Any] = {"concurrency_id": "batch", "concurrency_limit": 1}
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    run.click(report_errors(batch.show), inputs, [view, get, token], **private, **serial)
    stop.click(report_errors(batch.stop), [token], None, queue=False, **private)
    with gr.Row(visible=False):
        api, answer, file = gr.Button(), gr.JSON(label="summary"), gr.File(label="zip")
    api.click(report_errors(batch.batch), inputs, [answer, file], api_name="batch", **serial)


class _BatchHandlers:
    """The handlers of the tab."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: LRUStore[BatchJob] = LRUStore(_MAX_RUNNING)

    def show(self, *inputs: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Run a batch and yield its progress."""
        job = self._start(*inputs)
        token = self._running.put(job, 1)
        for step in job.progress():
            yield step, gr.DownloadButton(value=job.file, visible=True if job.file else "hidden"), token
        self._running.discard(token)

    def stop(self, token: str | None) -> None:
        """Stop a batch after its pending images."""
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
        prompt: list[str] | None = None,
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Run the models over images and zip files; returns the progress with its errors, and a zip file.

        A prompt file stands in place of labels.
        """
        job = self._start(files, labels, template, task, format, preset, draw, prompt)
        for step in job.progress():
            yield step, job.file

    def _start(
        self,
        files: list[str],
        labels: str,
        template: str,
        task: Any,
        form: str,
        preset: str,
        draw: bool,
        prompt: list[str] | None,
    ) -> BatchJob:
        asked = (prompt or [""])[0]
        request = BatchRequest(tuple(files or ()), labels or "", template or "", task, form, preset, bool(draw), asked)
        return BatchJob(self._context, request, get_upload_folder())
