"""What each stage of the chain can do, and what a captioner can: protocols that every adapter keeps.

What is costly to compute is a value in the caller's hand: a vocabulary's embeddings (TextEmbeddings, Queries), a
image's embedding (rows of ImageEmbeddings) and the segmenter's encoding (E). No adapter remembers an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.templates import PromptSet

__all__ = [
    "NO_PIXELS",
    "Boxes",
    "Captioner",
    "Detector",
    "ExemplarSegmenter",
    "ImageArray",
    "LateFusionDetector",
    "MaskDetector",
    "Prepared",
    "PreparingTagger",
    "PromptSegmenter",
    "Queries",
    "Segmenter",
    "Tagger",
    "TextEmbeddings",
    "Vocabulary",
    "nbytes_of",
]

ImageArray = NDArray[np.uint8]
"""(height, width, 3) uint8 RGB, upright, as openvocab.images.read.read_image returns it."""

NO_PIXELS: ImageArray = np.zeros((0, 0, 3), np.uint8)
"""Stands where an image was let go of, or never decoded."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class TextEmbeddings:
    """A vocabulary as a tagger sees it.

    labels      C labels, as the caller wrote them.
    prompts     the templates that were averaged over.
    embeddings  (C, D) float32, in the order of labels: rows of length 1; for a classifier with D classes, rows of 0
                and 1 that pick the classes of a label.
    """

    labels: tuple[str, ...]
    prompts: PromptSet
    embeddings: Floats


