"""The call prompt: a prompt file for one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from openvocab import Result
from openvocab.ui.web.api import THRESHOLDS, add_call, answer
from openvocab.ui.web.events import MODEL
from openvocab.ui.web.images import image_files, image_input
from openvocab.ui.web.saved_prompts import page_prompt

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["PromptCall", "build"]


@dataclass(frozen=True, eq=False, slots=True)
class PromptCall:
    """The handler.

    Attributes:
        context: Models and limits.
    """

    context: Context

    def prompt(
        self,
        image: str,
        prompt: list[str],
        preset: str,
        template: str = "",
        tag_threshold: float | None = None,
        box_threshold: float | None = None,
        mask_threshold: float | None = None,
        nms_iou: float | None = None,
    ) -> dict[str, Any]:
        """Find what a prompt file asks for in one image: words, exemplars, marks, and nothing that is not meant.

        Args:
            image: an uploaded image.
            prompt: an uploaded prompt file, as saved by the page or by openvocab prompt.
            preset: the models' preset; default: the page's first one.
            template: the prompt template, with {label} in it.
            tag_threshold: minimum tag score; default: the preset's, as for the other thresholds.
            box_threshold: minimum box score.
            mask_threshold: minimum mask score.
            nms_iou: IoU threshold of non-maximum suppression per label.

        Returns:
            as chain; run.prompt is the digest of the prompt.
        """
        thresholds = (tag_threshold, box_threshold, mask_threshold, nms_iou)
        return self.result(image, prompt, preset, template, thresholds).to_dict()

    def result(
        self, image: str, prompt: list[str], preset: str, template: str, thresholds: tuple[float | None, ...]
    ) -> Result:
        """Run the chain; see api.answer."""
        found = page_prompt.read_upload(prompt, self.context.limits.pixels)
        return answer(self.context, image, found, preset, template, thresholds)


def build(context: Context) -> None:
    """Add the call to the open page."""
    names = list(context.models.names)
    with gr.Row(visible=False):
        image, file = image_input(label="image"), image_files(label="prompt")
        preset = gr.Dropdown(names, value=names[0], label="preset")
        template = gr.Textbox("", label="template")
        thresholds = [gr.Number(label=name) for name in THRESHOLDS]
        found, inputs = gr.JSON(label="result"), [image, file, preset, template, *thresholds]
        add_call(PromptCall(context).prompt, inputs, found, MODEL)
