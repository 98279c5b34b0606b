"""Candidates: a detector's boxes over a low score, each with a score for every label and, later, a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.protocols import (
    BatchEncoder,
    Boxes,
    Detector,
    ImageArray,
    LateFusionDetector,
    MaskDetector,
    Queries,
    Segmenter,
)
from openvocab.pipeline.ranking import rank_boxes, rank_masks, top_candidates
from openvocab.pipeline.scores import refuse_nonfinite
from openvocab.pipeline.settings import Settings
from openvocab.prompts.labels import check_threshold

__all__ = [
    "LABEL_SCORES",
    "CandidateLimits",
    "Candidates",
    "TiledEncoding",
    "encode_all",
    "find_candidates",
    "score_candidates",
    "segment_candidates",
]

Floats = NDArray[np.float32]

LABEL_SCORES = "label_scores"
"""The entry of Detections.data with the (C,) scores of a box for all labels, from the detector to verification."""
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


@runtime_checkable
class TiledEncoding(Protocol):
    """An image that a late-fusion detector encoded with windows of it.

    Attributes:
        tiles: (N,) int64, the window of each box, so that boxes of one object are merged as those of tiles are; None
            where there is the image alone.
    """

    @property
    def tiles(self) -> NDArray[np.int64] | None: ...


@dataclass(frozen=True, eq=False, slots=True)
class Candidates:
    """N candidates of one image.

    Attributes:
        xyxy: (N, 4) float32 boxes in pixels, not ranked.
        scores: (N, C) float32, each candidate's score for every label; 0 for a label that it was not scored for. The
            columns of a LabelSet's negatives stand behind those of the labels.
        min_score: Box thresholds of this or more are answered in full: the min_score that was asked for, or, where
            more than max_candidates boxes scored it, the score of the best box that was dropped. With a calibration
            it is compared with the detector's own scores, and is low enough for the thresholds of the settings.
        best: (C,) float32, the best score of each label over all boxes, candidates or not; NaN for a label that the
            detector was not asked for.
        masks: N encoded masks; None before the segmenter ran.
        mask_scores: (N,) float32, the segmenter's own estimates of the masks' IoU.
        tiles: (N,) int64, the tile, or the detector's window, that each box was found in; None where there are none.
    """

    xyxy: Floats
    scores: Floats
    min_score: float
    best: Floats
    masks: EncodedMasks | None = None
    mask_scores: Floats | None = None
    tiles: NDArray[np.int64] | None = None

    def detections(
        self, labels: Sequence[str], wanted: NDArray[np.intp], settings: Settings, size: tuple[int, int]
    ) -> Detections:
        """Return the detections of the wanted labels, as the chain does; with LABEL_SCORES where they are verified.

        Args:
            labels: All labels; of more columns of scores than labels, the rest are negatives.
            wanted: Indices of the labels to detect; of two that score the same, the first is a box's label.
            settings: Thresholds and limits.
            size: (height, width) of the image.
        """
        if not len(wanted):
            return Detections.none(None if self.masks is None else size)
        negatives = np.arange(len(labels), self.scores.shape[1])
        places = np.concatenate([wanted, negatives]) if len(negatives) else wanted
        scores = self.scores[:, places]
        best = scores.argmax(axis=1)
        top = scores[np.arange(len(best)), best]
        names = (*labels, *[""] * len(negatives))  # a calibration has no fit for ""
        given, min_scores = settings.box_scores(top, names, places[best])
        top = np.where(top > 0, given, np.float32(0))  # a box that was not scored for these labels has none of them
        boxes = Boxes(self.xyxy, top, best.astype(np.int64), self.tiles)
        rows = rank_boxes(boxes, settings, min_scores, len(wanted) if len(negatives) else None)
        class_ids, masks, mask_scores = places[best[rows]].astype(np.int64), self.masks, self.mask_scores
        names = tuple(labels[at] for at in class_ids)
        known = {LABEL_SCORES: self.scores[rows]} if settings.verify else {}
        found = Detections(self.xyxy[rows], top[rows], names, top[rows], class_ids=class_ids, data=known)
        if masks is None or mask_scores is None:
            return found
        ranks = found.scores * mask_scores[rows]
        order = rank_masks(ranks, mask_scores[rows], masks.areas[rows] > 0, settings)
        segmented = replace(found, scores=ranks, mask_scores=mask_scores[rows], masks=masks[rows]).take(order)
        return segmented if settings.tiles else replace(segmented, masks=np.asarray(segmented.masks))


def find_candidates(
    detector: Detector,
    images: Sequence[ImageArray],
    queries: Queries,
    wanted: NDArray[np.intp],
    limits: CandidateLimits,
    *,
    with_masks: MaskDetector | None = None,
) -> list[Candidates]:
    """Return the candidates of each image.

    Args:
        detector: A late-fusion detector scores every label; another one is asked for the wanted labels alone.
        images: P images.
        queries: The C labels.
        wanted: Indices of the labels to detect.
        limits: Which boxes to keep.
        with_masks: The detector, if its own masks are used.

    Raises:
        BadOutput: the model's answer is not finite.
    """
    if isinstance(detector, LateFusionDetector):
        return [score_candidates(detector, one, queries, limits) for one in encode_all(detector, images)]
    rows: list[int] | slice = slice(None) if len(wanted) == len(queries.labels) else wanted.tolist()
    asked = queries
    if not isinstance(rows, slice):
        asked = Queries(tuple(queries.labels[row] for row in rows), queries.template, queries.embeddings[rows])
    count = len(queries.labels)
    if with_masks is not None:
        pairs = with_masks.detect_masks(images, asked, limits.min_score)
        return [_fused(boxes, masks, wanted, count, limits) for boxes, masks in pairs]
    return [_fused(boxes, None, wanted, count, limits) for boxes in detector.detect(images, asked, limits.min_score)]


def encode_all(detector: LateFusionDetector[Any], images: Sequence[ImageArray]) -> list[Any]:
    """Return the detector's encoding of each image, several at a time where the detector can."""
    if isinstance(detector, BatchEncoder):
        return detector.encode_batch(images)
    return [detector.encode(image) for image in images]


