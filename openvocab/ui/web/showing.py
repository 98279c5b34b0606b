"""A result as the JSON that the page's components show."""

from __future__ import annotations

from typing import Any, NamedTuple

import openvocab
from openvocab import Explored, Result
from openvocab.ui.web.finding import Finding
from openvocab.ui.web.images import data_url, drawn

__all__ = ["LOOKING", "Shown", "show", "steps_of"]

LOOKING = {"text": "Looking …"}
"""The note while something is under way."""

_STAGES = {"tags": "Tags", "boxes": "Boxes", "masks": "Masks"}


def steps_of(explored: Explored | None, running: bool = False) -> list[dict[str, str]]:
    """Return the stages with the time that each took; what is under way is "now", what is to come is "wait"."""
    done = {} if explored is None else dict(explored.seconds)
    made, now = [], running
    for stage, name in _STAGES.items():
        if stage in done:
            made.append({"name": name, "state": "done", "time": _time(done[stage])})
        elif running:
            made.append({"name": name, "state": "now" if now else "wait", "time": ""})
            now = False
    return made


def _time(seconds: float) -> str:
    return "kept" if seconds == 0 else f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


class Shown(NamedTuple):
    """What the components show: view.js, note.js and tables.js."""

    view: dict[str, Any]
    note: dict[str, Any]
    tables: dict[str, Any]


def show(finding: Finding, running: bool = False) -> Shown:
    """Return the drawn image, a line about it, and the tables; running says that more is to come."""
    result, keys = finding.answer()
    note = LOOKING if running else {"text": _summary(result, finding.explored)}
    return Shown(_view(finding, result, keys, running), note, _tables(finding, result, keys))


def _view(finding: Finding, result: Result, keys: tuple[str, ...], running: bool) -> dict[str, Any]:
    """Return the drawn image, its stages, and where each detection lies, in per cent."""
    scale = 100 / result.width, 100 / result.height
    places = [
        {
            "key": key,
            "x": left * scale[0],
            "y": top * scale[1],
            "w": (right - left) * scale[0],
            "h": (bottom - top) * scale[1],
        }
        for key, (left, top, right, bottom) in zip(keys, result.detections.xyxy.tolist(), strict=True)
    ]
    names = ", ".join(result.detections.labels[:8])
    alt = f"{result.source} with {len(keys)} detection{'' if len(keys) == 1 else 's'}{': ' if names else ''}{names}"
    steps = steps_of(finding.explored, running)
    size = {"width": result.width, "height": result.height}
    return {"image": data_url(drawn(result)), "alt": alt, "detections": places, "steps": steps, **size}


def _tables(finding: Finding, result: Result, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return tags and detections with their scores, and the colors that the image has."""
    detections = result.detections
    colors = dict(zip(detections.labels, openvocab.colors_of(detections.labels), strict=True))
    tags = [{"label": tag.label, "score": tag.score, "color": colors.get(tag.label)} for tag in result.tags]
    rows = [
        {
            "key": key,
            "label": detections.labels[row],
            "score": float(detections.scores[row]),
            "box": [round(edge) for edge in detections.xyxy[row].tolist()],
            "color": colors[detections.labels[row]],
        }
        for row, key in enumerate(keys)
    ]
    corrected = len(finding.renamed) + len(finding.removed)
    return {"tags": tags, "detections": rows, "corrected": corrected, "boxes": finding.explored.stage != "tags"}


def _summary(result: Result, explored: Explored) -> str:
    """Return one line about a finished result."""
    if not result.tags and not len(result.detections):
        why = f" ({'; '.join(result.notes)})" if result.notes else ""
        return f"None of the words was found{why}; lower the sliders below, or try other words."
    parts = [_count(len(result.tags), "tag")] if explored.tag_scores is not None else []
    parts += [_count(len(result.detections), "detection")] if explored.xyxy is not None else []
    found = f"{' and '.join(parts)} in {result.source}, {result.width} × {result.height} pixels."
    lacking = "".join(dict.fromkeys("".join(openvocab.undrawn(label) for label in result.detections.labels)))
    return f"{found} No font of the server draws {lacking}, so “?” stands there in the image." if lacking else found


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
