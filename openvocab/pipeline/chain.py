"""The chain as pure functions: tags from images, boxes from tags, masks from boxes.

Pipeline, explore, the batch engine and evaluation call these, so that one filter added here is one edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.gate import Choice, choose, effective
from openvocab.pipeline.masks import nonempty
from openvocab.pipeline.protocols import (
    Boxes,
    Detector,
    ImageArray,
    MaskDetector,
    Queries,
    Segmenter,
    Tagger,
    Vocabulary,
)
from openvocab.pipeline.ranking import rank_boxes, rank_masks
from openvocab.pipeline.result import ModelRecord, RunRecord
from openvocab.pipeline.settings import Settings
from openvocab.pipeline.views import views

__all__ = ["Stages", "detect", "run_record", "score", "score_features", "segment", "tag"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stages:
    """The models of the chain and its settings: the context of every function here.

    Attributes:
        tagger: Scores labels for whole images; None: the detector gets every label.
        detector: Finds boxes for labels; None: tags only.
        segmenter: Segments what lies in a box; where it is None, a MaskDetector's own masks are used.
        settings: Thresholds and limits; a threshold that is None becomes the checkpoint's own.
    """

    tagger: Tagger | None
    detector: Detector | None
    segmenter: Segmenter[Any] | None
    settings: Settings

    def __post_init__(self) -> None:
        """Check that there is a stage that reads labels, and fill in the thresholds.

        Raises:
            BadInput: neither tagger nor detector is given.
        """
        if self.tagger is None and self.detector is None:
            alone = "a segmenter alone has no labels to go by" if self.segmenter else "a closed one is loaded again"
            raise BadInput(f"a pipeline needs a tagger or a detector; {alone}")
        object.__setattr__(self, "settings", effective(self.settings, self.tagger, self.detector))

    @property
    def independent(self) -> bool:
        """Whether each tag's score stands alone (sigmoid); True without a tagger."""
        return self.tagger is None or self.tagger.independent

    @property
    def masks_from_detector(self) -> MaskDetector | None:
        """The detector where its own masks are used."""
        return self.detector if self.segmenter is None and isinstance(self.detector, MaskDetector) else None


def score(
    stages: Stages, images: Sequence[ImageArray], vocabulary: Vocabulary, *, features: bool = False
) -> tuple[Floats, list[Floats] | None]:
    """Score the labels for P images; with settings.windows, each label's best over the image and its windows.

    Args:
        features: Also return the tagger's features.

    Returns:
        (P, C) scores, and P times the (V, D) features of an image and its windows, or None.

    Raises:
        BadInput: there is no tagger.
        BadOutput: the model's answer is not finite.
    """
    tagger, texts = _texts(stages, vocabulary)
    per_image = [views(image, stages.settings.windows) for image in images]
    flat, size = [view for each in per_image for view in each], stages.settings.batch_size
    if not flat:
        return np.zeros((0, len(vocabulary.labels)), np.float32), None
    batches = [flat[at : at + size] for at in range(0, len(flat), size)]
    starts = np.cumsum([0, *(len(each) for each in per_image)])[:-1]
    if not features:
        scores = np.concatenate([tagger.score(batch, texts) for batch in batches])
        return np.maximum.reduceat(scores, starts, axis=0), None
    rows = [tagger.encode_images(batch) for batch in batches]
    scores = np.concatenate([tagger.scores(each, texts) for each in rows])
    return np.maximum.reduceat(scores, starts, axis=0), np.split(np.concatenate(rows), starts[1:])


def score_features(stages: Stages, features: Floats, vocabulary: Vocabulary) -> Floats:
    """Return the (N, C) scores of (N, D) features of the tagger.

    Raises:
        BadInput: there is no tagger.
    """
    tagger, texts = _texts(stages, vocabulary)
    return tagger.scores(features, texts)


def tag(stages: Stages, scores: Floats | None, labels: Sequence[str]) -> Choice:
    """Return the tags that (C,) scores of C labels mean, and the labels that the detector gets.

    Args:
        scores: The tagger's; None without a tagger.
    """
    return choose(scores, tuple(labels), stages.settings, stages.independent, detects=stages.detector is not None)


