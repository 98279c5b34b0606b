"""The correction of one image by a person, as one JSON file; the model's own answer is kept beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openvocab.batch.rows import Row, detections_of_plain, id_of, plain_detections, text_of
from openvocab.errors import BadInput
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.result import Tag

__all__ = ["Correction", "applied", "from_json", "row_of_correction", "to_json"]

_FORMAT = 1


@dataclass(frozen=True, eq=False, slots=True)
class Correction:
    """What a person made of one image.

    Attributes:
        id: The id of the image's row.
        sha256: The digest of the image's file; None if it is not known.
        width: The width in pixels of the upright image.
        height: The height in pixels of the upright image.
        labels: The words that the image was asked for, in order.
        tags: The tags, best first.
        found: N detections: the model's own answer.
        detections: M detections: the answer with the changes.
        keys: M identifiers of the detections in the editor.
        by_hand: Whether a person added or changed each of the M detections.
        removed: The identifiers of what a person deleted.
        corrected: Whether detections differ from found.
        reviewed: Whether a person marked the image as reviewed.
        rejected: What verification rejected, with the verdicts; None in a file of an earlier version.
    """

    id: str
    sha256: str | None
    width: int
    height: int
    labels: tuple[str, ...]
    tags: tuple[Tag, ...]
    found: Detections
    detections: Detections
    keys: tuple[str, ...]
    by_hand: tuple[bool, ...]
    removed: tuple[str, ...] = ()
    corrected: bool = False
    reviewed: bool = False
    rejected: Detections | None = None

    def __post_init__(self) -> None:
        """Check that every detection has its key.

        Raises:
            BadInput: There are more or fewer.
        """
        if not len(self.detections) == len(self.keys) == len(self.by_hand):
            raise BadInput(
                f"{len(self.detections)} detections have {len(self.keys)} keys and {len(self.by_hand)} flags; "
                "give one of each for every detection"
            )


def to_json(correction: Correction) -> bytes:
    """Return a correction as the bytes of its file; boxes and scores are exact."""
    extra = [{"key": key, "by_hand": hand} for key, hand in zip(correction.keys, correction.by_hand, strict=True)]
    own = plain_detections(correction.detections)
    plain = {
        "format": _FORMAT,
        "id": text_of(correction.id),
        **{name: getattr(correction, name) for name in ("sha256", "width", "height", "reviewed", "corrected")},
        "labels": list(correction.labels),
        "tags": [[tag.label, tag.score] for tag in correction.tags],
        "detections": [one | more for one, more in zip(own, extra, strict=True)],
        "removed": list(correction.removed),
        "found": plain_detections(correction.found),
        "rejected": None if correction.rejected is None else plain_detections(correction.rejected),
    }
    return (json.dumps(plain, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def from_json(data: bytes, path: Path) -> Correction:
    """Return the correction in the bytes of a file.

    Raises:
        BadInput: They are not a correction; the message has the path.
    """
    try:
        plain = json.loads(data)
        if plain["format"] != _FORMAT:
            raise ValueError(f"its format is {plain['format']!r}, not {_FORMAT}")
        return _correction(plain)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        cause = str(error)[:100] or type(error).__name__
        raise BadInput(f"{path} is not a correction ({cause}); restore it, or delete it to drop it") from error


def _correction(plain: Mapping[str, Any]) -> Correction:
    size = {name: plain[name] for name in ("width", "height")}

    def detections(rows: list[dict[str, Any]]) -> Detections:
        return detections_of_plain(rows, {}, **size)

    own, rejected = plain["detections"], plain.get("rejected")
    return Correction(
        id_of(plain["id"]),
        plain["sha256"],
        **size,
        labels=tuple(plain["labels"]),
        tags=tuple(Tag(label, score) for label, score in plain["tags"]),
        found=detections(plain["found"]),
        detections=detections(own),
        keys=tuple(each["key"] for each in own),
        by_hand=tuple(bool(each["by_hand"]) for each in own),
        removed=tuple(plain["removed"]),
        corrected=bool(plain["corrected"]),
        reviewed=bool(plain["reviewed"]),
        rejected=None if rejected is None else detections(rejected),
    )


def applied(row: Row, correction: Correction, labels: tuple[str, ...]) -> Row:
    """Return a row with the detections of its correction; see Corrections.over."""
    index = {label: place for place, label in enumerate(labels)}
    index |= _others(correction, index)
    given = row.rejected if correction.rejected is None else correction.rejected
    return replace(
        row,
        detections=correction.detections.indexed(index),
        rejected=None if given is None else given.indexed(index),
        labels=labels,
        corrected=correction.corrected,
        reviewed=correction.reviewed,
        notes=(),
    )


def row_of_correction(correction: Correction, labels: tuple[str, ...]) -> Row:
    """Return the row of an image that only its correction answers."""
    one = correction
    return applied(Row(one.id, one.sha256, one.width, one.height, 1, tags=one.tags), one, labels)


def _others(correction: Correction, index: Mapping[str, int]) -> dict[str, int]:
    """Return label -> index of the labels that an index lacks, after its own."""
    named = (*correction.detections.labels, *(correction.rejected.labels if correction.rejected is not None else ()))
    new = [label for label in dict.fromkeys(named) if label not in index]
    return {label: len(index) + place for place, label in enumerate(new)}