class Tagger(Protocol):
    """Scores labels for whole images.

    independent  True where the model was trained with a sigmoid: each score stands alone. False where it was
                 trained with a softmax: the scores of an image sum to 1 over the vocabulary, or, for a classifier,
                 over all classes that it knows, whichever of them are asked for.
    """

    @property
    def record(self) -> ModelRecord: ...
    @property
    def independent(self) -> bool: ...
    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared: with weights and dtype, what decides an embedding."""
        ...

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings: ...
    def encode_images(self, images: Sequence[ImageArray]) -> Floats:
        """Return (P, D) float32: rows of length 1; for a classifier, its log-probabilities or log-odds."""
        ...

    def logits(self, embeddings: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32, for (P, D) rows of encode_images.

        That is scale * cosine + bias; for a classifier, the labels' log-probabilities or log-odds.
        """
        ...

    def scores(self, embeddings: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32 scores in 0 to 1, for (P, D) rows of encode_images."""
        ...

    def score(self, images: Sequence[ImageArray], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32 scores in 0 to 1."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """An image as one tagger's model takes it: resized, cut and normalized.

    tensors  the arguments of the model by name, each of shape (1, ...) and in the processor's memory.
    """

    tensors: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """How many bytes it keeps alive."""
        return sum(int(tensor.nbytes) for tensor in self.tensors.values())


@runtime_checkable
class PreparingTagger(Tagger, Protocol):
    """A tagger whose images can be prepared ahead, by the threads that decode them.

    What it prepared stands for the image in encode_images and score, with the same answer.
    """

    def prepare(self, image: ImageArray) -> Prepared:
        """Return an image as the model takes it; called in several threads."""
        ...

    def encode_images(self, images: Sequence[ImageArray | Prepared]) -> Floats: ...
    def score(self, images: Sequence[ImageArray | Prepared], vocabulary: TextEmbeddings | Sequence[str]) -> Floats: ...


class Captioner(Protocol):
    """Describes images in words, and scores the labels that its words mention."""

    @property
    def record(self) -> ModelRecord: ...
    def caption(self, images: Sequence[ImageArray]) -> list[str]:
        """Return one sentence an image; the same image always gets the same one."""
        ...

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings: ...
    def score(self, images: Sequence[ImageArray], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32 scores in 0 to 1; 0 for a label that the caption does not mention."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Queries:
    """A vocabulary as a detector sees it.

    labels      C labels, as the caller wrote them.
    template    the sentence that each was put into.
    embeddings  (C, D), of the model's own kind; rows can be picked by a list of indices.
    """

    labels: tuple[str, ...]
    template: str
    embeddings: Any


@dataclass(frozen=True, eq=False, slots=True)
class Vocabulary:
    """Labels encoded once for every stage that reads words; make it with Pipeline.vocabulary and reuse it."""

    labels: tuple[str, ...]
    prompts: PromptSet
    texts: TextEmbeddings | None
    queries: Queries | None

    @property
    def nbytes(self) -> int:
        """How many bytes of arrays and tensors it keeps alive."""
        return nbytes_of((self.texts, self.queries))


def nbytes_of(value: Any) -> int:
    """Return the bytes of the arrays and tensors that a value, its items or its fields are."""
    if isinstance(value, tuple | list):
        return sum(map(nbytes_of, value))
    if is_dataclass(value):
        return sum(nbytes_of(getattr(value, each.name)) for each in fields(value))
    return int(getattr(value, "nbytes", 0))


@dataclass(frozen=True, eq=False, slots=True)
class Boxes:
    """N boxes of one image, best first, each naming its label by index; never suppressed against each other.

    xyxy          (N, 4) float32 pixels of the image, half-open, clipped to it.
    scores        (N,) float32 in 0 to 1.
    label_index   (N,) int64 into Queries.labels.
    """

    xyxy: Floats
    scores: Floats
    label_index: NDArray[np.int64]


class Detector(Protocol):
    """Finds boxes for words."""

    @property
    def record(self) -> ModelRecord: ...
    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries: ...
    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: all boxes whose best label scores over the threshold."""
        ...


@runtime_checkable
class MaskDetector(Detector, Protocol):
    """A detector that cuts out what it finds. Its score is for box and mask together."""

    def detect_masks(
        self, images: Sequence[ImageArray], queries: Queries, threshold: float
    ) -> list[tuple[Boxes, NDArray[np.bool_]]]:
        """Return for each image what detect returns, and the (N, H, W) masks of those boxes at its own size."""
        ...


P = TypeVar("P")


@runtime_checkable
class LateFusionDetector(Detector, Protocol[P]):
    """A detector whose boxes do not depend on the words: each place of an image has one box, and a score a label."""

    def encode(self, image: ImageArray) -> P:
        """Return what all words on this image share."""
        ...

    def score_boxes(self, encoded: P, queries: Queries) -> tuple[Floats, Floats]:
        """Return (N, 4) boxes and (N, C) scores in 0 to 1, in the order of the places.

        Boxes are in pixels of the image and clipped to it; places whose box lies outside are left out. Of these,
        detect gives those whose best label scores over its threshold.
        """
        ...


E = TypeVar("E")


class Segmenter(Protocol[E]):
    """Cuts out what lies in a box."""

    @property
    def record(self) -> ModelRecord: ...
    def encode(self, image: ImageArray) -> E:
        """Return what all prompts on this image share."""
        ...

    def masks(self, encoded: E, xyxy: Floats) -> tuple[NDArray[np.bool_], Floats]:
        """Return (N, H, W) masks at the image's own size and (N,) scores in 0 to 1, for (N, 4) boxes in pixels."""
        ...


@runtime_checkable
class PromptSegmenter(Segmenter[E], Protocol):
    """A segmenter that also answers points, alone or with a box."""

    def prompt(
        self,
        encoded: E,
        points: Floats | None = None,
        point_labels: NDArray[np.int64] | None = None,
        box: Floats | None = None,
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Return three candidates for one thing: (3, H, W) masks and (3,) scores in 0 to 1, not sorted.

        points are (P, 2) x and y in pixels of the image; point_labels (P,) are 1 where the thing is and 0 where it
        is not; box is (4,) left, top, right, bottom in pixels of the image.
        """
        ...


class ExemplarSegmenter(Protocol):
    """Cuts out what is like the thing that an example shows."""

    @property
    def record(self) -> ModelRecord: ...
    def segment_like(
        self, images: Sequence[ImageArray], example: ImageArray, mask: NDArray[np.bool_]
    ) -> list[NDArray[np.bool_]]:
        """Return one (H, W) mask per image at its own size; mask says where the thing is in the example."""
        ...
