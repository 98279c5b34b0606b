"""What is like the masked objects of exemplars, as boxes and masks beside the boxes of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.exemplars.rivals import meant
from openvocab.pipeline.protocols import (
    Boxes,
    Detector,
    ExemplarSegmenter,
    ImageArray,
    MaskDetector,
    PromptSegmenter,
    Queries,
    QueryRow,
    SizedInput,
)
from openvocab.pipeline.result import ModelRecord

__all__ = ["LikeDetector", "LikeQueries", "changes_for_like", "unsegmented"]

_MIN_SHARE = 1 / 28**2
"""Parts of a mask that are smaller shares of the image are no objects: one of the 28 x 28 patches that SegGPT sees."""
_OBJECT = 0.5
"""Pixels that resemble the exemplars more are of an object."""
_INPUT_SIDE = 448

Masks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class LikeQueries:
    """C labels and what is not meant; indices select rows of the labels, and every selection keeps all negatives.

    Attributes:
        rows: The labels. Each exemplar has a mask.
        negatives: What is not meant.
        words: The detector's queries of those that are read as words; None if none is.
        places: Label -> its place in words.
    """

    rows: tuple[QueryRow, ...]
    negatives: tuple[QueryRow, ...]
    words: Queries | None
    places: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Index the words."""
        labels = self.words.labels if self.words else ()
        object.__setattr__(self, "places", {label: place for place, label in enumerate(labels)})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Sequence[int] | slice) -> LikeQueries:
        chosen = self.rows[rows] if isinstance(rows, slice) else tuple(self.rows[row] for row in rows)
        return LikeQueries(chosen, self.negatives, self.words)

    @property
    def columns(self) -> tuple[QueryRow, ...]:
        """The labels and, after them, what is not meant."""
        return (*self.rows, *self.negatives)

    @property
    def word_queries(self) -> tuple[Queries | None, NDArray[np.int64]]:
        """The detector's queries of the columns that are read as words, and which columns these are."""
        columns = np.array([at for at, row in enumerate(self.columns) if row.text], np.int64)
        if self.words is None or not len(columns):
            return None, columns
        labels = [self.columns[at].label for at in columns]
        embeddings = self.words.embeddings[[self.places[label] for label in labels]]
        return Queries(tuple(labels), self.words.template, embeddings), columns


