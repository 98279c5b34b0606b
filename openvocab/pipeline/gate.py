"""The gate between tagger and detector: effective thresholds, the labels that the detector gets, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.calibration import Calibration
from openvocab.pipeline.protocols import Detector, Tagger
from openvocab.pipeline.ranking import rank_labels
from openvocab.pipeline.result import Presence, Tag
from openvocab.pipeline.settings import Settings
from openvocab.weights.thresholds import box_threshold, tag_threshold

__all__ = ["Choice", "best_labels", "changed", "choose", "effective", "present_rows"]

Scores = NDArray[np.float32]


def effective(settings: Settings, tagger: Tagger | None, detector: Detector | None) -> Settings:
    """Fill in the thresholds that were not given with those of the calibration, or of the loaded checkpoints.

    The threshold of a stage that is left out stays None. Without a tagger or a detector no box is verified.

    Raises:
        BadInput: the calibration is for other models.
    """
    if settings.calibration is not None:
        settings = _calibrated(settings, settings.calibration, tagger, detector)
    if settings.tag_threshold is None and tagger is not None:
        own = tag_threshold(tagger.record.spec, independent=tagger.independent)
        settings = replace(settings, tag_threshold=own.value)
    if settings.box_threshold is None and detector is not None:
        settings = replace(settings, box_threshold=box_threshold(detector.record.spec).value)
    return settings if tagger and detector else replace(settings, verify=0)


def _calibrated(
    settings: Settings, calibration: Calibration, tagger: Tagger | None, detector: Detector | None
) -> Settings:
    """Return the settings with the thresholds of the calibration where none were given.

    Raises:
        BadInput: the calibration is for other models.
    """
    records = None if tagger is None else tagger.record, None if detector is None else detector.record
    calibration.check(*records, settings.windows, settings.tiles, settings.verify if detector else None)
    if settings.tag_threshold is None and tagger is not None and calibration.tags is not None:
        settings = replace(settings, tag_threshold=calibration.tags.shared.threshold)
    if settings.box_threshold is None and detector is not None and calibration.boxes is not None:
        settings = replace(settings, box_threshold=calibration.boxes.shared.threshold)
    return settings


def changed(stage: Any, name: str, value: int | None) -> Any:
    """Return a stage with another value of a field, where its class has that field and the value is not None."""
    if value is None or not is_dataclass(stage) or isinstance(stage, type) or getattr(stage, name, value) == value:
        return stage
    return replace(stage, **{name: value})


def best_labels(scores: Scores, labels: tuple[str, ...], settings: Settings) -> tuple[NDArray[np.intp], Scores]:
    """Return the indices of the labels that are tags, best first, and their scores, for (C,) scores of C labels."""
    given, min_scores = settings.tag_scores(scores, labels)
    rows = rank_labels(given, min_scores, settings.max_tags)
    return rows, given[rows]


def _wanted(scores: Scores, tagged: NDArray[np.intp], settings: Settings) -> NDArray[np.intp]:
    """Return the indices of the labels that the detector gets, for (C,) scores of the tagger.

    Gate "best" passes the max_tags best labels, whatever they score; "threshold" the tags; "none" all labels. All
    labels keep their own order, so that the images of a batch are detected together.
    """
    if settings.gate == "threshold":
        return tagged
    if settings.gate == "none" or len(scores) <= settings.max_tags:
        return np.arange(len(scores))
    return rank_labels(scores, 0.0, settings.max_tags)


def present_rows(wanted: NDArray[np.intp], presence: Presence, settings: Settings) -> NDArray[np.intp]:
    """Return those of the wanted labels, as indices, that are in the image as likely as presence_threshold asks."""
    if not settings.presence_threshold or not len(presence):
        return wanted
    return wanted[presence.probabilities[wanted] >= settings.presence_threshold]


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """The tags of one image and the labels that the detector gets.

    Attributes:
        labels: The C labels.
        tagged: Indices of the labels that are tags, best first.
        wanted: Indices of the labels that the detector gets; without a detector those of the tags.
        tags: The tags, best first.
        notes: Why there is no tag and, for a result without one, no detection; empty where there is a tag.
    """

    labels: tuple[str, ...]
    tagged: NDArray[np.intp]
    wanted: NDArray[np.intp]
    tags: tuple[Tag, ...]
    notes: tuple[str, ...]

    @property
    def wanted_labels(self) -> tuple[str, ...]:
        """The labels that the detector gets."""
        if len(self.wanted) == len(self.labels) and (np.diff(self.wanted) > 0).all():
            return self.labels
        return tuple(self.labels[row] for row in self.wanted)

    def notes_of(self, detections: int, rejected: int = 0) -> tuple[str, ...]:
        """Return the notes of a result with so many detections, where verification rejected so many boxes."""
        if not self.notes or not rejected:
            return () if detections else self.notes
        boxes = "the only box" if rejected == 1 else f"all {rejected} boxes"
        return () if detections else (*self.notes[:-1], f"no box: verification rejected {boxes}; verify=0 keeps them")


def choose(
    scores: Scores | None, labels: tuple[str, ...], settings: Settings, independent: bool, *, detects: bool
) -> Choice:
    """Return the tags of (C,) scores, and the labels that the detector gets.

    Args:
        scores: The tagger's; None without a tagger: the detector gets all labels.
        labels: The C labels.
        settings: Effective settings.
        independent: Whether each score stands alone (sigmoid).
        detects: Whether a detector follows.
    """

    def box() -> tuple[str, ...]:
        return (_why_no_box(len(labels), settings, gated=scores is not None),) if detects else ()

    if scores is None:
        return Choice(labels, np.zeros(0, np.intp), np.arange(len(labels)), (), box())
    scores, min_scores = settings.tag_scores(scores, labels)
    tagged = rank_labels(scores, min_scores, settings.max_tags)
    wanted = _wanted(scores, tagged, settings) if detects else tagged
    tags = tuple(map(Tag, [labels[row] for row in tagged.tolist()], scores[tagged].tolist()))
    notes = () if tags else (_why_no_tag(scores, labels, min_scores, independent), *box())
    return Choice(labels, tagged, wanted, tags, notes)


def _why_no_tag(
    scores: Scores, labels: Sequence[str], min_scores: float | NDArray[np.float64], independent: bool
) -> str:
    best, rule = int(scores.argmax()), "sigmoid" if independent else "softmax"
    if isinstance(min_scores, np.ndarray):
        min_scores, rule = round(float(min_scores[best]), 3), "calibrated"
    limit = f"the tag threshold {min_scores:g} ({rule})"
    return f"no tag: best label {labels[best]!r} scored {round(float(scores[best]), 3):g}, under {limit}"


def _why_no_box(count: int, settings: Settings, *, gated: bool) -> str:
    if gated and settings.gate == "threshold":
        return "no box: without a tag no label is looked for (gate 'threshold')"
    asked = min(count, settings.max_tags) if gated and settings.gate == "best" else count
    bounds = f"the box threshold {settings.threshold('box_threshold'):g}"
    if settings.presence_threshold:
        bounds += f", its presence {settings.presence_threshold:g}"
    if settings.mask_threshold:
        bounds += f", its mask the mask threshold {settings.mask_threshold:g}"
    which = "the one label looked for did not score" if asked == 1 else f"none of the {asked} labels looked for scored"
    return f"no box: {which} over {bounds}"
