"""The page's own Gradio components: scripts beside this file with plain JSON values.

The scripts write all text with textContent, so that no label or file name is interpreted as markup.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import gradio as gr

__all__ = ["html_component"]


def html_component(name: str, value: Any = None, **options: Any) -> gr.HTML:
    """Return the component with the script NAME.js and a root element of the class ov-NAME.

    Args:
        name: Name of the script.
        value: JSON value, documented in the script.
        **options: Options of gr.HTML.
    """
    folder = files("openvocab.ui.web")
    script = "".join(folder.joinpath(each).read_text("utf-8") for each in ("texts/strings.js", "dom.js", f"{name}.js"))
    plain: dict[str, Any] = {"apply_default_css": False, "elem_classes": "ov-part"}
    return gr.HTML(value=value, html_template=f'<div class="ov-{name}"></div>', js_on_load=script, **plain, **options)
