"""View models: the stages of a run, and one line about its result."""

from __future__ import annotations

import numpy as np

import openvocab
from openvocab import Explored, Result
from openvocab.ui.web.workspace import Workspace

__all__ = ["RUNNING", "stage_steps", "summary"]

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


def summary(workspace: Workspace) -> str:
    """Return one line about a finished result, with the advice that helps if it is empty."""
    raw, explored = workspace.raw(), workspace.explored
    labels = [each.label for each in workspace.objects(raw)]
    if explored is None:
        return ""
    if not labels and (advice := _advice(raw, explored)):
        return advice
    parts = [_count(len(raw.tags), "tag")] if explored.tag_scores is not None else []
    parts += [_count(len(labels), "detection")] if explored.candidates is not None else []
    found = f"{' and '.join(parts)} in {raw.source}, {raw.width} × {raw.height} pixels."
    lacking = "".join(dict.fromkeys("".join(openvocab.undrawn(label) for label in labels)))
    return f"{found} No font on the server has {lacking}; the image shows “?” instead." if lacking else found


def _advice(raw: Result, explored: Explored) -> str:
    """Return which slider to move, or where the boxes are; empty if there are tags and no detector."""
    names = explored.vocabulary.labels
    if not raw.tags and explored.tag_scores is not None:
        best = int(np.argmax(explored.tag_scores))
        score = float(explored.tag_scores[best])
        return f"No label was found; the best is “{names[best]}” with {score:.2f}. Lower Tags, or try other words."
    if explored.candidates is None:
        return ""
    if count := len(raw.rejected):
        boxes = "the only box" if count == 1 else f"all {count} boxes"
        return f"Verification rejected {boxes}; the list below the objects has the reasons and brings them back."
    columns = [names.index(tag.label) for tag in raw.tags] or list(range(len(names)))
    scores = explored.candidates.scores[:, columns]
    if not scores.size:
        return "No label was found as an object; try other words."
    row, column = np.unravel_index(np.argmax(scores), scores.shape)
    score, name = float(scores[row, column]), names[columns[column]]
    return f"No label was found as an object; the best box is “{name}” with {score:.2f}. Lower Boxes below it."


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
