"""The tab Tag: labels and a sentence compared on one or many images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab import Pipeline, Vocabulary
from openvocab.errors import BadInput
from openvocab.ui.web.asking import sentence, told
from openvocab.ui.web.events import MODEL
from openvocab.ui.web.fields import word_fields
from openvocab.ui.web.images import image_files, name_of, read_upload, thumbnail
from openvocab.ui.web.parts import part
from openvocab.ui.web.words import labels_of, template_of

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["NONE", "build", "score_files"]

NONE = "none of these"
"""The label that is added where the visitor asks for it."""

_TEMPLATE = "This is a photo of a {label}"
_SHOWN = 12
_ALONE = (
    "Each score stands alone (the model was trained with a sigmoid): several labels may be right, or none. "
    "Bars in color are over the model's threshold, {least:.2f}."
)
_SHARED = (
    "The scores of an image sum to 1 over the labels (the model was trained with a softmax): they say which label "
    "fits best, not whether any fits."
)


def build(context: Context) -> None:
    """Lay out the tab inside the one that is open."""
    with gr.Row(elem_classes="ov-columns"):
        with gr.Column(scale=5, min_width=300):
            images = image_files(label="Images", height=180, elem_id="tag-images")
            fields = word_fields("tag", "Labels to compare", context.models.names)
            template = gr.Textbox(
                _TEMPLATE,
                label="Sentence around each label",
                info="{label} is replaced by the label. Several lines are averaged.",
                lines=1,
                max_lines=6,
                elem_id="tag-template",
            )
            none = gr.Checkbox(
                label=f"Also score “{NONE}”",
                info="A label of that name takes part. Models were not trained to say it: take its score as a hint.",
                elem_id="tag-none",
            )
            run = gr.Button("Score", variant="primary", size="lg", elem_id="tag-run")
        with gr.Column(scale=8, min_width=300):
            cards = part("cards", None, elem_id="tag-cards")
    _wire(context, [images, fields.words, template, none, fields.preset], run, cards)


def _wire(context: Context, inputs: list[Any], run: gr.Button, cards: gr.HTML) -> None:
    """Say what happens when the button is pressed."""

    def score(paths: list[str], words: str, template: str, none: bool, preset: str) -> Iterator[dict[str, Any]]:
        yield from _cards(context, paths, words, template, none, preset)

    run.click(
        told(score),
        inputs,
        [cards],
        api_visibility="private",
        show_progress="minimal",
        **MODEL,
    )


def _cards(
    context: Context, paths: Sequence[str], words: str, template: str, none: bool, preset: str
) -> Iterator[dict[str, Any]]:
    """Yield the cards of the images that were scored so far."""
    how, cards = "", []
    for path, answer in score_files(context, paths, words, template, none, preset):
        if isinstance(answer, Exception):
            cards.append({"name": name_of(path), "error": sentence(answer)})
        else:
            cards.append(_card(name_of(path), *answer))
            how = _SHARED if answer[2] is None else _ALONE.format(least=answer[2])
        yield {"how": how, "cards": cards}


def _card(
    name: str, image: NDArray[np.uint8], labels: tuple[str, ...], least: float | None, scores: NDArray[np.float32]
) -> dict[str, Any]:
    order = np.argsort(-scores, kind="stable")
    rows = [
        {"label": labels[row], "score": float(scores[row]), "over": bool(least is None or scores[row] >= least)}
        for row in order[:_SHOWN]
    ]
    found = {"name": name, "image": thumbnail(image, 320), "scores": rows}
    if least is not None and not any(row["over"] for row in rows):
        found["none"] = f"{NONE[0].upper()}{NONE[1:]}: no label scores {least:.2f} or more."
    if len(order) > _SHOWN:
        found["more"] = f"and {len(order) - _SHOWN} labels that score less"
    return found


Scored = tuple[NDArray[np.uint8], tuple[str, ...], float | None, NDArray[np.float32]]


def score_files(
    context: Context, paths: Sequence[str], words: str | Sequence[str], template: str, none: bool, preset: str
) -> Iterator[tuple[str, Scored | Exception]]:
    """Score labels for images, one at a time.

    Args:
        none: also score the label NONE.

    Yields:
        The path, with the image, the C labels, the threshold where scores stand alone (None where they sum to 1) and
        the (C,) scores; or with the error where the image cannot be read.

    Raises:
        BadInput: no image, too many, or labels or a template that cannot be used.
    """
    if not paths:
        raise BadInput("there is no image; choose one or more files")
    if len(paths) > context.limits.files:
        raise BadInput(f"{len(paths)} images are more than {context.limits.files}; give fewer, or use openvocab tag")
    labels, prompts = labels_of(words), template_of(template)
    if none and NONE not in labels:
        labels = (*labels, NONE)
    vocabulary: Vocabulary | None = None
    for path in paths:
        try:
            image = read_upload(path, context.limits.pixels)
        except openvocab.ImageError as error:
            yield path, error
            continue
        with context.models.using(preset) as pipe:
            alone = _tagger_of(pipe)
            vocabulary = vocabulary or alone.vocabulary(labels, prompts)
            scores = alone.tag_scores([image], vocabulary)[0]
            least = alone.settings.tag_threshold if _independent(alone) else None
        yield path, (image, labels, least, scores)


def _tagger_of(pipe: Pipeline) -> Pipeline:
    """Return the pipeline of the tagger alone.

    Raises:
        BadInput: there is none.
    """
    if pipe.tagger is None:
        raise BadInput("this preset has no tagger; choose another, or use the tab Chain")
    return Pipeline(pipe.tagger, None, None, pipe.settings)


def _independent(pipe: Pipeline) -> bool:
    return pipe.tagger is not None and pipe.tagger.independent
