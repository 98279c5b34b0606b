"""The most confident mistakes of a classification as one image, with true and predicted labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from openvocab.errors import OpenVocabError
from openvocab.evaluate.data.labeled import LabeledSet
from openvocab.evaluate.runs.tagger import TaggerRun
from openvocab.images.decode import decode_item
from openvocab.pipeline.drawing.lettering import fit, font_for
from openvocab.pipeline.scores import sigmoid, softmax

__all__ = ["MAX_MISTAKES", "Mistake", "mistake_sheet", "mistakes"]

MAX_MISTAKES = 12
"""Maximum number of images on a sheet."""

_SIDE, _GAP, _FONT_SIZE, _COLUMNS = 300, 16, 18, 4
"""Maximum side of an image, gap between images and font size in pixels; images in a row."""

_INK, _CORRECT, _WRONG, _PAPER = "#1a1a1a", "#1b6e3c", "#b3261e", "white"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One image whose predicted label is not its own.

    Attributes:
        row: Its row in TaggerRun.
        name: Its id.
        truth: Its label.
        predicted: The predicted label.
        score: Score of the predicted label in 0 to 1.
    """

    row: int
    name: str
    truth: str
    predicted: str
    score: float


def mistakes(run: TaggerRun, independent: bool, max_count: int = MAX_MISTAKES) -> list[Mistake]:
    """Return the mistakes with the highest scores, of equals the first ones first; for single-label data.

    Args:
        run: A tagger's run.
        independent: Whether scores are the sigmoid of the logits; otherwise they are the softmax.
        max_count: Maximum number of mistakes.
    """
    scores = sigmoid(run.logits) if independent else softmax(run.logits)
    predicted, truth = run.logits.argmax(axis=1), run.truth.argmax(axis=1)
    best = np.take_along_axis(scores, predicted[:, None], axis=1)[:, 0]
    wrong = np.flatnonzero(predicted != truth)
    order = wrong[np.argsort(-best[wrong], kind="stable")][:max_count].tolist()
    labels = run.labels
    return [Mistake(row, run.names[row], labels[truth[row]], labels[predicted[row]], float(best[row])) for row in order]


def mistake_sheet(data: LabeledSet, worst: Sequence[Mistake]) -> Image.Image | None:
    """Return one image of the mistakes; None if there is none.

    Args:
        data: The data set that images are read from again; only the mistakes are decoded.
        worst: The mistakes.
    """
    images = dict(_images(data, worst))
    drawn = [(each, images[each.name]) for each in worst if each.name in images]
    if not drawn:
        return None
    line = round(1.4 * _FONT_SIZE)
    width, height = _SIDE + _GAP, _SIDE + 3 * line + _GAP
    columns = min(_COLUMNS, len(drawn))
    sheet = Image.new("RGB", (columns * width + _GAP, -(-len(drawn) // columns) * height + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (each, image) in enumerate(drawn):
        left, top = _GAP + number % columns * width, _GAP + number // columns * height
        texts = (f"true: {each.truth}", f"predicted: {each.predicted}", f"score {each.score:.2f}")
        for row, (text, ink) in enumerate(zip(texts, (_CORRECT, _WRONG, _INK), strict=True)):
            font, drawable = font_for(text, _FONT_SIZE)
            pen.text((left, top + row * line), fit(font, drawable, "", _SIDE), fill=ink, font=font)
        sheet.paste(image, (left, top + 3 * line))
    return sheet


def _images(data: LabeledSet, worst: Sequence[Mistake]) -> Iterator[tuple[str, Image.Image]]:
    """Yield name and scaled image of each mistake; stop reading after the last of them."""
    wanted = {each.name for each in worst}
    for one in data.images() if wanted else ():
        if one.item.id not in wanted:
            continue
        wanted.discard(one.item.id)
        try:
            image = Image.fromarray(decode_item(one.item).pixels)
        except OpenVocabError:  # the file was removed after it was measured
            continue
        scale = min(_SIDE / image.width, _SIDE / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        yield one.item.id, image.resize(size, Image.Resampling.BICUBIC)
        if not wanted:
            return
