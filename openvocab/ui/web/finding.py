"""What a visitor's Chain page goes on from: raw scores, the thresholds chosen, and what was corrected by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from openvocab import Detections, Explored, Result, read_labels
from openvocab.errors import BadInput

__all__ = ["Finding", "keys_of", "size_of"]


def keys_of(detections: Detections) -> tuple[str, ...]:
    """Return a name for each of N detections, made of its box and label: the same whatever the thresholds are."""
    pairs = zip(detections.xyxy, detections.labels, strict=True)
    return tuple(hashlib.blake2b(box.tobytes() + label.encode(), digest_size=9).hexdigest() for box, label in pairs)


@dataclass(frozen=True, eq=False, slots=True)
class Finding:
    """One explored image and what the visitor made of it.

    explored  the raw scores.
    name      of the image's file.
    upload    where the file lies on the server, and
    preset    the models: another run of both goes on from the encodings.
    changes   settings that were moved, such as box_threshold.
    renamed   key of a detection -> the label that it was given by hand.
    removed   keys of detections that were taken out by hand.
    """

    explored: Explored
    name: str
    upload: str = ""
    preset: str = ""
    changes: Mapping[str, float] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    def answer(self) -> tuple[Result, tuple[str, ...]]:
        """Return the corrected result and the keys of its detections, in their order; no model is called."""
        raw = self._raw()
        keys = keys_of(raw.detections)
        if not (self.renamed or self.removed):
            return raw, keys
        kept = [row for row, key in enumerate(keys) if key not in self.removed]
        detections = raw.detections.take(kept)
        labels = tuple(self.renamed.get(keys[row], raw.detections.labels[row]) for row in kept)
        return replace(raw, detections=replace(detections, labels=labels)), tuple(keys[row] for row in kept)

    def keys(self) -> tuple[str, ...]:
        """Return the keys of answer alone."""
        return self.answer()[1]

    def result(self) -> Result:
        """Return the result of answer alone."""
        return self.answer()[0]

    def with_label(self, key: str, label: str) -> Finding:
        """Return this with a detection renamed.

        Raises:
            BadInput: there is no such detection, or the text cannot be a label.
        """
        self._check(key)
        return replace(self, renamed={**self.renamed, key: read_labels([label])[0]})

    def without(self, key: str) -> Finding:
        """Return this with a detection taken out.

        Raises:
            BadInput: there is no such detection.
        """
        self._check(key)
        return replace(self, removed=self.removed | {key})

    def as_found(self) -> Finding:
        """Return this with nothing corrected."""
        return replace(self, renamed={}, removed=frozenset())

    def moved(self, **changes: float) -> Finding:
        """Return this under other thresholds."""
        return replace(self, changes={**self.changes, **changes})

    def _raw(self) -> Result:
        return self.explored.result(self.name, **self.changes)

    def _check(self, key: str) -> None:
        if key not in keys_of(self._raw().detections):
            raise BadInput("this detection is no longer in the table; move the sliders back, or press Run again")


def size_of(finding: Finding) -> int:
    """Return how many bytes of arrays and tensors a finding keeps alive."""
    return finding.explored.nbytes + finding.explored.vocabulary.nbytes
