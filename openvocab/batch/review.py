"""The rows of a run that a person should look at first: those where tagger, detector and presence disagree.

The score of a row is the number of errors that its own answers make likely. A box is right as often as its label is
present and its score says; a label that is not reported is missed as often as it is present. Where a row has no
presence, the tagger's score takes its place. A box that verification rejected is missed as often as that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openvocab.batch.rows import Row
from openvocab.batch.run_folder import Run
from openvocab.pipeline.verdict import VERIFICATION, Verdict

__all__ = ["Doubt", "Rejection", "Reviewed", "doubts_of", "rejections_of", "review"]

_LEAST = 0.02
"""Doubts under this are left out."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label of one image that may be wrong or missed.

    Attributes:
        label: The label.
        errors: The number of errors that the answers make likely.
        reason: Why, in a few words.
    """

    label: str
    errors: float
    reason: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A box that verification rejected.

    Attributes:
        label: The label that it had.
        score: The detector's.
        errors: How likely the rejection is wrong, at most one half: a close call has the most. A box that is its own
            label with 0.3, or that looks like another one with 0.7, should have been kept in 0.3.
        verdict: Why it was rejected.
    """

    label: str
    score: float
    errors: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A row in the order of the review.

    Attributes:
        id: The id of the row.
        score: The sum of the errors that its doubts make likely.
        doubts: The doubts, the greatest first.
        rejected: What verification rejected, close calls first.
    """

    id: str
    score: float
    doubts: tuple[Doubt, ...]
    rejected: tuple[Rejection, ...] = ()


def review(run: Run) -> list[Reviewed]:
    """Return the answered rows of a run that nobody has reviewed, the most doubtful first; rows alike keep their order.

    Raises:
        BadInput: a part of the run cannot be read.
    """
    boxed, tagged = bool(run.record.get("detector")), bool(run.record.get("tagger"))
    rows = []
    for row in run:
        if row.status == "ok" and not row.reviewed:
            rejected = rejections_of(row)
            doubts = doubts_of(row, rejected, tagged=tagged, boxed=boxed)
            rows.append(Reviewed(row.id, sum(each.errors for each in doubts), doubts, rejected))
    return sorted(rows, key=lambda each: -each.score)


def doubts_of(row: Row, rejected: Sequence[Rejection], *, tagged: bool, boxed: bool) -> tuple[Doubt, ...]:
    """Return what may be wrong in a row, the greatest doubt first.

    Args:
        row: An answered row.
        rejected: What verification rejected in it.
        tagged: Whether the run has a tagger.
        boxed: Whether it has a detector: then a label is reported if it has a box, and else if it is a tag.
    """
    tags = {tag.label: tag.score for tag in row.tags}
    boxes = _boxes(row) if boxed else {}
    known = row.presence if row.presence is not None else (tags if tagged else None)
    made = [_reported(label, scores, known) for label, scores in boxes.items()]
    if boxed:
        missing = {label: chance for label, chance in (known or {}).items() if label not in boxes}
        made += [Doubt(label, chance, _no_box(label, chance, tags, row)) for label, chance in missing.items()]
    elif row.presence is not None:
        made += [_tag(label, row.presence.get(label, 0.0), tags) for label in {**row.presence, **tags}]
    else:
        made += [Doubt(label, 1 - score, f"tag {score:.2f}") for label, score in tags.items()]
    made = _with_rejections(made, rejected, boxes)
    return tuple(sorted((each for each in made if each.errors >= _LEAST), key=lambda each: -each.errors))


def rejections_of(row: Row) -> tuple[Rejection, ...]:
    """Return what verification rejected in a row, close calls first, without what a person brought back."""
    found = row.rejected
    if found is None or VERIFICATION not in found.data:
        return ()
    back = set() if row.detections is None else {box.tobytes() for box in row.detections.xyxy}
    chances = [each.probability or 0.0 for each in found.data[VERIFICATION]]
    errors = [round(min(chance, 1 - chance), 2) for chance in chances]
    columns = found.labels, found.detector_scores.tolist(), errors, found.data[VERIFICATION], found.xyxy
    made = [Rejection(*each) for *each, box in zip(*columns, strict=True) if box.tobytes() not in back]
    return tuple(sorted(made, key=lambda each: -each.errors))


def _with_rejections(
    doubts: Sequence[Doubt], rejected: Sequence[Rejection], boxes: Mapping[str, list[float]]
) -> list[Doubt]:
    """Return the doubts with the rejections of their labels: one object more that may be missed, or the one."""
    made = {each.label: each for each in doubts}
    for one in rejected:
        reason, known = f"box {one.score:.2f} {one.verdict}", made.get(one.label)
        if known is None:
            made[one.label] = Doubt(one.label, one.errors, reason)
        else:
            errors = known.errors + one.errors if one.label in boxes else max(known.errors, one.errors)
            made[one.label] = Doubt(one.label, errors, f"{known.reason}; {reason}")
    return list(made.values())


def _boxes(row: Row) -> dict[str, list[float]]:
    """Return label -> scores of its boxes, best first."""
    found: dict[str, list[float]] = {}
    if row.detections is not None:
        for label, score in zip(row.detections.labels, row.detections.detector_scores.tolist(), strict=True):
            found.setdefault(label, []).append(score)
    return {label: sorted(scores, reverse=True) for label, scores in found.items()}


def _reported(label: str, scores: list[float], known: Mapping[str, float] | None) -> Doubt:
    """Return the doubt about the boxes of a label: each is right as often as label and box are."""
    chance = 1.0 if known is None else known.get(label, 0.0)
    errors = sum(1 - chance * score for score in scores)
    count = f"{len(scores)} boxes, the best" if len(scores) > 1 else "box"
    return Doubt(label, errors, f"{count} {scores[0]:.2f}" + ("" if known is None else f", presence {chance:.2f}"))


def _no_box(label: str, chance: float, tags: Mapping[str, float], row: Row) -> str:
    tag = f"tag {tags[label]:.2f}" if label in tags else "no tag"
    return f"no box, {tag}" + ("" if row.presence is None else f", presence {chance:.2f}")


def _tag(label: str, chance: float, tags: Mapping[str, float]) -> Doubt:
    if label in tags:
        return Doubt(label, 1 - chance, f"tag {tags[label]:.2f}, presence {chance:.2f}")
    return Doubt(label, chance, f"no tag, presence {chance:.2f}")
