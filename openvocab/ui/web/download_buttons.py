"""Buttons that export a result and download the file at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gradio as gr

from openvocab.ui.web.downloads import FILE_TYPES
from openvocab.ui.web.error_messages import report_errors
from openvocab.ui.web.events import QUICK
from openvocab.ui.web.texts import strings

__all__ = ["DOWNLOAD", "download_buttons"]

Connect = Callable[[Callable[[str, str | None], str], gr.State], None]

DOWNLOAD = """(file) => {
  if (!file) return;
  const link = document.createElement('a');
  link.href = file.url;
  link.download = file.orig_name;
  document.body.append(link);
  link.click();
  link.remove();
}"""
"""Downloads the file of a component in the browser."""


def download_buttons(tab: str) -> Connect:
    """Lay out one button per file type and return a function that connects them.

    The returned function takes a handler, which maps a file type and a token to the path of a file, and the state that
    holds the token.

    Args:
        tab: Prefix of the element IDs TAB-downloads and TAB-get-TYPE.
    """
    gr.HTML(
        f'<h2 class="ov-caption">{strings.DOWNLOAD}</h2>', apply_default_css=False, elem_classes="ov-part ov-downloads"
    )
    with gr.Row(elem_classes="ov-downloads", elem_id=f"{tab}-downloads"):
        buttons = {
            name: gr.Button(strings.FILE_TYPES[name], size="sm", min_width=90, elem_id=f"{tab}-get-{name}")
            for name in FILE_TYPES
        }
    file = gr.File(visible="hidden", elem_id=f"{tab}-file", elem_classes="ov-hidden")

    def connect(write: Callable[[str, str | None], str], token: gr.State) -> None:
        for name, button in buttons.items():
            written = button.click(report_errors(partial(write, name)), [token], [file], **QUICK)
            written.success(None, [file], None, js=DOWNLOAD, api_visibility="private")

    return connect