def _fused(
    boxes: Boxes, masks: NDArray[np.bool_] | None, wanted: NDArray[np.intp], count: int, limits: CandidateLimits
) -> Candidates:
    """Return the boxes of an early-fusion detector, each with a score for the label that it was found under.

    A wanted label without a box is taken to have one of half the threshold.

    Raises:
        BadOutput: a box or its score is not finite.
    """
    refuse_nonfinite("the detector's boxes", boxes.xyxy, boxes.scores)
    rows, min_score = top_candidates(boxes.scores, limits.min_score, limits.max_candidates)
    scores, best = np.zeros((len(rows), count), np.float32), np.full(count, np.nan, np.float32)
    scores[np.arange(len(rows)), wanted[boxes.label_index[rows]]] = boxes.scores[rows]
    best[wanted] = limits.min_score / 2
    np.maximum.at(best, wanted[boxes.label_index], boxes.scores)
    found = Candidates(boxes.xyxy[rows], scores, min_score, best)
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
        refuse_nonfinite("the segmenter's scores", scores)
        mask_scores.append(scores)
    return replace(found, masks=EncodedMasks(tuple(counts), height, width), mask_scores=np.concatenate(mask_scores))


def score_candidates(
    detector: LateFusionDetector[Any], encoded: Any, queries: Queries, limits: CandidateLimits
) -> Candidates:
    """Score each box of an encoded image for every label, a block of labels at a time.

    Raises:
        BadOutput: the model's answer is not finite.
    """
    blocks = [slice(start, start + _LABELS_A_CALL) for start in range(0, len(queries.labels), _LABELS_A_CALL)]
    parts = [Queries(queries.labels[block], queries.template, queries.embeddings[block]) for block in blocks]
    xyxy, first = detector.score_boxes(encoded, parts[0])
    tops, best = [first.max(axis=1)], [_best(first)]
    for part in parts[1:]:
        scores = detector.score_boxes(encoded, part)[1]
        tops.append(scores.max(axis=1))
        best.append(_best(scores))
    refuse_nonfinite("the detector's boxes", xyxy, *tops)
    rows, min_score = top_candidates(np.max(tops, axis=0), limits.min_score, limits.max_candidates)
    rest = [detector.score_boxes(encoded, part)[1][rows] for part in parts[1:]]
    table = np.concatenate([first[rows], *rest], axis=1)
    tiles = encoded.tiles[rows] if isinstance(encoded, TiledEncoding) and encoded.tiles is not None else None
    return Candidates(xyxy[rows], table, min_score, np.concatenate(best), tiles=tiles)


def _best(scores: Floats) -> Floats:
    """Return the (C,) best of (N, C) scores; 0 where there is no box."""
    return scores.max(axis=0) if len(scores) else np.zeros(scores.shape[1], np.float32)
