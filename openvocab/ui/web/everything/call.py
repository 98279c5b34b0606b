"""The call everything: every object of an image, named by a label or "unknown"."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

from openvocab import Pipeline, Result
from openvocab.pipeline.everything import EverythingChoices, EverythingOptions
from openvocab.ui.web.api import add_call, run_on_upload
from openvocab.ui.web.events import MODEL
from openvocab.ui.web.images import image_input
from openvocab.ui.web.text_inputs import parse_template, parse_vocabulary

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["OPTIONS", "EverythingCall", "build"]

OPTIONS = tuple(field.name for field in fields(EverythingOptions))
"""The options, in the order of the call."""
_WHOLE = ("points", "max_objects")


@dataclass(frozen=True, eq=False, slots=True)
class EverythingCall:
    """The handler.

    Attributes:
        context: Models and limits.
    """

    context: Context

    def everything(
        self,
        image: str,
        labels: str,
        preset: str,
        template: str = "",
        min_objectness: float | None = None,
        unknown_threshold: float | None = None,
        mask_iou: float | None = None,
        points: int | None = None,
        max_objects: int | None = None,
    ) -> dict[str, Any]:
        """Segment every object of one image, and name each by a label, or "unknown" where none fits.

        Args:
            image: an uploaded image.
            labels: labels separated by commas or newlines, the name of a label set, or a label set as JSON.
            preset: the models' preset; default: the page's first one.
            template: the prompt template, with {label} in it.
            min_objectness: minimum score of a proposed object; default: the library's, as for the other options.
            unknown_threshold: objects whose best label scores less are "unknown".
            mask_iou: of two masks that overlap more, the better is kept.
            points: points along the longer side, where the detector proposes no objects.
            max_objects: maximum number of objects.

        Returns:
            as chain; the label of an object that no label fits is "unknown".
        """
        options = (min_objectness, unknown_threshold, mask_iou, points, max_objects)
        return self.result(image, labels, preset, template, options).to_dict()

    def result(self, image: str, labels: str, preset: str, template: str, options: tuple[float | None, ...]) -> Result:
        """Segment and name everything; options are in the order of OPTIONS, and None is the default."""
        vocabulary, prompts = parse_vocabulary(labels), parse_template(template)
        given = {name: value for name, value in zip(OPTIONS, options, strict=True) if value is not None}
        chosen = {name: int(value) if name in _WHOLE else value for name, value in given.items()}
        changes = cast("EverythingChoices", chosen)
        made = partial(Pipeline.everything, labels=vocabulary, template=prompts, **changes)
        return run_on_upload(self.context, image, preset, made)


def build(context: Context) -> None:
    """Add the call to the open page."""
    names = list(context.models.names)
    with gr.Row(visible=False):
        image, labels = image_input(label="image"), gr.Textbox(label="labels")
        preset = gr.Dropdown(names, value=names[0], label="preset")
        template = gr.Textbox("", label="template")
        options = [gr.Number(label=name) for name in OPTIONS]
        found, inputs = gr.JSON(label="result"), [image, labels, preset, template, *options]
        add_call(EverythingCall(context).everything, inputs, found, MODEL)
