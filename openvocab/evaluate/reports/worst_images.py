"""The images with the most errors as one image: truth and prediction side by side, with a list of the errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.detection import GroundTruth, Predictions, mask_codes
from openvocab.evaluate.metrics.error_types import DETECTION_ERRORS, OBJECT_ERRORS, ImageErrors, image_errors
from openvocab.images.read import read_image
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.drawing.draw import draw
from openvocab.pipeline.drawing.lettering import fit, font_for
from openvocab.pipeline.masks import decode_mask

__all__ = ["MAX_IMAGES", "ImagePair", "image_sheet", "worst_boxes", "worst_images", "worst_png"]

MAX_IMAGES = 12
"""Maximum number of images on a sheet."""

_WIDTH, _HEIGHT, _GAP, _FONT_SIZE = 640, 600, 16, 20
"""Maximum width and height of an image, gap between images and font size in pixels."""

_INK, _GRAY, _PAPER = "#1a1a1a", "#5a5a5a", "white"


@dataclass(frozen=True, eq=False, slots=True)
class ImagePair:
    """One row of a sheet.

    Attributes:
        name: Name of the image; a long one loses its beginning.
        truth: The image with the true objects.
        predicted: The image with the detections.
        errors: The errors in a few words.
    """

    name: str
    truth: Image.Image
    predicted: Image.Image
    errors: str


def image_sheet(rows: Sequence[ImagePair]) -> Image.Image:
    """Return one image with a row for each of the first 12: name and errors above, truth left, prediction right.

    Images are scaled to the same size, so text has the same size for all of them.

    Raises:
        BadInput: There is no row.
    """
    if not rows:
        raise BadInput("there is no image to show; give at least one")
    shown = [(each, [_scaled(one) for one in (each.truth, each.predicted)]) for each in rows[:MAX_IMAGES]]
    heights = [max(one.height for one in pair) for _, pair in shown]
    line = round(1.5 * _FONT_SIZE)
    width = 2 * _WIDTH + 3 * _GAP
    sheet = Image.new("RGB", (width, line + _GAP + sum(2 * line + height + _GAP for height in heights)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, head in enumerate(("truth", "prediction")):
        _write(pen, head, (_GAP + column * (_WIDTH + _GAP), _GAP // 2), _WIDTH, _FONT_SIZE, _GRAY)
    top = line + _GAP
    for (each, pair), height in zip(shown, heights, strict=True):
        below = top + round(1.2 * _FONT_SIZE)
        _write(pen, _shorten(each.name), (_GAP, top), width - 2 * _GAP, _FONT_SIZE, _INK)
        _write(pen, each.errors, (_GAP, below), width - 2 * _GAP, round(0.85 * _FONT_SIZE), _GRAY)
        for column, one in enumerate(pair):
            sheet.paste(one, (_GAP + column * (_WIDTH + _GAP) + (_WIDTH - one.width) // 2, top + 2 * line))
        top += 2 * line + height + _GAP
    return sheet


def _scaled(image: Image.Image) -> Image.Image:
    """Return the image in RGB, scaled to the maximum width or height."""
    scale = min(_WIDTH / image.width, _HEIGHT / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _shorten(name: str, max_characters: int = 90) -> str:
    """Return a name on one line; a long one loses its beginning, because the end tells files apart."""
    line = " ".join(name.split())
    return line if len(line) <= max_characters else f"…{line[1 - max_characters :]}"


def _write(pen: ImageDraw.ImageDraw, text: str, at: tuple[int, int], width: int, size: int, ink: str) -> None:
    font, drawable = font_for(text, size)
    pen.text(at, fit(font, drawable, "", width), fill=ink, font=font)


def worst_png(rows: Sequence[ImagePair]) -> dict[str, Callable[[Path], None]]:
    """Return the entry of a report's images that writes worst.png; none without a row."""
    return {"worst.png": lambda path: image_sheet(rows).save(path)} if rows else {}


# --- selection


def worst_images(
    names: Sequence[str],
    truth: Sequence[GroundTruth],
    predictions: Sequence[Predictions | Detections],
    errors: Sequence[ImageErrors],
    labels: Sequence[str],
) -> list[ImagePair]:
    """Return the 12 images with the most errors, worst first; equals keep the order of the data.

    Objects that are not detected and detections that are not correct count. The images are read again.

    Args:
        names: P paths.
        truth: P images.
        predictions: Their predictions.
        errors: Their error types; see image_errors.
        labels: C labels.

    Raises:
        ImageError: An image was removed after it was measured.
    """
    counts = [int((one.objects > 0).sum() + (one.detections > 0).sum()) for one in errors]
    order = [row for row in np.argsort([-each for each in counts], kind="stable").tolist() if counts[row]]
    return [_pair(names[row], truth[row], predictions[row], errors[row], labels) for row in order[:MAX_IMAGES]]


def worst_boxes(
    names: Sequence[str],
    truth: Sequence[GroundTruth],
    predictions: Sequence[Detections],
    labels: Sequence[str],
    threshold: float,
) -> list[ImagePair]:
    """Return worst_images for the boxes that score at least a threshold.

    Use the detector's own threshold: boxes below it are not shown to users either.
    """
    shown = [one[one.scores >= threshold] for one in predictions]
    return worst_images(names, truth, shown, image_errors(truth, shown, labels), labels)


def _pair(
    name: str,
    truth: GroundTruth,
    predictions: Predictions | Detections,
    errors: ImageErrors,
    labels: Sequence[str],
) -> ImagePair:
    image = read_image(name)
    size = image.shape[:2]
    objects = Predictions(truth.xyxy, np.ones(len(truth.class_ids)), truth.class_ids, truth.masks)
    true, predicted = (draw(image, _drawable(each, labels, size)) for each in (objects, predictions))
    return ImagePair(name, true, predicted, _describe(truth, predictions, errors, labels))


def _describe(
    truth: GroundTruth, predictions: Predictions | Detections, errors: ImageErrors, labels: Sequence[str]
) -> str:
    """Return the errors, such as "objects: dog (not tagged), cat (missed); detections: cow (classification)"."""
    sides = (
        ("objects", truth.class_ids, errors.objects, OBJECT_ERRORS),
        ("detections", predictions.class_ids, errors.detections, DETECTION_ERRORS),
    )
    parts = []
    for name, class_ids, kinds, names in sides:
        wrong = [f"{labels[label]} ({names[kind]})" for label, kind in zip(class_ids, kinds, strict=True) if kind > 0]
        counts = {each: wrong.count(each) for each in wrong}
        if counts:
            listed = ", ".join(f"{each} × {count}" if count > 1 else each for each, count in counts.items())
            parts.append(f"{name}: {listed}")
    return "; ".join(parts)


def _drawable(one: Predictions | Detections, labels: Sequence[str], size: tuple[int, ...]) -> Detections:
    """Return detections that can be drawn; masks of another size than the image are left out."""
    scores = np.clip(np.asarray(one.scores, np.float32), 0, 1)
    boxes = np.asarray(one.xyxy, np.float32).reshape(-1, 4)
    names = tuple(labels[row] for row in one.class_ids)
    masks = [decode_mask(code) for code in mask_codes(one.masks)]
    if one.masks is None or any(mask.shape != size for mask in masks):
        return Detections(boxes, scores, names, scores)
    return Detections(boxes, scores, names, scores, scores, np.array(masks, bool).reshape(-1, *size))
