"""Stages: the models of the chain and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.pipeline.candidates import Candidates
from openvocab.pipeline.exemplars.like import changes_for_like
from openvocab.pipeline.gate import changed, effective
from openvocab.pipeline.phrases.rows import reported
from openvocab.pipeline.presence import Evidence, box_evidence, coefficients, presence_of
from openvocab.pipeline.protocols import Detector, ExemplarSegmenter, MaskDetector, Segmenter, Tagger, Vocabulary
from openvocab.pipeline.result import NO_PRESENCE, ModelRecord, Presence, RunRecord
from openvocab.pipeline.settings import Settings
from openvocab.weights.presence import PresenceModel

__all__ = ["Stages", "run_record"]


@dataclass(frozen=True, slots=True)
class Stages:
    """The models of the chain and its settings: the context of every function of the chain.

    Attributes:
        tagger: Scores labels for whole images; None: the detector gets every label.
        detector: Finds boxes for labels; None: tags only.
        segmenter: Segments what lies in a box; where it is None, a MaskDetector's own masks are used.
        settings: Thresholds and limits; a threshold that is None becomes the checkpoint's own.
    """

    tagger: Tagger | None
    detector: Detector | None
    segmenter: Segmenter[Any] | None
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        """Check that there is a stage that reads labels, and fill in the thresholds.

        Raises:
            BadInput: neither tagger nor detector is given.
        """
        if self.tagger is None and self.detector is None and not isinstance(self.segmenter, ExemplarSegmenter):
            alone = "a segmenter alone has no labels to go by" if self.segmenter else "a closed one is loaded again"
            raise BadInput(f"a pipeline needs a tagger or a detector; {alone}")
        settings = effective(self.settings, self.tagger, self.detector)
        object.__setattr__(self, "settings", settings)
        object.__setattr__(self, "tagger", changed(self.tagger, "batch", settings.batch_size))
        object.__setattr__(self, "detector", changed(self.detector, "batch", settings.detector_batch_size))
        object.__setattr__(self, "detector", changed(self.detector, "windows", 1 if settings.tiles else None))
        object.__setattr__(self, "segmenter", changed(self.segmenter, "batch", settings.segmenter_batch_size))

    @property
    def independent(self) -> bool:
        """Whether each tag's score stands alone (sigmoid); True without a tagger."""
        return self.tagger is None or self.tagger.independent

    @property
    def presence_model(self) -> PresenceModel:
        """The coefficients of presence: those of the calibration, and else those that ship."""
        return coefficients(self.tagger, self.detector, self.settings.calibration)

    def for_vocabulary(self, vocabulary: Vocabulary) -> Self:
        """Return the stages without the tagger where a Prompt has a label that is no word: a tagger scores words.

        An exemplar segmenter that is asked becomes a part of the detector; see changes_for_like.
        """
        words = not vocabulary.prompt_digest or vocabulary.texts is not None or self.tagger is None
        like = changes_for_like(self.detector, self.segmenter, vocabulary.queries)
        return self if words and not like else replace(self, tagger=self.tagger if words else None, **like)

    def presence(self, evidence: Evidence, seen: Candidates | None, vocabulary: Vocabulary) -> Presence:
        """Return the presence of every label, from the tagger's evidence and the detector's boxes."""
        known = evidence if seen is None else {**evidence, "box": box_evidence(self.detector, seen.best)}
        values, own = presence_of(self.presence_model, known), coefficients(self.tagger, self.detector)
        if values is None:
            return NO_PRESENCE
        made = _presence(vocabulary, reported(vocabulary, values), values)
        return made if own is self.presence_model else replace(made, shipped=presence_of(own, known))

    def tag_presences(self, evidence: Sequence[Evidence], vocabulary: Vocabulary) -> list[Presence]:
        """Return the presence of every label in each image, from the tagger's evidence alone."""
        names = [tuple(each) for each in evidence]
        if not names or not names[0] or len(set(names)) > 1:
            return [self.presence(each, None, vocabulary) for each in evidence]
        together = {name: np.stack([each[name] for each in evidence]) for name in names[0]}
        values = presence_of(self.presence_model, together)
        if values is None:
            return [NO_PRESENCE] * len(evidence)
        return [_presence(vocabulary, *rows) for rows in zip(reported(vocabulary, values), values, strict=True)]

    @property
    def masks_from_detector(self) -> MaskDetector | None:
        """The detector where its own masks are used."""
        return self.detector if self.segmenter is None and isinstance(self.detector, MaskDetector) else None


def run_record(stages: Stages, vocabulary: Vocabulary) -> RunRecord:
    """Return what someone else needs to get the same numbers."""

    def of(stage: Any) -> ModelRecord | None:
        return None if stage is None else stage.record

    stages = stages.for_vocabulary(vocabulary)
    like = getattr(stages.detector, "segmenter", None)  # of a LikeDetector
    return RunRecord(
        openvocab.__version__,
        of(stages.tagger),
        of(stages.detector),
        of(stages.segmenter or like),
        vocabulary.prompts.templates,
        vocabulary.prompts.digest,
        vocabulary.queries.template if vocabulary.queries else "",
        stages.settings.given(),
        vocabulary.prompt_digest,
        vocabulary.label_set.digest if vocabulary.label_set else "",
    )


def _presence(vocabulary: Vocabulary, labels: NDArray[np.float32], every: NDArray[np.float32]) -> Presence:
    """Return the presence of (C,) labels, of all (C + N) columns."""
    return Presence(vocabulary.places, labels, every[len(vocabulary.labels) :], vocabulary.labels)
