"""The state of an open Chain page: raw scores of an image, thresholds, and corrections by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Unpack

from openvocab import Detections, Explored, Result, read_labels
from openvocab.errors import BadInput
from openvocab.pipeline.settings import SettingChanges

__all__ = ["CorrectedResult", "detection_keys"]


def detection_keys(detections: Detections) -> tuple[str, ...]:
    """Return a key for each of N detections, a hash of its box and label: independent of the thresholds."""
    pairs = zip(detections.xyxy, detections.labels, strict=True)
    return tuple(hashlib.blake2b(box.tobytes() + label.encode(), digest_size=9).hexdigest() for box, label in pairs)


@dataclass(frozen=True, eq=False, slots=True)
class CorrectedResult:
    """An explored image with thresholds and corrections; every change returns a new object.

    Attributes:
        explored: The raw scores.
        name: File name of the image.
        upload: Path of the uploaded file on the server; a run with the same upload and preset reuses the encodings.
        preset: Name of the models' preset.
        thresholds: Settings that differ from the preset's, such as box_threshold.
        renamed: Detection key -> corrected label.
        removed: Keys of deleted detections.
    """

    explored: Explored
    name: str
    upload: str = ""
    preset: str = ""
    thresholds: SettingChanges = field(default_factory=SettingChanges)
    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    def keyed_result(self) -> tuple[Result, tuple[str, ...]]:
        """Return the corrected result and the keys of its detections in the same order. No model is called."""
        raw = self._raw()
        keys = detection_keys(raw.detections)
        if not (self.renamed or self.removed):
            return raw, keys
        kept = [row for row, key in enumerate(keys) if key not in self.removed]
        detections = raw.detections.take(kept)
        labels = tuple(self.renamed.get(keys[row], raw.detections.labels[row]) for row in kept)
        return replace(raw, detections=replace(detections, labels=labels)), tuple(keys[row] for row in kept)

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the remaining detections."""
        return self.keyed_result()[1]

    def result(self) -> Result:
        """Return the corrected result."""
        return self.keyed_result()[0]

    @property
    def nbytes(self) -> int:
        """Size in bytes of all arrays and tensors."""
        return self.explored.nbytes + self.explored.vocabulary.nbytes

    def rename(self, key: str, label: str) -> CorrectedResult:
        """Rename a detection.

        Raises:
            BadInput: there is no detection with this key, or the label is invalid.
        """
        self._check(key)
        return replace(self, renamed={**self.renamed, key: read_labels([label])[0]})

    def remove(self, key: str) -> CorrectedResult:
        """Remove a detection.

        Raises:
            BadInput: there is no detection with this key.
        """
        self._check(key)
        return replace(self, removed=self.removed | {key})

    def without_corrections(self) -> CorrectedResult:
        """Revert all corrections."""
        return replace(self, renamed={}, removed=frozenset())

    def with_thresholds(self, **thresholds: Unpack[SettingChanges]) -> CorrectedResult:
        """Change thresholds."""
        return replace(self, thresholds=SettingChanges(**{**self.thresholds, **thresholds}))

    def _raw(self) -> Result:
        return self.explored.result(self.name, **self.thresholds)

    def _check(self, key: str) -> None:
        if key not in detection_keys(self._raw().detections):
            raise BadInput("this detection is no longer in the table; move the sliders back, or press Run again")
