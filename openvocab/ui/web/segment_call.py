"""The call segment_prompt: three masks of one object for points, a box, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.masks import mask_json
from openvocab.ui.web.error_messages import report_errors
from openvocab.ui.web.events import MODEL
from openvocab.ui.web.images import image_input, read_upload
from openvocab.ui.web.point_prompts import PointPrompts, parse_prompts
from openvocab.ui.web.workspace import encode, parse_name, tight_box

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["SegmentCall", "build"]

Message = dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class SegmentCall:
    """The handler.

    Attributes:
        context: Models and limits.
    """

    context: Context

    def segment(
        self,
        image: str | None,
        points: Any = None,
        point_labels: Any = None,
        box: Any = None,
        name: str | None = None,
        preset: str | None = None,
    ) -> Message:
        """Segment one object of an image: three masks for a prompt of points, a box, or both.

        Args:
            image: an uploaded image.
            points: [[x, y], ...] in pixels of the image.
            point_labels: [1, 0, ...], one per point, 1 for object and 0 for background; default: all 1.
            box: [left, top, right, bottom] in pixels of the image.
            name: label of the masks; default: "object".
            preset: the models' preset; default: the page's first one.

        Returns:
            width, height; masks: three, best first, each with label, score, xyxy in pixels (null for an empty mask) and
            mask as COCO run-length encoding.

        Raises:
            BadInput: the image or the prompt is invalid; the message states the cause.
        """
        pixels = read_upload(image, self.context.limits.pixels)
        prompts = _parse_points(points, point_labels, box, pixels)
        with self.context.models.using(preset or None) as pipe:
            masks, scores = pipe.prompt(encode(pipe, pixels), **prompts.arguments)
        return _masks_json(masks, scores, parse_name(name))


def _parse_points(points: Any, point_labels: Any, box: Any, image: NDArray[np.uint8]) -> PointPrompts:
    """Parse the prompt of an API call.

    Raises:
        BadInput: points, labels or box are invalid, or lie outside the image.
    """
    points = [] if points is None else points
    if not isinstance(points, list):
        raise BadInput("points must be a list of [x, y] in pixels of the image")
    inside = [1] * len(points) if point_labels is None else point_labels
    if not isinstance(inside, list) or len(inside) != len(points) or any(each not in (0, 1) for each in inside):
        raise BadInput(f"point_labels must be {len(points)} numbers, one per point, 1 for object and 0 for background")
    given = [{"kind": "point", "at": at, "inside": bool(on)} for at, on in zip(points, inside, strict=True)]
    if box is not None:
        given.append({"kind": "box", "xyxy": box})
    if not given:
        raise BadInput("a prompt needs a point or a box; give points as [[x, y], ...] or box as four numbers")
    height, width = image.shape[:2]
    prompts = parse_prompts(given, width, height)
    for x, y in [*points, *([] if box is None else [box[:2], box[2:]])]:
        if not (0 <= x <= width and 0 <= y <= height):
            raise BadInput(f"({x:g}, {y:g}) lies outside the image of {width} x {height} pixels; give a point in it")
    return prompts


def _masks_json(masks: NDArray[np.bool_], scores: NDArray[np.float32], name: str) -> Message:
    """Return (3, H, W) masks and their (3,) scores as JSON, best first."""

    def one(row: int) -> Message:
        return {
            "label": name,
            "score": round(float(scores[row]), 6),
            "xyxy": list(tight_box(masks[row])) if masks[row].any() else None,
            "mask": mask_json(masks[row]),
        }

    rows = np.argsort(-scores, kind="stable")
    return {"width": masks.shape[2], "height": masks.shape[1], "masks": [one(int(row)) for row in rows]}


def build(context: Context) -> None:
    """Add the endpoint to the open page."""
    with gr.Row(visible=False):
        image = image_input(label="image")
        points, point_labels, box = gr.JSON(label="points"), gr.JSON(label="point_labels"), gr.JSON(label="box")
        name, preset = gr.Textbox(label="name"), gr.Textbox(label="preset")
        found, go = gr.JSON(label="masks"), gr.Button("segment")
    go.click(
        report_errors(SegmentCall(context).segment),
        [image, points, point_labels, box, name, preset],
        found,
        api_name="segment_prompt",
        **MODEL,
    )
