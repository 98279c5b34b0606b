"""What programs can ask of the page by name: one call each, nothing kept, plain JSON or a file as the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

import openvocab
from openvocab import Result
from openvocab.ui.web import downloads
from openvocab.ui.web.about_tab import about
from openvocab.ui.web.asking import sentence, told
from openvocab.ui.web.events import MODEL
from openvocab.ui.web.images import image_files, image_input, name_of, read_upload
from openvocab.ui.web.tag_tab import score_files
from openvocab.ui.web.words import labels_of, template_of

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["build"]

_LEVELS = ("tag_threshold", "box_threshold", "mask_threshold", "nms_iou")


def build(context: Context) -> None:
    """Add the named actions chain, download, tag, about and label_set to the page that is open."""
    actions = _Actions(context)
    answer = gr.JSON(label="result", visible=False)
    one = image_input(label="image", visible=False)
    several = image_files(label="images", visible=False)
    labels, template = gr.Textbox(label="labels", visible=False), gr.Textbox("", label="template", visible=False)
    names = list(context.models.names)
    preset = gr.Dropdown(names, value=names[0], label="preset", visible=False)
    levels = [gr.Number(label=name, visible=False) for name in _LEVELS]
    kind = gr.Dropdown(list(downloads.KINDS), value="coco", label="kind", visible=False)
    none = gr.Checkbox(False, label="none_of_these", visible=False)
    known = gr.Dropdown(list(openvocab.label_sets()), value="pocket", label="name", visible=False)
    _offer(actions.chain, [one, labels, preset, template, *levels], answer, MODEL)
    _offer(
        actions.download, [one, labels, kind, preset, template, *levels], gr.File(label="file", visible=False), MODEL
    )
    _offer(actions.tag, [several, labels, template, none, preset], answer, MODEL)
    _offer(actions.about, [], answer, {})
    _offer(actions.label_set, [known], gr.JSON(label="labels", visible=False), {})


def _offer(action: Any, inputs: list[Any], output: Any, options: dict[str, Any]) -> None:
    gr.Button(visible=False).click(told(action), inputs, [output], api_name=action.__name__, **options)


@dataclass(frozen=True, eq=False, slots=True)
class _Actions:
    """The actions; their names and parameters are the API's."""

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
        """Find, box and cut out what the labels name in one image.

        Args:
            image: an uploaded image.
            labels: words with commas or line ends between them, or the name of a label set.
            preset: the models; the page's first where not given.
            template: the sentence around each label, with {label} in it.
            tag_threshold: drop tags that score less; the preset's own where not given, as for the others.
            box_threshold: drop boxes that score less.
            mask_threshold: drop detections whose mask scores less.
            nms_iou: of two boxes of one label that overlap more, keep the better.

        Returns:
            source, width, height; tags with scores; detections with label, scores, xyxy in pixels and mask as COCO
            run-length encoding; run: the models and settings.
        """
        levels = (tag_threshold, box_threshold, mask_threshold, nms_iou)
        return self._result(image, labels, preset, template, levels).to_dict()

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
        """Do what chain does, and return a file: coco, yolo, mask, image, cutouts or json.

        Args:
            image: an uploaded image.
            labels: words with commas or line ends between them, or the name of a label set.
            kind: the kind of file.
            preset: the models; the page's first where not given.
            template: the sentence around each label, with {label} in it.
            tag_threshold: drop tags that score less; the preset's own where not given, as for the others.
            box_threshold: drop boxes that score less.
            mask_threshold: drop detections whose mask scores less.
            nms_iou: of two boxes of one label that overlap more, keep the better.
        """
        levels = (tag_threshold, box_threshold, mask_threshold, nms_iou)
        return downloads.for_page(self._result(image, labels, preset, template, levels), kind)

    def _result(self, image: str, labels: str, preset: str, template: str, levels: tuple[float | None, ...]) -> Result:
        words, prompts = labels_of(labels), template_of(template)
        pixels = read_upload(image, self.context.limits.pixels)
        changes = dict(zip(_LEVELS, levels, strict=True))
        with self.context.models.using(preset) as pipe:
            return replace(pipe(pixels, words, template=prompts, **changes), source=name_of(image))

    def tag(self, images: list[str], labels: str, template: str, none_of_these: bool, preset: str) -> dict[str, Any]:
        """Score labels for one or many images.

        Args:
            images: uploaded images.
            labels: words with commas or line ends between them, or the name of a label set.
            template: the sentence around each label, with {label} in it.
            none_of_these: also score the label "none of these".
            preset: the models; the page's first where not given.

        Returns:
            images, each with its name and, best first, label and score; or with error, one sentence. independent says
            whether each score stands alone; threshold is then the score from which a label counts as found.
        """
        rows: list[dict[str, Any]] = []
        least: float | None = None
        for path, answer in score_files(self.context, images, labels, template, none_of_these, preset):
            if isinstance(answer, Exception):
                rows.append({"name": name_of(path), "scores": [], "error": sentence(answer)})
                continue
            _, words, least, scores = answer
            found = sorted(zip(words, scores.tolist(), strict=True), key=lambda pair: -pair[1])
            plain = [{"label": label, "score": round(score, 6)} for label, score in found]
            rows.append({"name": name_of(path), "scores": plain, "error": None})
        return {"independent": least is not None, "threshold": least, "images": rows}

    def about(self) -> dict[str, Any]:
        """Return what is loaded, what could be, and the label sets."""
        return about(self.context)

    def label_set(self, name: str) -> list[str]:
        """Return the labels of a named set.

        Args:
            name: one of those that about names.
        """
        return list(labels_of(name))
