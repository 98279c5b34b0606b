"""The most confident mistakes of a classification on one sheet, each with the true label and the one given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from openvocab.errors import OpenVocabError
from openvocab.evaluate.data.records import LabeledSet
from openvocab.evaluate.scoring import Scored
from openvocab.images.decode import decode_item
from openvocab.pipeline.lettering import fit, font_for
from openvocab.pipeline.scores import sigmoid, softmax

__all__ = ["MOST", "Mistake", "mistake_sheet", "mistakes"]

MOST = 12
"""Images on a sheet at most."""

_SIDE, _GAP, _SIZE, _COLUMNS = 300, 16, 18, 4
"""Pixels: room of an image, between images, and of letters; images in a row."""

_INK, _RIGHT, _WRONG, _PAPER = "#1a1a1a", "#1b6e3c", "#b3261e", "white"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One image that was given another label than its own.

    row    its row in Scored.
    name   its id.
    truth  its label.
    given  the label that it was given.
    score  of that label, 0 to 1.
    """

    row: int
    name: str
    truth: str
    given: str
    score: float


def mistakes(scored: Scored, independent: bool, most: int = MOST) -> list[Mistake]:
    """Return the mistakes with the highest scores, of equals the first ones first; for one label an image.

    Args:
        independent: whether scores are the sigmoid of the logits; else their softmax.
    """
    scores = sigmoid(scored.logits) if independent else softmax(scored.logits)
    given, truth = scored.logits.argmax(axis=1), scored.truth.argmax(axis=1)
    best = np.take_along_axis(scores, given[:, None], axis=1)[:, 0]
    wrong = np.flatnonzero(given != truth)
    order = wrong[np.argsort(-best[wrong], kind="stable")][:most].tolist()
    labels = scored.labels
    return [Mistake(row, scored.names[row], labels[truth[row]], labels[given[row]], float(best[row])) for row in order]


def mistake_sheet(data: LabeledSet, worst: Sequence[Mistake]) -> Image.Image | None:
    """Return one image of the mistakes, row by row; None where there is none.

    Args:
        data: where the images are read from again; only the mistakes are decoded.
    """
    seen = dict(_images(data, worst))
    shown = [(each, seen[each.name]) for each in worst if each.name in seen]
    if not shown:
        return None
    line = round(1.4 * _SIZE)
    wide, tall = _SIDE + _GAP, _SIDE + 3 * line + _GAP
    columns = min(_COLUMNS, len(shown))
    sheet = Image.new("RGB", (columns * wide + _GAP, -(-len(shown) // columns) * tall + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, (each, image) in enumerate(shown):
        left, top = _GAP + place % columns * wide, _GAP + place // columns * tall
        said = ((f"true: {each.truth}", _RIGHT), (f"given: {each.given}", _WRONG), (f"score {each.score:.2f}", _INK))
        for row, (text, ink) in enumerate(said):
            font, drawn = font_for(text, _SIZE)
            pen.text((left, top + row * line), fit(font, drawn, "", _SIDE), fill=ink, font=font)
        sheet.paste(image, (left, top + 3 * line))
    return sheet


def _images(data: LabeledSet, worst: Sequence[Mistake]) -> Iterator[tuple[str, Image.Image]]:
    """Yield name and scaled image of each mistake, reading no further than the last of them."""
    wanted = {each.name for each in worst}
    for one in data.images() if wanted else ():
        if one.item.id not in wanted:
            continue
        wanted.discard(one.item.id)
        try:
            image = Image.fromarray(decode_item(one.item).pixels)
        except OpenVocabError:  # it was read a moment ago and is gone
            continue
        share = min(_SIDE / image.width, _SIDE / image.height)
        size = max(1, round(image.width * share)), max(1, round(image.height * share))
        yield one.item.id, image.resize(size, Image.Resampling.BICUBIC)
        if not wanted:
            return
