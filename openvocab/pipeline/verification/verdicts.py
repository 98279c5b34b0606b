"""Verdicts: a rule keeps, relabels or rejects a box by what the tagger sees on a crop of it.

The evidence of a label are log-odds: of the detector for the box, of the tagger on the crop, and of the label's
presence. The rule is a logistic function of them for every label, of which the likeliest is the box's; see
weights.verification. A verdict does not depend on other boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.candidates import LABEL_SCORES
from openvocab.pipeline.detections import Detections, shortest
from openvocab.pipeline.phrases.rows import columns
from openvocab.pipeline.presence import log_odds
from openvocab.pipeline.protocols import Vocabulary
from openvocab.pipeline.result import Presence
from openvocab.pipeline.settings import Settings
from openvocab.pipeline.verdict import Verdict
from openvocab.pipeline.verification.crops import Crops, box_key
from openvocab.weights.verification import VerificationModel

__all__ = [
    "NO_VERDICTS",
    "Judgment",
    "Verdicts",
    "judge",
    "label_evidence",
    "least_likely",
    "verdicts_on",
]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Judgment:
    """A verdict on one box, and the label that the box has by it.

    Attributes:
        place: Place of the label that the box has now; -1 where it is rejected.
        probability: That the box has its label.
        verdict: What is reported.
    """

    place: int
    probability: float
    verdict: Verdict


_LOWEST = 1e-3
"""Scores of the detector under this are not told apart; a label that it was not asked for has this one."""

Verdicts = Mapping[int, Judgment]
"""Row of a detection -> the judgment on it."""
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
    names, least, count = columns(vocabulary), settings.presence_threshold, len(vocabulary.labels)
    rows = [row for row in least_likely(found, settings).tolist() if box_key(found, row) in crops]
    places, evidence = found.class_ids.tolist(), label_evidence(found, rows, crops, presence)
    return {row: judge(model, names, places[row], odds, least, count) for row, odds in zip(rows, evidence, strict=True)}


def label_evidence(found: Detections, rows: Sequence[int], crops: Crops, presence: Presence) -> list[dict[str, Floats]]:
    """Return the evidence of all labels for each of some boxes: name -> (C,) log-odds, of what is known."""
    known: dict[str, Floats] = {}
    if len(presence):
        known["likely"] = log_odds(np.concatenate([presence.probabilities, presence.negatives]))
        known["presence"] = known["likely"] if presence.shipped is None else log_odds(presence.shipped)
    made = [{**crops[box_key(found, row)], **known} for row in rows]
    if LABEL_SCORES in found.data:
        for row, odds in zip(rows, made, strict=True):
            odds["box"] = log_odds(np.maximum(found.data[LABEL_SCORES][row], _LOWEST))
    return made


def judge(
    model: VerificationModel,
    labels: Sequence[str],
    place: int,
    odds: Mapping[str, Floats],
    min_presence: float = 0.0,
    reported: int | None = None,
) -> Judgment:
    """Return the judgment on one box.

    Args:
        model: The rule.
        labels: C labels.
        place: Place of the label that the box has.
        odds: "box", "crop", "masked", "presence" -> (C,) log-odds; "likely" if presence has other ones than the rule
            was fitted with.
        min_presence: A box gets no other label that is less likely to be in the image; a probability.
        reported: Labels from this place on are negatives: a box is rejected for them and gets none; None: there are
            none.
    """
    likely = model.probabilities(odds)
    if "presence" in odds:
        absent = odds.get("likely", odds["presence"]) < log_odds(np.array(min_presence))
        absent[place] = absent[len(labels) if reported is None else reported :] = False
        likely = np.where(absent, -1.0, likely)
    best = place if likely[place] == likely.max() else int(likely.argmax())
    mine, theirs = float(likely[place]), float(likely[best])
    own = labels[place], shortest(mine)
    if best == place:
        right = mine >= model.threshold
        return Judgment(place if right else -1, mine, Verdict("verified" if right else "unlikely", *own))
    if theirs < model.threshold or (reported is not None and best >= reported):
        return Judgment(-1, mine, Verdict("looks_like", labels[best], shortest(theirs)))
    return Judgment(best, theirs, Verdict("relabeled", *own))
