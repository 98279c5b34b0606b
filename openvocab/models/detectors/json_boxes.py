"""Read the boxes that a vision-language model writes as JSON, without trusting any of it."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["JsonAnswer", "JsonBox", "match_labels", "read_boxes"]

_FENCE = re.compile(r"\s*```(?:json)?\s*\n(?P<inside>.*?)(?:```\s*)?\Z", re.S)
_EDGES = re.compile(r'"bbox_2d"\s*:\s*\[(?P<edges>[^\[\]]*)\]')
_DIGITS = re.compile(r"\d+")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class JsonBox:
    """One box of an answer.

    Attributes:
        label: As the model wrote it.
        edges: Left, top, right and bottom, in the model's own units.
        digits: Where the digits of the edges stand in the answer: (first, last + 1) characters each.
    """

    label: str
    edges: tuple[float, float, float, float]
    digits: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """What an answer holds.

    Attributes:
        boxes: Those that are well formed, in their order.
        problems: One phrase for each thing that gave no box.
    """

    boxes: tuple[JsonBox, ...]
    problems: tuple[str, ...]


def read_boxes(text: str, most: float) -> JsonAnswer:
    """Read an answer: a JSON list of objects with "bbox_2d" and "label", or one such object, or a block of code of it.

    Each object is read by itself, so that what is cut off or broken at the end takes only itself away. Other keys are
    ignored.

    Args:
        text: The answer.
        most: The largest coordinate; the smallest one is 0.
    """
    fence = _FENCE.match(text)
    start, end = (fence.start("inside"), fence.end("inside")) if fence else (0, len(text))
    boxes: list[JsonBox] = []
    problems: list[str] = []
    at = _skip(text, start, end)
    listed = text.startswith("[", at, end)
    at = _skip(text, at + 1, end) if listed else at
    if listed and text.startswith("]", at, end):
        return _ended(text, at + 1, end, boxes, problems)
    while True:
        try:
            value, after = json.JSONDecoder().raw_decode(text[:end], at)
        except (ValueError, RecursionError):
            problems.append(f"{_short(text[at:end])} is no JSON")
            return JsonAnswer(tuple(boxes), tuple(problems))
        box = _box(value, text, at, after, most)
        if isinstance(box, JsonBox):
            boxes.append(box)
        else:
            problems.append(box)
        at = _skip(text, after, end)
        if not (listed and text.startswith(",", at, end)):
            break
        at = _skip(text, at + 1, end)
    if listed and not text.startswith("]", at, end):
        problems.append("the list has no end" if at == end else f"{_short(text[at:end])} is no JSON")
        return JsonAnswer(tuple(boxes), tuple(problems))
    return _ended(text, at + listed, end, boxes, problems)


def _ended(text: str, at: int, end: int, boxes: list[JsonBox], problems: list[str]) -> JsonAnswer:
    """Return the answer; text behind its JSON is a problem."""
    rest = text[at:end].strip()
    return JsonAnswer(tuple(boxes), (*problems, f"{_short(rest)} is no JSON") if rest else tuple(problems))


def _skip(text: str, at: int, end: int) -> int:
    while at < end and text[at] in " \t\r\n":
        at += 1
    return at


def _box(value: object, text: str, start: int, end: int, most: float) -> JsonBox | str:
    """Return the box of a JSON value that stands at start to end, or why it is none."""
    written = _short(text[start:end])
    if not isinstance(value, Mapping):
        return f"{written} is no object"
    label, edges = value.get("label"), value.get("bbox_2d")
    places = list(_EDGES.finditer(text, start, end))
    if not isinstance(label, str) or not label.strip():
        return f"{written} has no label"
    if not isinstance(edges, list) or len(edges) != 4 or not all(map(_is_number, edges)) or len(places) != 1:
        return f"{written} has no bbox_2d of four numbers"
    left, top, right, bottom = map(float, edges)
    if not all(0 <= edge <= most for edge in (left, top, right, bottom)):
        return f"{written} is not within 0 to {most:g}"
    if right <= left or bottom <= top:
        return f"{written} is empty"
    span = places[0].span("edges")
    digits = tuple(found.span() for found in _DIGITS.finditer(text, *span))
    return JsonBox(label, (left, top, right, bottom), digits)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def match_labels(written: Sequence[str], labels: Sequence[str]) -> list[int | None]:
    """Return the place of each written label among the labels that were asked for; None for any other.

    Case, spaces and Unicode's forms of a letter do not count. Where one label alone was asked for, every box is its.
    """
    if len(labels) == 1:
        return [0] * len(written)
    places = {_folded(label): place for place, label in enumerate(labels)}
    return [places.get(_folded(each)) for each in written]


def _folded(label: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _short(text: str) -> str:
    """Return text on one line, in quotes, cut."""
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "...")
