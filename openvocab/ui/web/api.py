"""API endpoints of the page: stateless calls that return JSON or a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

import openvocab
from openvocab import LabelSet, Pipeline, Prompt, Result
from openvocab.ui.web import downloads
from openvocab.ui.web.about_tab import about
from openvocab.ui.web.error_messages import error_message, report_errors
from openvocab.ui.web.events import MODEL
from openvocab.ui.web.images import file_name, image_files, image_input, read_upload
from openvocab.ui.web.tag_tab import score_files
from openvocab.ui.web.text_inputs import parse_labels, parse_template, parse_vocabulary

if TYPE_CHECKING:
    from openvocab.pipeline.protocols import ImageArray
    from openvocab.ui.web.context import Context

__all__ = ["THRESHOLDS", "Endpoints", "add_call", "answer", "build", "run_on_upload"]

THRESHOLDS = ("tag_threshold", "box_threshold", "mask_threshold", "nms_iou")


def build(context: Context) -> None:
    """Add the endpoints chain, download, tag, about and label_set to the open page."""
    endpoints = Endpoints(context)
    answer = gr.JSON(label="result", visible=False)
    one = image_input(label="image", visible=False)
    several = image_files(label="images", visible=False)
    labels, template = gr.Textbox(label="labels", visible=False), gr.Textbox("", label="template", visible=False)
    names = list(context.models.names)
    preset = gr.Dropdown(names, value=names[0], label="preset", visible=False)
    thresholds = [gr.Number(label=name, visible=False) for name in THRESHOLDS]
    file = gr.File(label="file", visible=False)
    kind = gr.Dropdown(list(downloads.FILE_TYPES), value="coco", label="kind", visible=False)
    none = gr.Checkbox(False, label="none_of_these", visible=False)
    known = gr.Dropdown(list(openvocab.label_sets()), value="pocket", label="name", visible=False)
    add_call(endpoints.chain, [one, labels, preset, template, *thresholds], answer, MODEL)
    add_call(endpoints.download, [one, labels, kind, preset, template, *thresholds], file, MODEL)
    add_call(endpoints.tag, [several, labels, template, none, preset], answer, MODEL)
    add_call(endpoints.about, [], answer, {})
    add_call(endpoints.label_set, [known], gr.JSON(label="labels", visible=False), {})


def answer(
    context: Context,
    image: str,
    vocabulary: Sequence[str] | LabelSet | Prompt,
    preset: str,
    template: str,
    thresholds: tuple[float | None, ...],
) -> Result:
    """Run the chain on an uploaded image.

    Args:
        context: Models and limits.
        image: Path of the upload.
        vocabulary: The labels, or a prompt.
        preset: Name of the preset; the page's first one where empty.
        template: The text of the template.
        thresholds: In the order of THRESHOLDS; None is the preset's.
    """
    prompts, changes = parse_template(template), dict[str, Any](zip(THRESHOLDS, thresholds, strict=True))
    return run_on_upload(context, image, preset, lambda pipe, each: pipe(each, vocabulary, template=prompts, **changes))


def run_on_upload(context: Context, image: str, preset: str, run: Callable[[Pipeline, ImageArray], Result]) -> Result:
    """Return what a preset's pipeline makes of an uploaded image, under the name of the upload."""
    pixels = read_upload(image, context.limits.pixels)
    with context.models.using(preset) as pipe:
        return replace(run(pipe, pixels), source=file_name(image))


def add_call(endpoint: Any, inputs: Sequence[Any], output: Any, options: dict[str, Any]) -> None:
    """Add an endpoint to the open page under its own name."""
    gr.Button(visible=False).click(report_errors(endpoint), inputs, [output], api_name=endpoint.__name__, **options)


@dataclass(frozen=True, eq=False, slots=True)
class Endpoints:
    """The endpoints; method names and parameters are those of the API."""

    context: Context

    def chain(
        self,
        image: str,
        labels: str,
        preset: str,
        template: str = "",
        tag_threshold: float | None = None,
        box_threshold: float | None = None,
        mask_threshold: float | None = None,
        nms_iou: float | None = None,
    ) -> dict[str, Any]:
        """Find tags, boxes and masks of labels in one image.

        Args:
            image: an uploaded image.
            labels: labels separated by commas or newlines, the name of a label set, or a label set as JSON.
            preset: the models' preset; default: the page's first one.
            template: the prompt template, with {label} in it.
            tag_threshold: minimum tag score; default: the preset's, as for the other thresholds.
            box_threshold: minimum box score.
            mask_threshold: minimum mask score.
            nms_iou: IoU threshold of non-maximum suppression per label.

        Returns:
            source, width, height; tags with scores; detections with label, scores, xyxy in pixels and mask as COCO
            run-length encoding; rejected: what verification rejected, with the reasons; run: the models and settings.
        """
        thresholds = (tag_threshold, box_threshold, mask_threshold, nms_iou)
        return self.result(image, labels, preset, template, thresholds).to_dict()

    def download(
        self,
        image: str,
        labels: str,
        kind: str,
        preset: str,
        template: str = "",
        tag_threshold: float | None = None,
        box_threshold: float | None = None,
        mask_threshold: float | None = None,
        nms_iou: float | None = None,
    ) -> str:
        """Run chain and return a file: coco, yolo, mask, image, cutouts or json.

        Args:
            image: an uploaded image.
            labels: labels separated by commas or newlines, the name of a label set, or a label set as JSON.
            kind: the file type.
            preset: the models' preset; default: the page's first one.
            template: the prompt template, with {label} in it.
            tag_threshold: minimum tag score; default: the preset's, as for the other thresholds.
            box_threshold: minimum box score.
            mask_threshold: minimum mask score.
            nms_iou: IoU threshold of non-maximum suppression per label.
        """
        thresholds = (tag_threshold, box_threshold, mask_threshold, nms_iou)
        return downloads.for_page(self.result(image, labels, preset, template, thresholds), kind)

    def result(
        self, image: str, labels: str, preset: str, template: str, thresholds: tuple[float | None, ...]
    ) -> Result:
        """Run the chain; see answer."""
        return answer(self.context, image, parse_vocabulary(labels), preset, template, thresholds)

    def tag(self, images: list[str], labels: str, template: str, none_of_these: bool, preset: str) -> dict[str, Any]:
        """Score labels for one or more images.

        Args:
            images: uploaded images.
            labels: labels separated by commas or newlines, the name of a label set, or a label set as JSON.
            template: the prompt template, with {label} in it.
            none_of_these: also score the label "none of these".
            preset: the models' preset; default: the page's first one.

        Returns:
            images, each with its name and either its labels and scores, best first, or an error message. independent
            tells whether scores are independent of each other; threshold is then the minimum score of a tag.
        """
        rows: list[dict[str, Any]] = []
        threshold: float | None = None
        for path, answer in score_files(self.context, images, labels, template, none_of_these, preset):
            if isinstance(answer, Exception):
                rows.append({"name": file_name(path), "scores": [], "error": error_message(answer)})
                continue
            _, names, threshold, scores = answer
            found = sorted(zip(names, scores.tolist(), strict=True), key=lambda pair: -pair[1])
            plain = [{"label": label, "score": round(score, 6)} for label, score in found]
            rows.append({"name": file_name(path), "scores": plain, "error": None})
        return {"independent": threshold is not None, "threshold": threshold, "images": rows}

    def about(self) -> dict[str, Any]:
        """Return the loaded and the available presets, and the label sets."""
        return about(self.context)

    def label_set(self, name: str) -> list[str]:
        """Return the labels of a label set.

        Args:
            name: a label set, as listed by about.
        """
        return list(parse_labels(name))
