"""The tab Tag: scores of labels and templates on one or more images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab import LabelSet, Pipeline, Vocabulary
from openvocab.errors import BadInput
from openvocab.ui.web.error_messages import error_message, report_errors
from openvocab.ui.web.events import MODEL
from openvocab.ui.web.html_component import html_component
from openvocab.ui.web.images import file_name, image_files, read_upload, thumbnail
from openvocab.ui.web.label_fields import label_fields
from openvocab.ui.web.text_inputs import parse_template, parse_vocabulary
from openvocab.ui.web.texts import strings

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["NONE", "build", "score_files"]

NONE = "none of these"
"""The optional additional label."""

_MAX_SHOWN = 12


def build(context: Context) -> None:
    """Lay out the tab inside the open one."""
    with gr.Row(elem_classes="ov-columns"):
        with gr.Column(scale=5, min_width=300):
            images = image_files(label=strings.IMAGES, height=180, elem_id="tag-images")
            fields = label_fields("tag", context.models.names)
            template = gr.Textbox(
                strings.EXAMPLE_TEMPLATE,
                label=strings.TEMPLATE,
                info=strings.TEMPLATE_HELP,
                lines=1,
                max_lines=6,
                elem_id="tag-template",
            )
            none = gr.Checkbox(
                label=strings.also_score(NONE),
                info=strings.NONE_HELP,
                elem_id="tag-none",
            )
            run = gr.Button(strings.SCORE, variant="primary", size="lg", elem_id="tag-run")
        with gr.Column(scale=8, min_width=300):
            cards = html_component("cards", None, elem_id="tag-cards")
    _wire(context, [images, fields.labels, template, none, fields.preset], run, cards)


def _wire(context: Context, inputs: list[Any], run: gr.Button, cards: gr.HTML) -> None:
    """Connect the button."""

    def score(paths: list[str], labels: str, template: str, none: bool, preset: str) -> Iterator[dict[str, Any]]:
        yield from _cards(context, paths, labels, template, none, preset)

    run.click(
        report_errors(score),
        inputs,
        [cards],
        api_visibility="private",
        show_progress="minimal",
        **MODEL,
    )


def _cards(
    context: Context, paths: Sequence[str], labels: str, template: str, none: bool, preset: str
) -> Iterator[dict[str, Any]]:
    """Yield the cards of the images scored so far."""
    scoring, cards = "", []
    for path, answer in score_files(context, paths, labels, template, none, preset):
        if isinstance(answer, Exception):
            cards.append({"name": file_name(path), "error": error_message(answer)})
        else:
            cards.append(_card(file_name(path), *answer))
            scoring = strings.SOFTMAX if answer[2] is None else strings.independent(answer[2])
        yield {"scoring": scoring, "cards": cards}


def _card(
    name: str, image: NDArray[np.uint8], labels: tuple[str, ...], threshold: float | None, scores: NDArray[np.float32]
) -> dict[str, Any]:
    order = np.argsort(-scores, kind="stable")
    rows = [
        {"label": labels[row], "score": float(scores[row]), "over": bool(threshold is None or scores[row] >= threshold)}
        for row in order[:_MAX_SHOWN]
    ]
    card = {"name": name, "image": thumbnail(image, 320), "scores": rows}
    if threshold is not None and not any(row["over"] for row in rows):
        card["none"] = strings.none_reaches(threshold)
    if len(order) > _MAX_SHOWN:
        card["more"] = strings.more_labels(len(order) - _MAX_SHOWN)
    return card


Scored = tuple[NDArray[np.uint8], tuple[str, ...], float | None, NDArray[np.float32]]


def score_files(
    context: Context, paths: Sequence[str], text: str | Sequence[str], template: str, none: bool, preset: str
) -> Iterator[tuple[str, Scored | Exception]]:
    """Score labels for images one by one; with none, also score the label NONE.

    Yields:
        The path, and either the image, its C labels, the threshold (None if the scores sum to 1) and the (C,) scores,
        or the error of an image that cannot be read.

    Raises:
        BadInput: there are no images or too many, or labels or a template are invalid.
    """
    if not paths:
        raise BadInput("there is no image; choose one or more files")
    if len(paths) > context.limits.files:
        raise BadInput(f"{len(paths)} images are more than {context.limits.files}; choose fewer, or run openvocab tag")
    asked, prompts = parse_vocabulary(text), parse_template(template)
    label_set = asked if isinstance(asked, LabelSet) else LabelSet(asked)
    if none and NONE not in label_set.labels:
        label_set = replace(label_set, labels=(*label_set.labels, NONE))
    labels = tuple(label_set.labels)
    vocabulary: Vocabulary | None = None
    for path in paths:
        try:
            image = read_upload(path, context.limits.pixels)
        except openvocab.ImageError as error:
            yield path, error
            continue
        with context.models.using(preset) as pipe:
            if pipe.tagger is None:
                raise BadInput("this preset has no tagger; choose another, or use the tab Chain")
            tagger = Pipeline(pipe.tagger, None, None, pipe.settings)
            vocabulary = vocabulary or tagger.vocabulary(label_set, prompts)
            scores = tagger.tag_scores([image], vocabulary)[0]
            threshold = pipe.settings.tag_threshold if pipe.tagger.independent else None
        yield path, (image, labels, threshold, scores)
