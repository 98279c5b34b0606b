"""Verdicts: a rule keeps, relabels or rejects a box by what the tagger sees on crops of it.

The evidence of a label are log-odds: of the detector for the box, of the tagger on the crops, of the label's presence,
and of the tagger for the best other label. The rule is a logistic function of them; see weights.verification. A verdict
does not depend on other boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.detections import Detections
from openvocab.pipeline.phrases.rows import columns
from openvocab.pipeline.presence import log_odds
from openvocab.pipeline.protocols import Vocabulary
from openvocab.pipeline.result import Presence
from openvocab.pipeline.settings import Settings
from openvocab.pipeline.verification.crops import Crops, box_key
from openvocab.weights.verification import VerificationModel

__all__ = ["NO_VERDICTS", "Verdict", "Verdicts", "judge", "label_evidence", "least_likely", "rival_of", "verdicts_on"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification says of one box.

    Attributes:
        place: Place of the label that the box has now; -1 where it is rejected.
        probability: That the box has its label.
        reason: "verified", "relabeled: was LABEL", or "rejected: ...".
    """

    place: int
    probability: float
    reason: str


_FLOOR = -8.0
"""Log-odds under which another label is no rival, whether or not it was asked for."""

Verdicts = Mapping[int, Verdict]
"""Row of a detection -> its verdict."""
NO_VERDICTS: Verdicts = {}


def least_likely(found: Detections, settings: Settings) -> NDArray[np.intp]:
    """Return the rows of the boxes to verify: the settings.verify that score least."""
    return np.argsort(found.detector_scores, kind="stable")[: settings.verify]


def verdicts_on(
    model: VerificationModel,
    vocabulary: Vocabulary,
    presence: Presence,
    found: Detections,
    crops: Crops,
    settings: Settings,
) -> Verdicts:
    """Return the verdicts on the boxes to verify, as far as their crops are known. No model is called.

    Args:
        model: The rule.
        vocabulary: The labels, all of which compete for a box.
        presence: Of the labels in the image.
        found: Detections whose class ids are places in the vocabulary.
        crops: What the tagger sees on crops of boxes.
        settings: How many boxes are verified, and the least presence of another label.
    """
    rows = [row for row in least_likely(found, settings).tolist() if box_key(found, row) in crops]
    known: dict[str, Floats] = {}
    if len(presence):
        known["presence"] = log_odds(np.concatenate([presence.probabilities, presence.negatives]))
    names, least = columns(vocabulary), settings.presence_threshold
    boxes = settings.box_log_odds(found.detector_scores, vocabulary.labels, found.class_ids)
    made: dict[int, Verdict] = {}
    for row in rows:
        odds, place = {**crops[box_key(found, row)], **known}, int(found.class_ids[row])
        made[row] = judge(model, names, place, float(boxes[row]), odds, least, len(vocabulary.labels))
    return made


def judge(
    model: VerificationModel,
    labels: Sequence[str],
    place: int,
    box: float,
    odds: Mapping[str, Floats],
    min_presence: float = 0.0,
    reported: int | None = None,
) -> Verdict:
    """Return the verdict on one box.

    Args:
        model: The rule.
        labels: C labels.
        place: Place of the label that the box has.
        box: Log-odds of the detector's score.
        odds: "crop", "masked", "presence" -> (C,) log-odds.
        min_presence: A box gets no other label that is less likely to be in the image; a probability.
        reported: Labels from this place on are negatives: a box is rejected for them and gets none; None: there are
            none.
    """
    mine = model.probability(label_evidence(odds, place) | {"box": box})
    if mine >= model.threshold:
        return Verdict(place, mine, "verified")
    rival = rival_of(odds, place)
    theirs = 0.0 if rival == place else model.probability(label_evidence(odds, rival))
    there = "presence" not in odds or float(odds["presence"][rival]) >= float(log_odds(np.array(min_presence)))
    there = there and (reported is None or rival < reported)
    if theirs >= model.threshold and there:
        return Verdict(rival, theirs, f"relabeled: was {labels[place]} {mine:.2f}")
    if theirs > mine:
        return Verdict(-1, mine, f"rejected: looks like {labels[rival]} {theirs:.2f}")
    return Verdict(-1, mine, f"rejected: {labels[place]} {mine:.2f}")


def rival_of(odds: Mapping[str, Floats], place: int) -> int:
    """Return the place of the label, other than that of the box, which the crops show best; place without another."""
    seen = _seen(odds)
    seen[place] = -np.inf
    return int(seen.argmax()) if len(seen) > 1 else place


def label_evidence(odds: Mapping[str, Floats], place: int) -> dict[str, float]:
    """Return the evidence for one label of a box, from the log-odds of all labels."""
    seen = _seen(odds)
    seen[place] = _FLOOR
    return {name: float(values[place]) for name, values in odds.items()} | {"against": max(float(seen.max()), _FLOOR)}


def _seen(odds: Mapping[str, Floats]) -> NDArray[np.float64]:
    """Return the (C,) mean log-odds of the crops."""
    rows = [odds[name] for name in ("crop", "masked") if name in odds]
    return np.asarray(np.mean(rows, axis=0, dtype=np.float64))
