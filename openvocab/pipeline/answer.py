"""The whole chain on one image."""

from __future__ import annotations

from typing import Any

from openvocab.pipeline import chain
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.protocols import ImageArray, Vocabulary
from openvocab.pipeline.result import Result
from openvocab.pipeline.stages import Stages, run_record
from openvocab.pipeline.verification.settle import Verified, finish

__all__ = ["answer"]


def answer(stages: Stages, name: str, image: ImageArray, vocabulary: Vocabulary) -> Result:
    """Return the tags, boxes and masks of an image.

    Args:
        stages: The models and settings.
        name: Of the image, for the result.
        image: (H, W, 3) uint8 RGB.
        vocabulary: The labels, as these stages encode them.

    Raises:
        BadOutput: a model answered with numbers that are not finite.
    """
    stages = stages.for_vocabulary(vocabulary)
    tagged = chain.score(stages, [image], vocabulary)[0] if stages.tagger else None
    choice = chain.tag(stages, tagged.scores if tagged else None, vocabulary.labels)
    detects = stages.detector is not None and len(choice.wanted) > 0
    seen = chain.look(stages, [image], vocabulary, choice.wanted)[0] if detects else None
    evidence, (height, width) = tagged.evidence if tagged else {}, image.shape[:2]
    found, presence = chain.conclude(stages, vocabulary, choice, evidence, seen, (height, width))
    given = stages, image, vocabulary, presence, found
    made = finish(*given) if stages.detector is not None else Verified(found, Detections.none())
    known: dict[str, Any] = {"labels": vocabulary.labels, "presence": presence, "rejected": made.rejected}
    known["notes"], found = choice.notes_of(len(made.detections), len(made.rejected)), made.detections
    return Result(name, width, height, choice.tags, found, run_record(stages, vocabulary), image, **known)
