"""The page's own components: markup, script and style lie beside this file, and values are plain JSON.

The scripts write every text with textContent, so that no label or file name is ever read as markup.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import gradio as gr

__all__ = ["part"]


def part(name: str, value: Any = None, **options: Any) -> gr.HTML:
    """Return the component whose script is NAME.js and whose element has the class ov-NAME.

    Args:
        value: JSON, as the script reads it.
    """
    script = files("openvocab.ui.web").joinpath(f"{name}.js").read_text("utf-8")
    plain: dict[str, Any] = {"apply_default_css": False, "elem_classes": "ov-part"}
    return gr.HTML(value=value, html_template=f'<div class="ov-{name}"></div>', js_on_load=script, **plain, **options)
