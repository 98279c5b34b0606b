"""Verification: the tagger scores each box again on crops of it, and a rule keeps, relabels or rejects the box.

The evidence of a label are log-odds: of the detector for the box, of the tagger on the crops, of the label's presence,
and of the tagger for the best other label. The rule is a logistic function of them; see weights.verification. A verdict
does not depend on other boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.chain import Stages, segment
from openvocab.pipeline.crops import object_crop
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.phrases.rows import best_phrases, columns
from openvocab.pipeline.presence import log_odds, tag_log_odds
from openvocab.pipeline.protocols import Boxes, ImageArray, Tagger, Vocabulary
from openvocab.pipeline.ranking import overlaps, rank_boxes
from openvocab.pipeline.result import Presence
from openvocab.pipeline.settings import Settings
from openvocab.weights.verification import VerificationModel, verification_model

__all__ = [
    "MARGIN",
    "NO_VERDICTS",
    "VERIFICATION",
    "Verdict",
    "Verdicts",
    "Verified",
    "crop_log_odds",
    "finish",
    "judge",
    "settle",
    "verify",
]

Floats = NDArray[np.float32]

MARGIN = 0.25
"""What a crop adds on each side of the box, in shares of the longer side: it is 1.5 times as long."""
VERIFICATION = "verification"
"""The entry of Detections.data with the reason of each verdict; empty for a box that was not verified."""


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

Verdicts = Mapping[tuple[float, ...], Verdict]
"""Left, top, right, bottom and place of the label of a box -> its verdict."""
NO_VERDICTS: Verdicts = {}


@dataclass(frozen=True, eq=False, slots=True)
class Verified:
    """Detections after verification.

    Attributes:
        detections: What was kept, best first; data["verification"] has the reasons.
        rejected: What was rejected, best first, with the same entry.
    """

    detections: Detections
    rejected: Detections


def crop_log_odds(tagger: Tagger, image: ImageArray, vocabulary: Vocabulary, found: Detections) -> dict[str, Floats]:
    """Return the (N, C) log-odds of all labels on the crops of N boxes: "crop", and "masked" where there are masks.

    All crops are one batch. A LabelSet's negatives have columns behind those of the labels.

    Raises:
        BadInput: the vocabulary was made without a tagger.
        BadOutput: the tagger's features are not finite.
    """
    masks: Sequence[NDArray[np.bool_] | None] = [None] * len(found) if found.masks is None else list(found.masks)
    names = ("crop",) if found.masks is None else ("crop", "masked")
    views = [
        object_crop(image, box, MARGIN, mask if name == "masked" else None)
        for box, mask in zip(found.xyxy, masks, strict=True)
        for name in names
    ]
    if vocabulary.texts is None:
        raise BadInput("this vocabulary was made without a tagger; make it with this pipeline's vocabulary()")
    features = tagger.encode_images(views)
    odds = tag_log_odds(tagger, features, tagger.logits(features, vocabulary.texts), vocabulary.background)
    odds = best_phrases(vocabulary, odds)
    return {name: odds[at :: len(names)] for at, name in enumerate(names)}


def finish(
    stages: Stages,
    image: ImageArray,
    vocabulary: Vocabulary,
    presence: Presence,
    found: Detections,
    encoded: Any = None,
) -> Verified:
    """Return the detections of chain.conclude with masks, and verified if the settings ask for it.

    Args:
        stages: The models and settings.
        image: (H, W, 3) uint8 RGB.
        vocabulary: The labels.
        presence: Of the labels in the image.
        found: The detections.
        encoded: The segmenter's encoding of the image, where the caller has it already.

    Raises:
        BadOutput: a model's answer is not finite.
    """
    made = segment(stages, image, found, encoded)
    return settle(made, verify(stages, image, vocabulary, presence, made), vocabulary.labels, stages.settings)


def verify(
    stages: Stages, image: ImageArray, vocabulary: Vocabulary, presence: Presence, found: Detections
) -> Verdicts:
    """Return the verdicts on the settings.verify boxes that score least; none without a tagger.

    Args:
        stages: The models and settings.
        image: (H, W, 3) uint8 RGB.
        vocabulary: The labels, all of which compete for a box.
        presence: Of the labels in the image.
        found: Detections, with masks where there is a segmenter; class ids are places in the vocabulary.

    Raises:
        BadOutput: the tagger's features are not finite.
    """
    tagger, detector, count = stages.tagger, stages.detector, stages.settings.verify
    if tagger is None or detector is None or not count or not len(found):
        return NO_VERDICTS
    some = found.take(np.argsort(found.detector_scores, kind="stable")[:count])
    odds = crop_log_odds(tagger, image, vocabulary, some)
    names = columns(vocabulary)
    if len(presence):
        known = log_odds(np.concatenate([presence.probabilities, presence.negatives]))
        odds["presence"] = np.tile(known, (len(some), 1))
    model = verification_model(tagger.record.spec, detector.record.spec, independent=stages.independent)
    boxes, own = log_odds(some.detector_scores), some.class_ids.tolist()
    rows = [{name: values[row] for name, values in odds.items()} for row in range(len(some))]
    least, reported = stages.settings.presence_threshold, len(vocabulary.labels)
    return {
        key_of(some, row): judge(model, names, own[row], float(boxes[row]), each, least, reported)
        for row, each in enumerate(rows)
    }


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


def settle(found: Detections, made: Verdicts, labels: Sequence[str], settings: Settings) -> Verified:
    """Apply verdicts: drop what is rejected, give new labels, and leave one label to an object.

    Of boxes that overlap, the likelier one stays; Settings.nms_iou, duplicates and duplicate_iou say which overlap. A
    box without a verdict counts by the detector's score.

    Args:
        found: Detections whose class ids are places in the labels.
        made: The verdicts.
        labels: All labels.
        settings: Those of the chain.
    """
    if not settings.verify or not len(found):
        return Verified(found, Detections.none())
    own = zip(found.class_ids.tolist(), found.detector_scores.tolist(), strict=True)
    given = [made.get(key_of(found, row), Verdict(*each, "")) for row, each in enumerate(own)]
    places, likely = np.array([one.place for one in given]), np.array([one.probability for one in given], np.float32)
    rows = np.flatnonzero(places >= 0)
    some = Boxes(found.xyxy[rows], likely[rows], places[rows])
    kept = rows[rank_boxes(some, settings.changed(verify=0), min_scores=0.0)]
    reasons = [one.reason for one in given]
    for row in np.setdiff1d(rows, kept):
        winner = kept[overlaps(found.xyxy[row], found.xyxy[kept])[0].argmax()]
        reasons[row] = f"rejected: same object as {labels[places[winner]]} {likely[winner]:.2f}"
    told = replace(found, data={**found.data, VERIFICATION: tuple(reasons)})
    named = np.where(places < 0, found.class_ids, places)
    told = replace(told, labels=tuple(labels[place] for place in named), class_ids=named)
    out = np.setdiff1d(np.arange(len(found)), kept)
    return Verified(told.take(np.sort(kept)), told.take(out) if len(out) else Detections.none())


def key_of(found: Detections, row: int) -> tuple[float, ...]:
    """Return the key of a detection among verdicts."""
    return (*found.xyxy[row].tolist(), float(found.class_ids[row]))