def detect(
    stages: Stages, images: Sequence[ImageArray], vocabulary: Vocabulary, wanted: Sequence[str] | None = None
) -> list[Detections]:
    """Return the detections of each image: boxes, and masks where the detector brings them.

    Args:
        wanted: The labels to detect; all of the vocabulary where None.

    Raises:
        BadInput: there is no detector.
        BadOutput: the model's answer is not finite.
    """
    queries = vocabulary.queries
    if stages.detector is None or queries is None:
        raise BadInput("this pipeline has no detector; load one with detector=SPEC")
    class_ids = np.arange(len(queries.labels))
    if wanted is not None and tuple(wanted) != queries.labels:
        class_ids = np.array([vocabulary.labels.index(label) for label in wanted], np.int64)
        queries = Queries(tuple(wanted), queries.template, queries.embeddings[class_ids.tolist()])
    with_masks, threshold = stages.masks_from_detector, stages.settings.threshold("box_threshold")
    if not queries.labels:
        return [Detections.none(image.shape[:2] if with_masks else None) for image in images]
    if with_masks is not None:
        return [
            _ranked(boxes, queries.labels, class_ids, stages.settings, masks)
            for boxes, masks in with_masks.detect_masks(images, queries, threshold)
        ]
    return [
        _ranked(boxes, queries.labels, class_ids, stages.settings)
        for boxes in stages.detector.detect(images, queries, threshold)
    ]


def segment(stages: Stages, image: ImageArray, detections: Detections, encoded: Any = None) -> Detections:
    """Return the detections with masks, without those whose mask is empty or under the mask threshold.

    The segmenter is not called where there is no detection; without a segmenter the detections come back as they are.

    Args:
        encoded: The segmenter's encoding of the image, where the caller has it already.

    Raises:
        BadOutput: the model's answer is not finite.
    """
    if stages.segmenter is None:
        return detections
    if not len(detections):
        return Detections.none(masks_of=image.shape[:2])
    encoding = stages.segmenter.encode(image) if encoded is None else encoded
    masks, mask_scores = stages.segmenter.masks(encoding, detections.xyxy)
    scores = detections.detector_scores * mask_scores
    segmented = replace(detections, scores=scores, mask_scores=mask_scores, masks=masks)
    return segmented.take(rank_masks(scores, mask_scores, nonempty(masks), stages.settings))


def run_record(stages: Stages, vocabulary: Vocabulary) -> RunRecord:
    """Return what someone else needs to get the same numbers."""

    def of(stage: Tagger | Detector | Segmenter[Any] | None) -> ModelRecord | None:
        return None if stage is None else stage.record

    return RunRecord(
        openvocab.__version__,
        of(stages.tagger),
        of(stages.detector),
        of(stages.segmenter),
        vocabulary.prompts.templates,
        vocabulary.prompts.digest,
        vocabulary.queries.template if vocabulary.queries else "",
        stages.settings.given(),
    )


def _texts(stages: Stages, vocabulary: Vocabulary) -> tuple[Tagger, Any]:
    if stages.tagger is None:
        raise BadInput("this pipeline has no tagger; load one with tagger=SPEC")
    if vocabulary.texts is None:
        raise BadInput("this vocabulary was made without a tagger; make it with this pipeline's vocabulary()")
    return stages.tagger, vocabulary.texts


def _ranked(
    boxes: Boxes,
    labels: Sequence[str],
    class_ids: NDArray[np.int64],
    settings: Settings,
    masks: NDArray[np.bool_] | None = None,
) -> Detections:
    """Return the boxes that are detections; a detector's own masks score 1, since its score is for both."""
    rows = rank_boxes(boxes, settings)
    index, scores = boxes.label_index[rows], boxes.scores[rows]
    found = Detections(boxes.xyxy[rows], scores, tuple(labels[at] for at in index), scores, class_ids=class_ids[index])
    if masks is None:
        return found
    ones, masks = np.ones_like(scores), masks[rows]
    return replace(found, mask_scores=ones, masks=masks).take(rank_masks(scores, ones, nonempty(masks), settings))
