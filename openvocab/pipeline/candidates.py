"""A detector's boxes before any threshold but a low one, with a score for each label and, in the end, a mask each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.masks import decode_mask, encode_mask
from openvocab.pipeline.protocols import Boxes, ImageArray, MaskDetector, PlaceDetector, Queries, Segmenter
from openvocab.pipeline.settings import Settings
from openvocab.pipeline.suppression import kept_rows
from openvocab.prompts.labels import check_threshold

if TYPE_CHECKING:
    from openvocab.pipeline.chain import Pipeline

__all__ = ["RawBoxes", "Room", "raw_boxes", "raw_masks"]

Floats = NDArray[np.float32]
Mask = dict[str, Any]
"""COCO run-length encoding: {"size": [height, width], "counts": bytes}."""

_LABELS_A_CALL = 2048
"""More at a time would make a table of every place and label that does not fit into memory."""
_MASK_BYTES = 2**26
"""Of masks that wait to be compressed."""


@dataclass(frozen=True, slots=True)
class Room:
    """Which boxes are candidates: those whose best label scores floor or more, at most most of them."""

    floor: float
    most: int

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            BadInput: floor is outside 0 to 1, or most is not a whole number of at least 1.
        """
        check_threshold("floor", self.floor)
        if isinstance(self.most, bool) or not isinstance(self.most, int) or self.most < 1:
            raise BadInput(f"most must be a whole number of at least 1, got {self.most!r}")


@dataclass(frozen=True, eq=False, slots=True)
class RawBoxes:
    """N candidates; see Explored for the fields."""

    xyxy: Floats
    scores: Floats
    floor: float
    masks: tuple[Mask, ...] | None = None
    mask_scores: Floats | None = None

    def detections(
        self, labels: Sequence[str], wanted: NDArray[np.intp], settings: Settings, size: tuple[int, int]
    ) -> Detections:
        """Return the detections that are left of the wanted labels, as the chain does.

        Args:
            labels: all of them.
            wanted: indices of the labels that are looked for; of two that score the same, the first is a box's label.
            settings: thresholds and limits.
            size: (height, width) of the image.
        """
        if not len(wanted):
            return Detections.none(None if self.masks is None else size)
        scores = self.scores[:, wanted]
        best = scores.argmax(axis=1)
        top = scores[np.arange(len(best)), best]
        rows = np.flatnonzero(top > settings.threshold("box_threshold"))
        rows = rows[np.argsort(-top[rows], kind="stable")]
        rows = rows[kept_rows(Boxes(self.xyxy[rows], top[rows], best[rows].astype(np.int64)), settings)]
        names = tuple(labels[wanted[at]] for at in best[rows])
        if self.masks is None or self.mask_scores is None:
            return Detections(self.xyxy[rows], top[rows], names, top[rows])
        sure = self.mask_scores[rows]
        order = np.argsort(-(top[rows] * sure), kind="stable")
        order = order[sure[order] >= settings.mask_threshold]
        rows, sure, names = rows[order], sure[order], tuple(names[at] for at in order)
        masks = _decoded([self.masks[row] for row in rows], size)
        return Detections(self.xyxy[rows], top[rows] * sure, names, top[rows], sure, masks)


def raw_boxes(pipe: Pipeline, image: ImageArray, places: Any, queries: Queries, room: Room) -> RawBoxes:
    """Return the candidates of one image.

    Args:
        pipe: the pipeline; it has a detector.
        image: (H, W, 3) uint8 RGB.
        places: the detector's encoding of the image, where it has one.
        queries: all labels.
        room: which boxes to keep.

    Raises:
        BadInput: there is no detector.
        BadOutput: the model's answer is not finite.
    """
    detector = pipe.detector
    if detector is None:
        raise BadInput("this pipeline has no detector; load one with detector=SPEC")
    if isinstance(detector, PlaceDetector):
        return _from_places(detector, places, queries, room)
    masks: NDArray[np.bool_] | None = None
    if pipe.segmenter is None and isinstance(detector, MaskDetector):
        boxes, masks = detector.detect_masks([image], queries, room.floor)[0]
    else:
        boxes = detector.detect([image], queries, room.floor)[0]
    rows, floor = _candidates(boxes.scores, room)
    scores = np.zeros((len(rows), len(queries.labels)), np.float32)
    scores[np.arange(len(rows)), boxes.label_index[rows]] = boxes.scores[rows]
    found = RawBoxes(boxes.xyxy[rows], scores, floor)
    if masks is None:
        return found
    return replace(
        found, masks=tuple(encode_mask(masks[row]) for row in rows), mask_scores=np.ones(len(rows), np.float32)
    )


def raw_masks(segmenter: Segmenter[Any], encoded: Any, boxes: RawBoxes, image: ImageArray) -> RawBoxes:
    """Return the candidates with masks, of which few are held uncompressed at a time.

    Raises:
        BadOutput: a mask or its score is not finite.
    """
    height, width = image.shape[:2]
    step = max(4, _MASK_BYTES // (height * width))
    masks: list[Mask] = []
    scores = [np.zeros(0, np.float32)]
    for start in range(0, len(boxes.xyxy), step):
        cut, sure = segmenter.masks(encoded, boxes.xyxy[start : start + step])
        masks += [encode_mask(mask) for mask in cut]
        scores.append(sure)
    return replace(boxes, masks=tuple(masks), mask_scores=np.concatenate(scores))


def _from_places(detector: PlaceDetector[Any], places: Any, queries: Queries, room: Room) -> RawBoxes:
    """Score each place for every label, a block of labels at a time."""
    count = len(queries.labels)
    blocks = [slice(start, start + _LABELS_A_CALL) for start in range(0, count, _LABELS_A_CALL)]
    parts = [Queries(queries.labels[block], queries.template, queries.embeddings[block]) for block in blocks]
    if len(parts) == 1:
        xyxy, scores = detector.place_scores(places, queries)
        rows, floor = _candidates(scores.max(axis=1), room)
        kept = [scores[rows]]
    else:
        xyxy = detector.place_scores(places, parts[0])[0]
        best = np.max([detector.place_scores(places, part)[1].max(axis=1) for part in parts], axis=0)
        rows, floor = _candidates(best, room)
        kept = [detector.place_scores(places, part)[1][rows] for part in parts]
    table = np.concatenate(kept, axis=1)
    return RawBoxes(xyxy[rows], np.where(table >= room.floor, table, np.float32(0)), floor)


def _candidates(best: Floats, room: Room) -> tuple[NDArray[np.intp], float]:
    """Return the rows of candidates in their own order, and the box threshold from which they are all there are."""
    rows = np.flatnonzero(best >= room.floor)
    if len(rows) <= room.most:
        return rows, float(room.floor)
    ranked = rows[np.argsort(-best[rows], kind="stable")]
    return np.sort(ranked[: room.most]), float(best[ranked[room.most]])


def _decoded(codes: Sequence[Mask], size: tuple[int, int]) -> NDArray[np.bool_]:
    masks = np.zeros((len(codes), *size), np.bool_)
    for mask, code in zip(masks, codes, strict=True):
        mask[:] = decode_mask(code)
    return masks
