"""The chain as pure functions: tags from images, boxes from tags, masks from boxes.

Pipeline, explore, the batch engine and evaluation call these, so that one filter added here is one edit.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.candidates import CandidateLimits, Candidates, find_candidates
from openvocab.pipeline.detections import Detections, label_ids
from openvocab.pipeline.gate import Choice, choose, present_rows
from openvocab.pipeline.masks import Masks, nonempty
from openvocab.pipeline.phrases.rows import best_phrases, column_scores, columns, labeled, query_rows, reported
from openvocab.pipeline.presence import (
    Evidence,
    least_evidence,
    tag_evidence,
    tag_log_odds,
)
from openvocab.pipeline.protocols import (
    ImageArray,
    JointScorer,
    SizedInput,
    Tagger,
    TextEmbeddings,
    Vocabulary,
)
from openvocab.pipeline.ranking import rank_masks
from openvocab.pipeline.result import Presence
from openvocab.pipeline.scores import refuse_nonfinite
from openvocab.pipeline.stages import Stages
from openvocab.pipeline.tiled import detect_tiles, segment_tiles
from openvocab.pipeline.tiles import Tiling, grid_size
from openvocab.pipeline.views import views

__all__ = [
    "Tagged",
    "conclude",
    "detect",
    "look",
    "score",
    "score_features",
    "score_views",
    "segment",
    "tag",
    "tiling_of",
    "views_key",
]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Tagged:
    """What the tagger says of one image.

    Attributes:
        scores: (C,) float32; with windows or tiles, each label's best over the image and those.
        evidence: The tagger's log-odds of the labels and, after them, of a LabelSet's negatives; see presence.
        features: (V, D) float32 features of the image, its windows and its tiles.
    """

    scores: Floats
    evidence: Evidence
    features: Floats


def score(stages: Stages, images: Sequence[ImageArray], vocabulary: Vocabulary) -> list[Tagged]:
    """Score the labels for each image; with windows or tiles, each label's best over the image and those.

    Raises:
        BadInput: there is no tagger.
        BadOutput: the model's answer is not finite.
    """
    tagger, _ = _texts(stages, vocabulary)
    cut = stages.settings.tiles
    per_image = [views(each, stages.settings.windows, tiling_of(stages, each) if cut else None) for each in images]
    flat, size = [view for each in per_image for view in each], stages.settings.batch_size
    if not flat:
        return []
    rows = np.concatenate([tagger.encode_images(flat[at : at + size]) for at in range(0, len(flat), size)])
    return score_views(stages, _apart(rows, [len(each) for each in per_image]), vocabulary)


def score_views(stages: Stages, features: Sequence[Floats], vocabulary: Vocabulary) -> list[Tagged]:
    """Score the labels for the (V, D) features of each image and its windows.

    Raises:
        BadInput: there is no tagger.
        BadOutput: a feature or a score is not finite.
    """
    if not features:
        return []
    tagger, texts = _texts(stages, vocabulary)
    rows, counts = np.concatenate(features), [len(each) for each in features]
    scores, logits = _scores_and_logits(tagger, rows, texts)
    refuse_nonfinite("the tagger's scores", scores, rows)
    odds = best_phrases(vocabulary, tag_log_odds(tagger, rows, logits, vocabulary.background))
    scores = reported(vocabulary, column_scores(vocabulary, tagger, rows, texts, scores, logits))
    best = np.maximum.reduceat(scores, np.cumsum([0, *counts[:-1]]), axis=0)
    return list(map(Tagged, best, map(tag_evidence, _apart(odds, counts)), features))


def _apart(rows: Floats, counts: Sequence[int]) -> list[Floats]:
    """Split rows of views into those of each image."""
    if len(rows) == len(counts):
        return list(rows[:, None])
    return np.split(rows, np.cumsum(counts)[:-1])


def score_features(stages: Stages, features: Floats, vocabulary: Vocabulary) -> Floats:
    """Return the (N, C) scores of (N, D) features of the tagger.

    Raises:
        BadInput: there is no tagger.
    """
    tagger, texts = _texts(stages, vocabulary)
    if vocabulary.label_set is None:
        return tagger.scores(features, texts)
    scores = column_scores(vocabulary, tagger, features, texts, *_scores_and_logits(tagger, features, texts))
    return reported(vocabulary, scores)


def tag(stages: Stages, scores: Floats | None, labels: Sequence[str]) -> Choice:
    """Return the tags that (C,) scores of C labels mean, and the labels that the detector gets.

    Args:
        scores: The tagger's; None without a tagger.
    """
    return choose(scores, tuple(labels), stages.settings, stages.independent, detects=stages.detector is not None)


def look(
    stages: Stages, images: Sequence[ImageArray], vocabulary: Vocabulary, wanted: NDArray[np.intp]
) -> list[Candidates]:
    """Return the boxes of each image that may be detections, each with its scores.

    Args:
        wanted: Indices of the labels to detect, at least one.

    Raises:
        BadInput: there is no detector.
        BadOutput: the model's answer is not finite.
    """
    if stages.detector is None or vocabulary.queries is None:
        raise BadInput("this pipeline has no detector; load one with detector=SPEC")
    lowest = min(stages.settings.lowest_box_score(columns(vocabulary)), least_evidence(stages.detector))
    limits = CandidateLimits(lowest, sys.maxsize)
    rows = query_rows(vocabulary, np.sort(wanted))  # the order of the tags is no matter of the detector
    masks = stages.masks_from_detector
    if stages.settings.tiles:
        given, batch = (stages.detector, masks, vocabulary.queries, rows, limits), stages.settings.batch_size
        found = [detect_tiles(*given, image, tiling_of(stages, image), batch) for image in images]
    else:
        found = find_candidates(stages.detector, images, vocabulary.queries, rows, limits, with_masks=masks)
    return [labeled(vocabulary, one) for one in found]


def conclude(
    stages: Stages,
    vocabulary: Vocabulary,
    choice: Choice,
    evidence: Evidence,
    seen: Candidates | None,
    size: tuple[int, int],
) -> tuple[Detections, Presence]:
    """Return the detections of one image, without masks of a segmenter, and the presence of every label.

    Args:
        choice: The labels to detect.
        evidence: The tagger's.
        seen: The detector's boxes; None if it was not called.
        size: (height, width) of the image.
    """
    found = stages.presence(evidence, seen, vocabulary)
    if seen is None:
        return Detections.none(size if stages.masks_from_detector else None), found
    wanted = present_rows(choice.wanted, found, stages.settings)
    return seen.detections(vocabulary.labels, wanted, stages.settings, size), found


def detect(
    stages: Stages, images: Sequence[ImageArray], vocabulary: Vocabulary, wanted: Sequence[str] | None = None
) -> list[Detections]:
    """Return the detections of each image: boxes, and masks where the detector brings them. None is verified.

    Args:
        wanted: The labels to detect, however likely they are in the image; all of the vocabulary where None.

    Raises:
        BadInput: there is no detector, or a label is not in the vocabulary.
        BadOutput: the model's answer is not finite.
    """
    names = vocabulary.labels if wanted is None else tuple(wanted)
    rows = label_ids(names, vocabulary.places).astype(np.intp)
    if not len(rows):
        return [Detections.none(image.shape[:2] if stages.masks_from_detector else None) for image in images]
    seen, settings = look(stages, images, vocabulary, rows), stages.settings.changed(verify=0)
    return [
        one.detections(vocabulary.labels, rows, settings, image.shape[:2])
        for one, image in zip(seen, images, strict=True)
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
    masks: Masks
    if stages.settings.tiles:
        tiling = tiling_of(stages, image)
        masks, mask_scores = segment_tiles(stages.segmenter, image, detections.xyxy, tiling, encoded)
    else:
        encoding = stages.segmenter.encode(image) if encoded is None else encoded
        masks, mask_scores = stages.segmenter.masks(encoding, detections.xyxy)
    refuse_nonfinite("the segmenter's scores", mask_scores)
    scores = detections.detector_scores * mask_scores
    segmented = replace(detections, scores=scores, mask_scores=mask_scores, masks=masks)
    return segmented.take(rank_masks(scores, mask_scores, nonempty(masks), stages.settings))


def tiling_of(stages: Stages, image: ImageArray) -> Tiling:
    """Return the windows of an image: itself and its tiles.

    Raises:
        BadInput: tiles is "auto", and the input size of the detector, or of the tagger without one, is not known.
    """
    count, size = stages.settings.tiles, image.shape[:2]
    if count == "auto":
        count = grid_size(size, _input_side(stages), stages.settings.min_object)
    return Tiling.of(size, count)


def views_key(stages: Stages) -> tuple[int | str, ...]:
    """Return what decides the windows and tiles of every image.

    Raises:
        BadInput: as tiling_of.
    """
    settings = stages.settings
    if not settings.tiles:
        return (settings.windows,)
    return settings.windows, settings.tiles, settings.min_object, _input_side(stages) if settings.tiles == "auto" else 0


def _input_side(stages: Stages) -> int:
    """Return the input size of the detector, or of the tagger where there is none."""
    model: Any = stages.tagger if stages.detector is None else stages.detector
    if not isinstance(model, SizedInput):
        raise BadInput(
            f"tiles='auto' needs the input size of {model.record.spec}, which is not known; give a number of tiles"
        )
    return model.input_side


def _scores_and_logits(tagger: Tagger, features: Floats, texts: TextEmbeddings) -> tuple[Floats, Floats]:
    if isinstance(tagger, JointScorer):
        return tagger.scores_and_logits(features, texts)
    return tagger.scores(features, texts), tagger.logits(features, texts)


def _texts(stages: Stages, vocabulary: Vocabulary) -> tuple[Tagger, TextEmbeddings]:
    if stages.tagger is None:
        raise BadInput("this pipeline has no tagger; load one with tagger=SPEC")
    if vocabulary.texts is None:
        raise BadInput("this vocabulary was made without a tagger; make it with this pipeline's vocabulary()")
    return stages.tagger, vocabulary.texts
