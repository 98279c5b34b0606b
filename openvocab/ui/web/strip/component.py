"""The strip of a folder above the workspace, its upload, its thumbnails, and the download of the whole run."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi.responses import PlainTextResponse, Response

from openvocab.errors import ImageError, OpenVocabError
from openvocab.ui.web.batch_job import FORMATS
from openvocab.ui.web.download_buttons import DOWNLOAD
from openvocab.ui.web.error_messages import error_message, report_errors
from openvocab.ui.web.events import MODEL, QUICK
from openvocab.ui.web.images import paths_of
from openvocab.ui.web.strip.handlers import StripHandlers
from openvocab.ui.web.texts import strings

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["export_of_the_run", "strip", "thumbnails", "upload_button", "wire_strip", "wire_upload"]

_LOAD = """// Gradio reads the name of the event here: 'go'.
import(new URL("strip/strip.js", document.baseURI))
  .then((module) => module.mount({ element, props, trigger, watch }));"""

_REQUEST_FAILED = (
    "() => document.querySelectorAll('#work-folder .st').forEach(each => each.dispatchEvent(new Event('st-refused')))"
)
"""Tells the strip that a request was rejected, for example because the queue is full."""


def strip(*, served: bool, **options: Any) -> gr.HTML:
    """Return the component. Its event `go` carries the visitor's action; its value is the strip.

    Args:
        served: Whether the page has a folder from the start.
        **options: Options of gr.HTML.
    """
    folder = files("openvocab.ui.web.strip")
    html, css = ((folder / name).read_text("utf-8") for name in ("strip.html", "strip.css"))
    plain: dict[str, Any] = {"js_on_load": _LOAD, "apply_default_css": False, **options}
    return gr.HTML(value={"served": served}, html_template=html, css_template=css, **plain)


def wire_strip(
    handlers: StripHandlers, shown: gr.HTML, inputs: list[Any], outputs: list[Any], ran: tuple[Any, ...]
) -> None:
    """Connect the strip.

    Args:
        handlers: The handlers.
        shown: The strip.
        inputs: Token, words, preset and sliders.
        outputs: Canvas, note, token, image, words and sliders.
        ran: Events after which the status of the open image may be another.
    """
    private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    went = shown.go(report_errors(handlers.go), inputs, [shown, *outputs], trigger_mode="multiple", **private, **MODEL)
    went.failure(None, js=_REQUEST_FAILED, api_visibility="private")
    for event in ran:
        event.then(report_errors(handlers.refresh), inputs[:1], [shown], **QUICK)


def upload_button(context: Context) -> gr.UploadButton:
    """Lay out the choice of several images or archives."""
    shown = context.served is None
    title = strings.SEVERAL_IMAGES
    made = gr.UploadButton(title, file_count="multiple", size="sm", visible=shown, elem_id="work-files")
    made.preprocess = paths_of  # type: ignore[method-assign]
    return made


def wire_upload(handlers: StripHandlers, chosen: gr.UploadButton, shown: gr.HTML, note: gr.HTML) -> None:
    """Connect the choice: its images become the folder of the strip."""
    options: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", "concurrency_id": "upload"}
    chosen.upload(report_errors(handlers.upload), [chosen], [shown, note], **options, concurrency_limit=2)


def export_of_the_run(handlers: StripHandlers, shown: gr.HTML, *, uploads: bool) -> None:
    """Lay out the download of the run with its corrections, and connect it.

    Args:
        handlers: The handlers.
        shown: The strip.
        uploads: Whether the folder is an upload, so that its images can be downloaded too.
    """
    title = f'<h2 class="ov-caption">{strings.DOWNLOAD_FOLDER}</h2>'
    gr.HTML(title, apply_default_css=False, elem_classes="ov-part ov-export")
    choices = [(strings.FORMATS[name], name) for name in FORMATS if name != "parquet"]
    whole = [(strings.WHOLE_FOLDER, "parquet")] if uploads else []
    with gr.Row(elem_classes="ov-export"):
        kind = gr.Dropdown(
            choices + whole, value="yolo-seg", label=strings.FORMAT, min_width=200, elem_id="folder-format"
        )
        button = gr.Button(strings.DOWNLOAD, min_width=120, elem_id="folder-export")
    file = gr.File(visible="hidden", elem_id="folder-file", elem_classes="ov-hidden")
    written = button.click(report_errors(handlers.export), [kind, shown], [file, shown], **QUICK)
    written.success(None, [file], None, js=DOWNLOAD, api_visibility="private")


def thumbnails(context: Context) -> Any:
    """Return the handler of /folder/thumbnail/KEY."""

    def thumbnail(key: str) -> Response:
        try:
            data = context.folder_of(key).thumbnail(key)
        except OpenVocabError as error:
            status = 422 if isinstance(error, ImageError) else 404
            return PlainTextResponse(error_message(error), status)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    return thumbnail
