"""Text of labels on an image: which font draws it, and where it fits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from openvocab.errors import OpenVocabWarning

__all__ = ["fit", "font_for", "place_texts", "undrawn"]

Floats = NDArray[np.float64]

STAND_IN = "?"
"""Drawn for a character without a glyph in any installed font."""


@cache
def _bundled_font() -> str:
    """DejaVu Sans Bold, which comes with matplotlib: Latin, Greek, Cyrillic, Arabic and many symbols."""
    from matplotlib import get_data_path

    return str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"))


@cache
def _system_fonts() -> tuple[str, ...]:
    """Paths of the installed fonts, the plain faces of the wide families first."""
    from matplotlib.font_manager import findSystemFonts

    def rank(path: str) -> tuple[bool, bool, bool, str]:
        name = Path(path).name.lower()
        return "lastresort" in name, "sans" not in name, "bold" not in name and "regular" not in name, name

    return tuple(sorted(findSystemFonts(), key=rank))


@cache
def _characters(path: str) -> frozenset[int]:
    """The code points that a font draws; none where it cannot be scaled (bitmap emoji) or read."""
    from matplotlib.ft2font import FT2Font

    try:
        ImageFont.truetype(path, 16)
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def _missing(path: str, text: str) -> list[str]:
    return [character for character in text if not character.isspace() and ord(character) not in _characters(path)]


def _best_font(text: str) -> tuple[str, list[str]]:
    """Return the path of the font that draws the most of text, and the characters that it lacks."""
    path = _bundled_font()
    missing = _missing(path, text)
    if missing:
        path = min((path, *_system_fonts()), key=lambda other: len(_missing(other, text)))
        missing = _missing(path, text)
    return path, missing


def undrawn(text: str) -> str:
    """Return the characters of a label that no installed font draws; a drawn image shows "?" for them."""
    return "".join(dict.fromkeys(_best_font(text)[1]))


def font_for(text: str, size: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """Return a font of size pixels that draws text, and the text as that font can draw it.

    Characters that no installed font has become question marks, with an OpenVocabWarning.
    """
    path, missing = _best_font(text)
    if missing:
        warnings.warn(
            f"no installed font draws {''.join(dict.fromkeys(missing))!r} of {text!r}, so {STAND_IN!r} stands there; "
            "install a font that has them, such as Noto Sans CJK",
            OpenVocabWarning,
            stacklevel=2,
        )
    readable = "".join(STAND_IN if character in missing else character for character in text)
    return ImageFont.truetype(path, size), readable


def fit(font: ImageFont.FreeTypeFont, name: str, ending: str, width: float) -> str:
    """Return name + ending, with the name cut by an ellipsis until it is at most width pixels long."""
    text = name + ending
    while font.getlength(text) > width and len(name) > 1:
        name = name[: max(1, int(len(name) * 0.9))].rstrip()
        text = f"{name}…{ending}"
    return text


def _overlap(boxes: Floats, other: Floats) -> Floats:
    """Pixels shared by each of (N, 4) boxes with the boxes (M, 4), summed over M; left, top, right, bottom."""
    low = np.maximum(boxes[:, None, :2], other[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], other[None, :, 2:])
    return np.asarray(np.prod(np.clip(high - low, 0, None), axis=2).sum(axis=1), np.float64)


def _candidates(box: Floats, size: tuple[float, float], canvas: tuple[int, int]) -> Floats:
    """Return (K, 4) positions for a text of size (width, height): around and in its box, then all over the canvas."""
    (left, top, right, bottom), (wide, high) = box, size
    near = [
        (left, top - high),
        (right - wide, top - high),
        (left, bottom),
        (right - wide, bottom),
        (left, top),
        (left, bottom - high),
        (right, top),
        (left - wide, top),
    ]
    columns, rows = np.arange(0, canvas[0], high), np.arange(0, canvas[1], high)
    everywhere = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    corners = np.clip(np.vstack([near, everywhere]), 0, np.maximum(np.subtract(canvas, size), 0))
    return np.hstack([corners, corners + size])


def _distance(places: Floats, box: Floats) -> Floats:
    """Return the distance in pixels between each of (K, 4) positions and the box, 0 where they touch."""
    gaps = np.maximum(np.maximum(box[:2] - places[:, 2:], places[:, :2] - box[2:]), 0)
    return np.asarray(np.hypot(gaps[:, 0], gaps[:, 1]), np.float64)


def place_texts(boxes: Floats, sizes: Sequence[tuple[float, float]], canvas: tuple[int, int]) -> Floats:
    """Place one text a box, inside the canvas and, while there is room, on no other text.

    Args:
        boxes: (N, 4) left, top, right, bottom in pixels of the canvas.
        sizes: N pairs (width, height) in pixels.
        canvas: (width, height) in pixels.

    Returns:
        (N, 4) left, top, right, bottom of the texts.
    """
    placed = np.zeros((0, 4))
    for row, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
        places = _candidates(box, size, canvas)
        area = size[0] * size[1]
        others = np.delete(boxes, row, axis=0)
        cost = (
            100 * _overlap(places, placed) / area
            + _overlap(places, others) / area
            + 0.4 * _overlap(places, box[None]) / area
            + 0.5 * _distance(places, box) / size[1]
        )
        placed = np.vstack([placed, places[np.argmin(cost)]])
    return placed