@dataclass(frozen=True, eq=False, slots=True)
class LikeDetector:
    """A detector for words with an exemplar segmenter for exemplars; each finds the labels that are given in its way.

    What resembles the exemplars of a label is parted into instances: the connected parts of its mask. The score of one
    is the mean resemblance of its pixels, 0.5 to 1.

    Attributes:
        detector: Finds words; None: there are only exemplars.
        segmenter: Segments what is like the exemplars.
    """

    detector: Detector | None
    segmenter: ExemplarSegmenter

    @property
    def record(self) -> ModelRecord:
        """The detector's, else that of what segments exemplars."""
        exemplars: ExemplarSegmenter = getattr(self.segmenter, "exemplars", self.segmenter)
        return exemplars.record if self.detector is None else self.detector.record

    @property
    def input_side(self) -> int:
        """Pixels of the side of the detector's input, else of SegGPT's."""
        return self.detector.input_side if isinstance(self.detector, SizedInput) else _INPUT_SIDE

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Encode words.

        Raises:
            BadInput: there is no detector, or as the detector's encode_labels.
        """
        if self.detector is None:
            raise BadInput(
                f"{self.segmenter.record.spec} takes exemplars, no words; give exemplars with masks, or load a detector"
            )
        return self.detector.encode_labels(labels, template)

    def encode_prompt(
        self, rows: Sequence[QueryRow], negatives: Sequence[QueryRow] = (), template: str | None = None
    ) -> Queries:
        """Encode labels by words, exemplars with masks, or both; embeddings are LikeQueries.

        Raises:
            BadInput: as encode_labels, if a label is read as words.
        """
        words = [row.label for row in (*rows, *negatives) if row.text]
        known = self.encode_labels(words, template) if words else None
        made = LikeQueries(tuple(rows), tuple(negatives), known)
        return Queries(tuple(row.label for row in rows), known.template if known else "", made)

    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: words and exemplars of every label, over the threshold.

        Raises:
            BadOutput: a model's answer is not finite.
        """
        return [boxes for boxes, _ in self._found(images, queries, threshold, with_masks=False)]

    def detect_masks(
        self, images: Sequence[ImageArray], queries: Queries, threshold: float
    ) -> list[tuple[Boxes, Masks]]:
        """Return for each image what detect returns, and the (N, H, W) masks of those boxes.

        Raises:
            BadInput: a label is read as words, and the detector has no masks.
            BadOutput: a model's answer is not finite.
        """
        return self._found(images, queries, threshold, with_masks=True)

    def _found(
        self, images: Sequence[ImageArray], queries: Queries, threshold: float, *, with_masks: bool
    ) -> list[tuple[Boxes, Masks]]:
        given: LikeQueries = queries.embeddings
        found = []
        for image, start in zip(images, self._worded(images, given, threshold, with_masks), strict=True):
            pairs = [start, *self._alike(image, given, threshold, with_masks)]
            boxes = _joined([each for each, _ in pairs])
            rows = meant(boxes, len(given))
            rows = rows[np.argsort(-boxes.scores[rows], kind="stable")]
            kept = Boxes(boxes.xyxy[rows], boxes.scores[rows], boxes.label_index[rows])
            masks = [masks for _, masks in pairs if masks is not None]
            found.append((kept, np.concatenate(masks)[rows] if with_masks else np.zeros((0, 0, 0), np.bool_)))
        return found

    def _worded(
        self, images: Sequence[ImageArray], given: LikeQueries, threshold: float, with_masks: bool
    ) -> list[tuple[Boxes, Masks | None]]:
        """Return the boxes of the columns that are read as words, with their masks where these are asked for.

        Raises:
            BadInput: masks are asked for, and the detector has none.
        """
        queries, columns = given.word_queries
        if queries is None or self.detector is None:
            none = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
            return [(none, np.zeros((0, *image.shape[:2]), np.bool_)) for image in images]
        pairs: list[tuple[Boxes, Masks | None]]
        if not with_masks:
            pairs = [(each, None) for each in self.detector.detect(images, queries, threshold)]
        elif isinstance(self.detector, MaskDetector):
            pairs = list(self.detector.detect_masks(images, queries, threshold))
        else:
            raise BadInput(f"nothing segments the boxes of words; {unsegmented(self.segmenter.record.spec)}")
        return [(Boxes(each.xyxy, each.scores, columns[each.label_index]), masks) for each, masks in pairs]

    def _alike(
        self, image: ImageArray, given: LikeQueries, threshold: float, with_masks: bool
    ) -> list[tuple[Boxes, Masks | None]]:
        """Return what is like the exemplars of each column that has some."""
        found: list[tuple[Boxes, Masks | None]] = []
        for column, row in enumerate(given.columns):
            if row.examples:
                examples = [(each.image, each.mask) for each in row.examples if each.mask is not None]
                xyxy, scores, parts, numbers = _parts(self.segmenter.resemblance(image, examples))
                over = scores > threshold
                boxes = Boxes(xyxy[over], scores[over], np.full(int(over.sum()), column))
                found.append((boxes, parts[None] == numbers[over][:, None, None] if with_masks else None))
        return found


def changes_for_like(detector: Any, segmenter: Any, queries: Queries | None) -> dict[str, Any]:
    """Return the stages to change for LikeQueries, by name: the detector, and the segmenter if it takes no boxes."""
    asks = queries is not None and isinstance(queries.embeddings, LikeQueries)
    if not asks or not isinstance(segmenter, ExemplarSegmenter) or isinstance(detector, LikeDetector):
        return {}
    boxes = segmenter if isinstance(segmenter, PromptSegmenter) else None
    return {"detector": LikeDetector(detector, segmenter), "segmenter": boxes}


def unsegmented(spec: str) -> str:
    """Return what to load beside an exemplar segmenter so that the boxes of words get masks."""
    return f"name a segmenter for boxes as well, for example 'sam2:facebook/sam2.1-hiera-tiny+{spec}'"


def _parts(
    scores: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.intp]]:
    """Return the connected parts of what scores over _OBJECT in (H, W) scores.

    Returns:
        N boxes, their scores, (H, W) numbers of parts, and the (N,) number of each box.
    """
    from scipy import ndimage

    parts, count = ndimage.label(scores > _OBJECT, np.ones((3, 3), np.bool_))
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    numbers = np.flatnonzero(areas >= _MIN_SHARE * scores.size) + 1
    places = ndimage.find_objects(parts)
    sides = [places[number - 1] for number in numbers]
    xyxy = np.array([(x.start, y.start, x.stop, y.stop) for y, x in sides], np.float32).reshape(-1, 4)
    means = np.array(ndimage.mean(scores, parts, numbers), np.float32).reshape(-1)
    return xyxy, means, parts, numbers


def _joined(boxes: Sequence[Boxes]) -> Boxes:
    xyxy, scores = np.concatenate([each.xyxy for each in boxes]), np.concatenate([each.scores for each in boxes])
    return Boxes(xyxy, scores, np.concatenate([each.label_index for each in boxes]).astype(np.int64))
