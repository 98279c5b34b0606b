"""Buttons that write a result into a file and hand it to the browser at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gradio as gr

from openvocab.ui.web.asking import told
from openvocab.ui.web.downloads import KINDS
from openvocab.ui.web.events import QUICK

__all__ = ["download_buttons"]

Save = Callable[[Callable[[str, str | None], str], gr.State], None]

_SAVE = """(file) => {
  if (!file) return;
  const link = document.createElement('a');
  link.href = file.url;
  link.download = file.orig_name;
  document.body.append(link);
  link.click();
  link.remove();
}"""


def download_buttons(tab: str) -> Save:
    """Lay out one button for each kind of file, and return what says how the files are written.

    That takes a function from a kind and a token to the path of a file, and the state that holds the token.

    Args:
        tab: begins the elements' ids: TAB-downloads, TAB-get-KIND.
    """
    gr.HTML('<h3 class="ov-caption">Download</h3>', apply_default_css=False, elem_classes="ov-part ov-downloads")
    with gr.Row(elem_classes="ov-downloads", elem_id=f"{tab}-downloads"):
        buttons = {
            kind: gr.Button(each.title, size="sm", min_width=90, elem_id=f"{tab}-get-{kind}")
            for kind, each in KINDS.items()
        }
    file = gr.File(visible="hidden", elem_id=f"{tab}-file", elem_classes="ov-hidden")

    def save(write: Callable[[str, str | None], str], token: gr.State) -> None:
        for kind, button in buttons.items():
            written = button.click(told(partial(write, kind)), [token], [file], **QUICK)
            written.success(None, [file], None, js=_SAVE, api_visibility="private")

    return save
