"""View models: results as the JSON values of the page's components."""

from __future__ import annotations

from typing import Any, NamedTuple

import openvocab
from openvocab import Explored, Result
from openvocab.ui.web.corrections import CorrectedResult
from openvocab.ui.web.images import data_url, draw_for_page

__all__ = ["RUNNING", "ChainView", "chain_view", "stage_steps"]

RUNNING = {"text": "Running …"}
"""Value of note.js during a run."""

_STAGES = {"tags": "Tags", "boxes": "Boxes", "masks": "Masks"}


def stage_steps(explored: Explored | None, running: bool = False) -> list[dict[str, str]]:
    """Return name, state and time of each stage; the state is "done", "now" or "wait"."""
    done = {} if explored is None else dict(explored.seconds)
    steps, now = [], running
    for stage, name in _STAGES.items():
        if stage in done:
            steps.append({"name": name, "state": "done", "time": _time(done[stage])})
        elif running:
            steps.append({"name": name, "state": "now" if now else "wait", "time": ""})
            now = False
    return steps


def _time(seconds: float) -> str:
    return "cached" if seconds == 0 else f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


class ChainView(NamedTuple):
    """Values of the components of the tab Chain.

    Attributes:
        view: Value of view.js.
        note: Value of note.js.
        tables: Value of tables.js.
    """

    view: dict[str, Any]
    note: dict[str, Any]
    tables: dict[str, Any]


def chain_view(corrected: CorrectedResult, running: bool = False) -> ChainView:
    """Return the annotated image, a summary and the tables; with running, more stages follow."""
    result, keys = corrected.keyed_result()
    note = RUNNING if running else {"text": _summary(result, corrected.explored)}
    return ChainView(_view(corrected, result, keys, running), note, _tables(corrected, result, keys))


def _view(corrected: CorrectedResult, result: Result, keys: tuple[str, ...], running: bool) -> dict[str, Any]:
    """Return the annotated image, the stages, and the box of each detection in percent of the image."""
    scale = 100 / result.width, 100 / result.height
    boxes = [
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
    steps = stage_steps(corrected.explored, running)
    size = {"width": result.width, "height": result.height}
    return {"image": data_url(draw_for_page(result)), "alt": alt, "detections": boxes, "steps": steps, **size}


def _tables(corrected: CorrectedResult, result: Result, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return tags and detections with their scores and the colors of the annotated image."""
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
    return {"tags": tags, "detections": rows, "corrections": len(corrected.renamed) + len(corrected.removed)}


def _summary(result: Result, explored: Explored) -> str:
    """Return one line about a finished result."""
    if not result.tags and not len(result.detections):
        why = f" ({'; '.join(result.notes)})" if result.notes else ""
        return f"No label was found{why}; lower the thresholds below, or try other labels."
    parts = [_count(len(result.tags), "tag")] if explored.tag_scores is not None else []
    parts += [_count(len(result.detections), "detection")] if explored.xyxy is not None else []
    found = f"{' and '.join(parts)} in {result.source}, {result.width} × {result.height} pixels."
    lacking = "".join(dict.fromkeys("".join(openvocab.undrawn(label) for label in result.detections.labels)))
    return f"{found} No font on the server has {lacking}; the image shows “?” instead." if lacking else found


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
