"""Verification in the chain: look at crops of some boxes, and apply the verdicts on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from openvocab.pipeline.candidates import LABEL_SCORES
from openvocab.pipeline.chain import segment
from openvocab.pipeline.detections import Detections, shortest
from openvocab.pipeline.protocols import Boxes, ImageArray, Vocabulary
from openvocab.pipeline.ranking import overlaps, rank_boxes
from openvocab.pipeline.result import Presence
from openvocab.pipeline.settings import Settings
from openvocab.pipeline.stages import Stages
from openvocab.pipeline.verdict import VERIFICATION, Verdict
from openvocab.pipeline.verification.crops import crops_of
from openvocab.pipeline.verification.verdicts import NO_VERDICTS, Judgment, Verdicts, least_likely, verdicts_on
from openvocab.weights.verification import verification_model

__all__ = ["Verified", "finish", "settle", "verify"]


@dataclass(frozen=True, eq=False, slots=True)
class Verified:
    """Detections after verification.

    Attributes:
        detections: What was kept, best first; data["verification"] has the verdicts.
        rejected: What was rejected, best first, with the same entry.
    """

    detections: Detections
    rejected: Detections


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
    tagger, detector, settings = stages.tagger, stages.detector, stages.settings
    if tagger is None or detector is None or not settings.verify or not len(found):
        return NO_VERDICTS
    crops = crops_of(tagger, image, vocabulary, found.take(least_likely(found, settings)))
    model = verification_model(tagger.record.spec, detector.record.spec, independent=stages.independent)
    return verdicts_on(model, vocabulary, presence, found, crops, settings)


def settle(found: Detections, made: Verdicts, labels: tuple[str, ...], settings: Settings) -> Verified:
    """Apply verdicts: drop what is rejected, give new labels, and leave one label to an object.

    Of boxes that overlap, the likelier one stays; Settings.nms_iou, duplicates and duplicate_iou say which overlap. A
    box without a verdict counts by the detector's score.

    Args:
        found: Detections whose class ids are places in the labels.
        made: The verdicts.
        labels: All labels.
        settings: Those of the chain.
    """
    data = {name: values for name, values in found.data.items() if name != LABEL_SCORES}
    found = replace(found, data=data) if len(data) < len(found.data) else found
    if not settings.verify or not len(found):
        return Verified(found, Detections.none())
    own = enumerate(zip(found.class_ids.tolist(), found.detector_scores.tolist(), strict=True))
    given = [made.get(row, Judgment(*each, Verdict())) for row, each in own]
    places, likely = np.array([one.place for one in given]), np.array([one.probability for one in given], np.float32)
    rows = np.flatnonzero(places >= 0)
    some = Boxes(found.xyxy[rows], likely[rows], places[rows])
    kept = rows[rank_boxes(some, settings.changed(verify=0), min_scores=0.0)]
    verdicts = [one.verdict for one in given]
    for row in np.setdiff1d(rows, kept):
        winner = kept[overlaps(found.xyxy[row], found.xyxy[kept])[0].argmax()]
        verdicts[row] = Verdict("same_object", labels[places[winner]], shortest(likely[winner]))
    told = replace(found, data={**data, VERIFICATION: tuple(verdicts)})
    named = np.where(places < 0, found.class_ids, places)
    told = replace(told, labels=tuple(labels[place] for place in named), class_ids=named)
    out = np.setdiff1d(np.arange(len(found)), kept)
    return Verified(told.take(np.sort(kept)), told.take(out) if len(out) else Detections.none())
