"""View models: the stages of a run, and one line about its result."""

from __future__ import annotations

import numpy as np

import openvocab
from openvocab import Explored, Result
from openvocab.ui.web.texts import strings
from openvocab.ui.web.workspace import Workspace

__all__ = ["RUNNING", "stage_steps", "summary"]

RUNNING = {"text": strings.RUNNING}
"""Value of note.js during a run."""


def stage_steps(explored: Explored | None, running: bool = False) -> list[dict[str, str]]:
    """Return name, state and time of each stage; the state is "done", "now" or "wait"."""
    done = {} if explored is None else dict(explored.seconds)
    steps, now = [], running
    for stage, name in strings.STAGES.items():
        if stage in done:
            steps.append({"name": name, "state": "done", "time": _time(done[stage])})
        elif running:
            steps.append({"name": name, "state": "now" if now else "wait", "time": ""})
            now = False
    return steps


def _time(seconds: float) -> str:
    return strings.CACHED if seconds == 0 else strings.seconds(seconds)


def summary(workspace: Workspace) -> str:
    """Return one line about a finished result, with the advice that helps if it is empty."""
    raw, explored = workspace.raw(), workspace.explored
    labels = [each.label for each in workspace.objects(raw)]
    if explored is None:
        return ""
    if not labels and (advice := _advice(raw, explored)):
        return advice
    tags = None if explored.tag_scores is None else len(raw.tags)
    found = strings.found(tags, None if explored.candidates is None else len(labels), raw.source, raw.width, raw.height)
    lacking = "".join(dict.fromkeys("".join(openvocab.undrawn(label) for label in labels)))
    return f"{found} {strings.undrawn(lacking)}" if lacking else found


def _advice(raw: Result, explored: Explored) -> str:
    """Return which slider to move, or where the boxes are; empty if there are tags and no detector."""
    names = explored.vocabulary.labels
    if not raw.tags and explored.tag_scores is not None:
        best = int(np.argmax(explored.tag_scores))
        return strings.best_tag(names[best], float(explored.tag_scores[best]))
    if explored.candidates is None:
        return ""
    if count := len(raw.rejected):
        return strings.all_rejected(count)
    columns = [names.index(tag.label) for tag in raw.tags] or list(range(len(names)))
    scores = explored.candidates.scores[:, columns]
    if not scores.size:
        return strings.NO_OBJECT
    row, column = np.unravel_index(np.argmax(scores), scores.shape)
    return strings.best_box(names[columns[column]], float(scores[row, column]))
