"""Draw results: masks, boxes and labels on an image, and contact sheets of several images."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from openvocab.errors import BadInput
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.drawing.lettering import fit, font_for, place_texts
from openvocab.pipeline.quiet import quiet_supervision

__all__ = ["COLORS", "color_rows", "colors_of", "contact_sheet", "draw"]

Floats = NDArray[np.float64]

COLORS = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#332288",
    "#882255",
    "#999933",
)
"""Okabe and Ito's seven, told apart by color-blind readers too, and three darker ones for crowded images."""

FIRST_CHOICE = 7
MIN_SIDE = 768
"""An image whose longer side has fewer pixels is enlarged to this before anything is drawn on it."""


def color_rows(labels: Sequence[str]) -> NDArray[np.intp]:
    """Return a row of COLORS for each of N labels.

    A label has a color of its own, the same in every image; only where two labels of one image want the same
    does the later one, in alphabetical order, take the next that is free.
    """
    taken: dict[str, int] = {}
    for label in sorted(set(labels)):
        wanted = zlib.crc32(label.encode()) % FIRST_CHOICE
        turns = [(wanted + turn) % len(COLORS) for turn in range(len(COLORS))]
        taken[label] = next((row for row in turns if row not in taken.values()), wanted)
    return np.array([taken[label] for label in labels], np.intp)


def colors_of(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the color, #RRGGBB, that draw gives to each of N labels of one image."""
    return tuple(COLORS[row] for row in color_rows(labels))


def _enlarge(masks: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Scale (N, H, W) masks to size (width, height) with smooth edges."""
    if masks.shape[:0:-1] == size:
        return masks
    gray = [Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BICUBIC) for mask in masks]
    return np.stack([np.asarray(mask) > 127 for mask in gray])


def _ink(color: str) -> str:
    """Return black or white, whichever contrasts more with the color."""
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    light = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return "#000000" if light > 0.18 else "#FFFFFF"


def _annotators(side: int, *, masked: bool) -> list[Any]:
    """Return the annotators for a canvas whose longer side has that many pixels, in drawing order."""
    quiet_supervision()
    import supervision

    palette = supervision.ColorPalette.from_hex(list(COLORS))
    line = max(2, round(side / 360))
    box = supervision.BoxAnnotator(palette, line)
    if not masked:
        return [box]
    return [supervision.MaskAnnotator(palette, opacity=0.35), supervision.PolygonAnnotator(palette, line), box]


def _shapes(canvas: Image.Image, boxes: Floats, detections: Detections, colors: NDArray[np.intp]) -> Image.Image:
    """Draw translucent masks with outlines, and boxes (N, 4) in pixels of the canvas."""
    quiet_supervision()
    import supervision

    masks = None if detections.masks is None else _enlarge(np.asarray(detections.masks), canvas.size)
    found = supervision.Detections(xyxy=boxes, mask=masks, class_id=colors.astype(int))
    scene: Any = np.ascontiguousarray(np.asarray(canvas)[..., ::-1])
    for annotator in _annotators(max(canvas.size), masked=masks is not None):
        scene = annotator.annotate(scene, found)
    return Image.fromarray(np.ascontiguousarray(scene[..., ::-1]))


def _names(canvas: Image.Image, boxes: Floats, detections: Detections, colors: NDArray[np.intp]) -> None:
    """Write each detection's label and score on the canvas, in its color."""
    size = max(15, round(max(canvas.size) / 42))
    pad = size // 4
    pens = [font_for(label, size) for label in detections.labels]
    texts = [
        fit(font, name, f" {score:.2f}", canvas.width - 2 * pad)
        for (font, name), score in zip(pens, detections.scores, strict=True)
    ]
    high = size + 2 * pad
    sizes = [(font.getlength(text) + 2 * pad, float(high)) for (font, _), text in zip(pens, texts, strict=True)]
    pen = ImageDraw.Draw(canvas)
    for place, (font, _), text, row in zip(place_texts(boxes, sizes, canvas.size), pens, texts, colors, strict=True):
        left, top, right, bottom = (int(edge) for edge in place)
        pen.rounded_rectangle((left, top, right - 1, bottom - 1), pad, fill=COLORS[row])
        pen.text((left + pad, (top + bottom) / 2), text, fill=_ink(COLORS[row]), font=font, anchor="lm")


def draw(image: NDArray[np.uint8], detections: Detections) -> Image.Image:
    """Return the image with masks, boxes and names with scores on it.

    Args:
        image: (height, width, 3) uint8 RGB.
        detections: with masks, if any, of the same height and width.

    Returns:
        An RGB image of the same shape; enlarged to 768 pixels on its longer side where it is smaller, so that the
        names can be read.

    Raises:
        BadInput: image has another shape or dtype.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise BadInput(f"image must be (height, width, 3) uint8 RGB, got {image.shape} {image.dtype.name}")
    canvas = Image.fromarray(image)
    scale = max(1.0, MIN_SIDE / max(canvas.size))
    if scale > 1:
        size = max(1, round(canvas.width * scale)), max(1, round(canvas.height * scale))
        canvas = canvas.resize(size, Image.Resampling.BICUBIC)
    if not len(detections):
        return canvas
    boxes = detections.xyxy.astype(np.float64) * scale
    colors = color_rows(detections.labels)
    canvas = _shapes(canvas, boxes, detections, colors)
    _names(canvas, boxes, detections, colors)
    return canvas


def contact_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Return one image that shows all images in rows of that many columns, on white.

    Raises:
        BadInput: there is no image, or columns is under 1.
    """
    if not images or columns < 1:
        raise BadInput(f"a contact sheet needs an image and a column, got {len(images)} images, {columns} columns")
    wide, high = max(one.width for one in images), max(one.height for one in images)
    gap = max(4, wide // 64)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (wide + gap) + gap, rows * (high + gap) + gap), "white")
    for number, one in enumerate(images):
        row, column = divmod(number, columns)
        left, top = gap + column * (wide + gap), gap + row * (high + gap)
        sheet.paste(one, (left + (wide - one.width) // 2, top + (high - one.height) // 2))
    return sheet
