"""The worst images on one sheet: truth and prediction side by side, with a line that says what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from openvocab.errors import BadInput
from openvocab.evaluate.chain import DETECTION_FATES, THING_FATES, Fates, fates
from openvocab.evaluate.detection import Found, Masks, Truth
from openvocab.images.read import read_image
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.draw import draw
from openvocab.pipeline.lettering import fit, font_for
from openvocab.pipeline.masks import decode_mask

__all__ = ["MOST", "Side", "worst_boxes", "worst_rows", "worst_sheet", "write_worst"]

MOST = 12
"""Images on a sheet at most."""

_WIDE, _TALL, _GAP, _SIZE = 640, 600, 16, 20
"""Pixels: room of an image, between images, and of letters."""

_INK, _GRAY, _PAPER = "#1a1a1a", "#5a5a5a", "white"


@dataclass(frozen=True, eq=False, slots=True)
class Side:
    """One image of a sheet.

    name       what the image is called; a long one loses its beginning.
    truth      the image with what is there.
    predicted  the image with what was found.
    said       what went wrong, in a few words.
    """

    name: str
    truth: Image.Image
    predicted: Image.Image
    said: str


def worst_sheet(rows: Sequence[Side]) -> Image.Image:
    """Return one image: a row for each of the first 12, with its name and fault above, truth left, prediction right.

    Images are scaled to the same room, so that letters keep their size whatever the images'.

    Raises:
        BadInput: there is no row.
    """
    if not rows:
        raise BadInput("there is no image to show; give at least one")
    shown = [(each, [_scaled(one) for one in (each.truth, each.predicted)]) for each in rows[:MOST]]
    heights = [max(one.height for one in pair) for _, pair in shown]
    line = round(1.5 * _SIZE)
    width = 2 * _WIDE + 3 * _GAP
    height = line + _GAP + sum(2 * line + tall + _GAP for tall in heights)
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, head in enumerate(("what is there", "what was found")):
        _write(pen, head, (_GAP + column * (_WIDE + _GAP), _GAP // 2), _WIDE, _SIZE, _GRAY)
    top = line + _GAP
    for (each, pair), tall in zip(shown, heights, strict=True):
        _write(pen, _tail(each.name), (_GAP, top), width - 2 * _GAP, _SIZE, _INK)
        _write(pen, each.said, (_GAP, top + round(1.2 * _SIZE)), width - 2 * _GAP, round(0.85 * _SIZE), _GRAY)
        for column, one in enumerate(pair):
            sheet.paste(one, (_GAP + column * (_WIDE + _GAP) + (_WIDE - one.width) // 2, top + 2 * line))
        top += 2 * line + tall + _GAP
    return sheet


def _scaled(image: Image.Image) -> Image.Image:
    """Return the image as large as its room allows, in RGB."""
    scale = min(_WIDE / image.width, _TALL / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _tail(name: str, most: int = 90) -> str:
    """Return a name on one line, without the beginning where it is long: the end tells images apart."""
    plain = " ".join(name.split())
    return plain if len(plain) <= most else f"…{plain[1 - most :]}"


def _write(pen: ImageDraw.ImageDraw, text: str, at: tuple[int, int], width: int, size: int, ink: str) -> None:
    font, readable = font_for(text, size)
    pen.text(at, fit(font, readable, "", width), fill=ink, font=font)


def write_worst(folder: Path, rows: Sequence[Side]) -> None:
    """Write worst.png into a folder; where there is no image to show, the one of an earlier run goes."""
    (folder / "worst.png").unlink(missing_ok=True)
    if rows:
        worst_sheet(rows).save(folder / "worst.png")


# --- which images are the worst


def worst_rows(
    names: Sequence[str], truth: Sequence[Truth], found: Sequence[Found], made: Sequence[Fates], labels: Sequence[str]
) -> list[Side]:
    """Return the images with the most faults, at most 12, worst first; equals in the order of the data.

    A fault is a thing that is not found and a detection that is not right. The images are read again.

    Args:
        names: P paths.
        truth, found, made: what is there, what was found, and the fates of both.
        labels: C labels.

    Raises:
        ImageError: an image has gone since it was measured.
    """
    faults = [int((one.things > 0).sum() + (one.detections > 0).sum()) for one in made]
    order = [row for row in np.argsort([-each for each in faults], kind="stable").tolist() if faults[row]]
    return [_side(names[row], truth[row], found[row], made[row], labels) for row in order[:MOST]]


def worst_boxes(
    names: Sequence[str], truth: Sequence[Truth], found: Sequence[Found], labels: Sequence[str], threshold: float
) -> list[Side]:
    """Return worst_rows for boxes that were found with a low threshold, without those that score under this one.

    It is the detector's own: what scores less would not be shown to a user either.
    """
    sure = []
    for one in found:
        kept = one.scores >= threshold
        sure.append(Found(one.xyxy[kept], one.scores[kept], one.label_index[kept]))
    return worst_rows(names, truth, sure, fates(truth, sure, labels), labels)


def _side(name: str, truth: Truth, found: Found, made: Fates, labels: Sequence[str]) -> Side:
    image = read_image(name)
    ones = np.ones(len(truth.label_index), np.float32)
    there = _detections(truth.xyxy, ones, [labels[row] for row in truth.label_index], truth.masks, image.shape[:2])
    said = _detections(
        found.xyxy, found.scores, [labels[row] for row in found.label_index], found.masks, image.shape[:2]
    )
    return Side(name, draw(image, there), draw(image, said), _said(truth, found, made, labels))


def _said(truth: Truth, found: Found, made: Fates, labels: Sequence[str]) -> str:
    """Return what went wrong, such as "lost: dog (never tagged), cat (no box); given: cow (wrong label)"."""
    lost = [
        f"{labels[label]} ({THING_FATES[fate]})"
        for label, fate in zip(truth.label_index, made.things, strict=True)
        if fate > 0
    ]
    given = [
        f"{labels[label]} ({DETECTION_FATES[fate]})"
        for label, fate in zip(found.label_index, made.detections, strict=True)
        if fate > 0
    ]
    parts = [", ".join(_counted(some)) for some in (lost, given)]
    return "; ".join(text for text in (parts[0] and f"lost: {parts[0]}", parts[1] and f"given: {parts[1]}") if text)


def _counted(some: Sequence[str]) -> list[str]:
    counts = {each: some.count(each) for each in dict.fromkeys(some)}
    return [f"{each} × {count}" if count > 1 else each for each, count in counts.items()]


def _detections(
    xyxy: object, scores: object, labels: Sequence[str], masks: Masks | None, size: tuple[int, int]
) -> Detections:
    """Return detections that can be drawn; those of another size than the image lose their masks."""
    sure = np.clip(np.asarray(scores, np.float32), 0, 1)
    boxes = np.asarray(xyxy, np.float32).reshape(-1, 4)
    if masks is None:
        return Detections(boxes, sure, tuple(labels), sure)
    every = [one.astype(bool) if isinstance(one, np.ndarray) else decode_mask(one) for one in masks]
    if any(one.shape != size for one in every):
        return Detections(boxes, sure, tuple(labels), sure)
    return Detections(boxes, sure, tuple(labels), sure, sure, np.array(every, bool).reshape(-1, *size))
