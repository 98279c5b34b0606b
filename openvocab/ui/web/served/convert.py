"""Between a workspace, which a person edits, and the correction that a run keeps."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import openvocab
from openvocab import Detections, Encoded, Result
from openvocab.batch.corrections.correction import Correction
from openvocab.batch.rows import Row
from openvocab.pipeline.masks import EncodedMasks
from openvocab.ui.web.workspace import Object, Workspace, detection_keys

if TYPE_CHECKING:
    from openvocab.ui.web.served.entries import Entry

__all__ = ["correction_of", "starting_point"]

_ADDED = re.compile(r"added-([0-9]+)")


def starting_point(
    entry: Entry,
    encoded: Encoded,
    preset: str,
    row: Row | None,
    kept: Correction | None,
    keeper: Callable[[Workspace], None],
) -> Workspace:
    """Return the workspace of an image as the run has it.

    Args:
        entry: The image.
        encoded: The image, encoded for no stage yet.
        preset: Preset that encoded it.
        row: Its row, or None.
        kept: Its correction, or None.
        keeper: Writes the workspace into the run after each change.
    """
    source = entry.name
    stored = _stored(source, encoded, row, kept)
    edits: dict[str, Object | None] = {}
    if kept is not None:
        hands = dict(zip(kept.keys, kept.by_hand, strict=True))
        edits = {each.key: each for each in _objects(kept.detections, kept.keys) if hands[each.key]}
        edits |= dict.fromkeys(kept.removed)
    numbers = [int(found[1]) for key in edits if (found := _ADDED.fullmatch(key))]
    number = max(numbers, default=0)
    return Workspace(
        source, "", preset, encoded, edits=edits, last_number=number, stored=stored, place=entry.key, keeper=keeper
    )


def _stored(source: str, encoded: Encoded, row: Row | None, kept: Correction | None) -> Result | None:
    """Return what the models found: as the correction has it, or else the row; None for a new image."""
    if kept is not None:
        tags, found, labels = kept.tags, kept.found, kept.labels
        rejected = row.rejected if kept.rejected is None and row is not None else kept.rejected
    elif row is not None and row.status == "ok":
        tags, found, labels = row.tags, row.detections or Detections.none(), ()  # the run has them
        rejected = row.rejected
    else:
        return None
    height, width = encoded.image.shape[:2]
    record = openvocab.RunRecord(openvocab.__version__, None, None, encoded.models[2], (), "", "")
    rejected = Detections.none() if rejected is None else rejected
    return Result(source, width, height, tags, found, record, encoded.image, labels=labels, rejected=rejected)


def _objects(detections: Detections, keys: tuple[str, ...]) -> list[Object]:
    """Return the detections of a correction as objects that a person changed."""
    masks, scores, made = detections.encoded().masks, detections.mask_scores, []
    for row, key in enumerate(keys):
        left, top, right, bottom = detections.xyxy[row].tolist()
        mask = masks.rle(row) if isinstance(masks, EncodedMasks) else None
        mask_score = None if scores is None else float(scores[row])
        values = float(detections.scores[row]), float(detections.detector_scores[row]), mask_score
        made.append(Object(key, detections.labels[row], *values, (left, top, right, bottom), mask, by_hand=True))
    return made


def correction_of(entry: Entry, workspace: Workspace, raw: Result, sha256: str | None, *, reviewed: bool) -> Correction:
    """Return the correction of an image.

    Args:
        entry: The image.
        workspace: Its workspace.
        raw: What workspace.raw returns.
        sha256: The digest of its file.
        reviewed: Whether it is marked as reviewed.
    """
    objects = workspace.objects(raw)
    found = set(detection_keys(raw.detections))
    removed = tuple(key for key, each in workspace.edits.items() if each is None)
    height, width = workspace.size
    return Correction(
        entry.id,
        sha256,
        width,
        height,
        raw.labels,
        raw.tags,
        raw.detections.encoded(),
        workspace.result().detections.encoded(),
        tuple(each.key for each in objects),
        tuple(each.by_hand for each in objects),
        removed,
        corrected=any(each.by_hand for each in objects) or not found.isdisjoint(removed),
        reviewed=reviewed,
        rejected=raw.rejected.encoded(),
    )
