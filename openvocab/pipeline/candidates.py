"""Candidates: a detector's boxes over a low score, each with a score for every label and, later, a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.chain import Stages
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.protocols import Boxes, ImageArray, LateFusionDetector, Queries, Segmenter
from openvocab.pipeline.ranking import rank_boxes, rank_masks, top_candidates
from openvocab.pipeline.settings import Settings
from openvocab.prompts.labels import check_threshold

__all__ = ["CandidateLimits", "Candidates", "find_candidates", "segment_candidates"]

Floats = NDArray[np.float32]

_LABELS_A_CALL = 2048
"""Labels scored at once; more would make a table of all patches and labels that does not fit into memory."""
_MASK_BYTES = 2**26
"""Bytes of masks that wait to be encoded."""


@dataclass(frozen=True, slots=True)
class CandidateLimits:
    """Which boxes are candidates.

    Attributes:
        min_score: The best label scores this or more.
        max_candidates: At most this many, the best.
    """

    min_score: float
    max_candidates: int

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            BadInput: min_score is outside 0 to 1, or max_candidates is not a whole number of at least 1.
        """
        check_threshold("min_score", self.min_score)
        count = self.max_candidates
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise BadInput(f"max_candidates must be a whole number of at least 1, got {count!r}")


@dataclass(frozen=True, eq=False, slots=True)
class Candidates:
    """N candidates of one image; see Explored for the attributes."""

    xyxy: Floats
    scores: Floats
    min_score: float
    masks: EncodedMasks | None = None
    mask_scores: Floats | None = None

    def detections(
        self, labels: Sequence[str], wanted: NDArray[np.intp], settings: Settings, size: tuple[int, int]
    ) -> Detections:
        """Return the detections of the wanted labels, as the chain does.

        Args:
            labels: All labels.
            wanted: Indices of the labels to detect; of two that score the same, the first is a box's label.
            settings: Thresholds and limits.
            size: (height, width) of the image.
        """
        if not len(wanted):
            return Detections.none(None if self.masks is None else size)
        scores = self.scores[:, wanted]
        best = scores.argmax(axis=1)
        top = scores[np.arange(len(best)), best]
        rows = rank_boxes(Boxes(self.xyxy, top, best.astype(np.int64)), settings)
        class_ids, masks, mask_scores = wanted[best[rows]].astype(np.int64), self.masks, self.mask_scores
        names = tuple(labels[at] for at in class_ids)
        found = Detections(self.xyxy[rows], top[rows], names, top[rows], class_ids=class_ids)
        if masks is None or mask_scores is None:
            return found
        ranks = found.scores * mask_scores[rows]
        order = rank_masks(ranks, mask_scores[rows], masks.areas[rows] > 0, settings)
        segmented = replace(found, scores=ranks, mask_scores=mask_scores[rows], masks=masks[rows]).take(order)
        return replace(segmented, masks=np.asarray(segmented.masks))


def find_candidates(
    stages: Stages, image: ImageArray, encoded: Any, queries: Queries, limits: CandidateLimits
) -> Candidates:
    """Return the candidates of one image.

    Args:
        stages: The models; there is a detector.
        image: (H, W, 3) uint8 RGB.
        encoded: The detector's encoding of the image, where it has one.
        queries: All labels.
        limits: Which boxes to keep.

    Raises:
        BadInput: there is no detector.
        BadOutput: the model's answer is not finite.
    """
    detector = stages.detector
    if detector is None:
        raise BadInput("this pipeline has no detector; load one with detector=SPEC")
    if isinstance(detector, LateFusionDetector):
        return _score_every_label(detector, encoded, queries, limits)
    masks: NDArray[np.bool_] | None = None
    if (with_masks := stages.masks_from_detector) is not None:
        boxes, masks = with_masks.detect_masks([image], queries, limits.min_score)[0]
    else:
        boxes = detector.detect([image], queries, limits.min_score)[0]
    rows, min_score = top_candidates(boxes.scores, limits.min_score, limits.max_candidates)
    scores = np.zeros((len(rows), len(queries.labels)), np.float32)
    scores[np.arange(len(rows)), boxes.label_index[rows]] = boxes.scores[rows]
    found = Candidates(boxes.xyxy[rows], scores, min_score)
    if masks is None:
        return found
    return replace(found, masks=EncodedMasks.encode(masks[rows]), mask_scores=np.ones(len(rows), np.float32))


def segment_candidates(segmenter: Segmenter[Any], encoded: Any, found: Candidates, image: ImageArray) -> Candidates:
    """Return the candidates with masks, of which few are held unencoded at a time.

    Raises:
        BadOutput: a mask or its score is not finite.
    """
    height, width = image.shape[:2]
    step = max(4, _MASK_BYTES // (height * width))
    counts: list[str] = []
    mask_scores = [np.zeros(0, np.float32)]
    for start in range(0, len(found.xyxy), step):
        masks, scores = segmenter.masks(encoded, found.xyxy[start : start + step])
        counts += EncodedMasks.encode(masks).counts
        mask_scores.append(scores)
    return replace(found, masks=EncodedMasks(tuple(counts), height, width), mask_scores=np.concatenate(mask_scores))


def _score_every_label(
    detector: LateFusionDetector[Any], encoded: Any, queries: Queries, limits: CandidateLimits
) -> Candidates:
    """Score each box for every label, a block of labels at a time."""
    count = len(queries.labels)
    blocks = [slice(start, start + _LABELS_A_CALL) for start in range(0, count, _LABELS_A_CALL)]
    parts = [Queries(queries.labels[block], queries.template, queries.embeddings[block]) for block in blocks]
    if len(parts) == 1:
        xyxy, scores = detector.score_boxes(encoded, queries)
        rows, min_score = top_candidates(scores.max(axis=1), limits.min_score, limits.max_candidates)
        kept = [scores[rows]]
    else:
        xyxy = detector.score_boxes(encoded, parts[0])[0]
        best = np.max([detector.score_boxes(encoded, part)[1].max(axis=1) for part in parts], axis=0)
        rows, min_score = top_candidates(best, limits.min_score, limits.max_candidates)
        kept = [detector.score_boxes(encoded, part)[1][rows] for part in parts]
    table = np.concatenate(kept, axis=1)
    return Candidates(xyxy[rows], np.where(table >= limits.min_score, table, np.float32(0)), min_score)
