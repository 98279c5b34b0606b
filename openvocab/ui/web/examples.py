"""The example images of the tabs Chain and Prompt."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

import openvocab
from openvocab.ui.web.html_component import html_component
from openvocab.ui.web.images import thumbnail

__all__ = ["example_inputs", "examples_component"]


def examples_component(tab: str, **options: Any) -> gr.HTML:
    """Return the component with the example images, whose event `pick` carries the index of one.

    Args:
        tab: Prefix of the element ID TAB-examples.
        **options: Options of gr.HTML.
    """
    values = [
        {
            "name": scene.path.name,
            "image": thumbnail(openvocab.read_image(scene.path)),
            "labels": ", ".join(scene.labels),
        }
        for scene in openvocab.example_scenes()
    ]
    return html_component("examples", values, elem_id=f"{tab}-examples", **options)


def example_inputs(event: gr.EventData) -> tuple[str, str]:
    """Copy the picked example to the upload folder and return its path and its labels."""
    scenes = openvocab.example_scenes()
    scene = scenes[int(event.index) % len(scenes)]
    return str(save_file_to_cache(scene.path, get_upload_folder())), ", ".join(scene.labels)
