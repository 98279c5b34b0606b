"""The stage protocols: what a tagger, detector, segmenter or captioner offers to the chain.

The caller holds whatever is costly to compute: the embeddings of a vocabulary (TextEmbeddings, Queries), the features
of an image and the segmenter's encoding (E). No adapter remembers an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.nbytes import nbytes_of
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.exemplars import Exemplar
from openvocab.prompts.sets import LabelSet
from openvocab.prompts.templates import PromptSet

__all__ = [
    "NO_PIXELS",
    "Background",
    "BatchEncoder",
    "Boxes",
    "Captioner",
    "Detector",
    "ExemplarDetector",
    "ExemplarSegmenter",
    "ImageArray",
    "JointScorer",
    "LateFusionDetector",
    "MaskDetector",
    "Prepared",
    "PreparingTagger",
    "PromptSegmenter",
    "ProposingDetector",
    "Queries",
    "QueryRow",
    "Segmenter",
    "SizedInput",
    "Tagger",
    "TextEmbeddings",
    "TokenLimited",
    "Vocabulary",
]

ImageArray = NDArray[np.uint8]
"""(height, width, 3) uint8 RGB, upright, as openvocab.images.read.read_image returns it."""

NO_PIXELS: ImageArray = np.zeros((0, 0, 3), np.uint8)
"""Placeholder for an image that was released or never decoded."""

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class TextEmbeddings:
    """A vocabulary encoded for a tagger.

    Attributes:
        labels: The C labels, as the caller wrote them.
        prompts: The templates whose embeddings are averaged.
        embeddings: (C, D) float32, in the order of labels: rows of length 1; for a classifier with D classes, rows of 0
            and 1 that select the classes of a label.
    """

    labels: tuple[str, ...]
    prompts: PromptSet
    embeddings: Floats


class Tagger(Protocol):
    """Scores labels for whole images.

    Attributes:
        independent: True for a sigmoid: each score stands alone. False for a softmax: the scores of an image sum to 1
            over the vocabulary, or, for a classifier, over all its classes.
    """

    @property
    def record(self) -> ModelRecord: ...
    @property
    def independent(self) -> bool: ...
    @property
    def preparation(self) -> str:
        """Architecture and image preprocessing; with weights and dtype they determine the features."""
        ...

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings: ...
    def encode_images(self, images: Sequence[ImageArray]) -> Floats:
        """Return (P, D) float32 features: embeddings of length 1; for a classifier, log-probabilities or log-odds."""
        ...

    def logits(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32, for (P, D) rows of encode_images.

        These are scale * cosine + bias; for a classifier, the labels' log-probabilities or log-odds.
        """
        ...

    def scores(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32 scores in 0 to 1, for (P, D) rows of encode_images."""
        ...

    def score(self, images: Sequence[ImageArray], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32 scores in 0 to 1."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """An image preprocessed for one tagger: resized, cropped and normalized.

    Attributes:
        tensors: Arguments of the model by name, each of shape (1, ...) in CPU memory.
    """

    tensors: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes it keeps alive."""
        return sum(int(tensor.nbytes) for tensor in self.tensors.values())


@runtime_checkable
class PreparingTagger(Tagger, Protocol):
    """A tagger whose images can be preprocessed ahead, by the decoding threads; it takes them in place of images."""

    def prepare(self, image: ImageArray) -> Prepared:
        """Preprocess an image; called in several threads."""
        ...

    def encode_images(self, images: Sequence[ImageArray | Prepared]) -> Floats: ...
    def score(self, images: Sequence[ImageArray | Prepared], vocabulary: TextEmbeddings | Sequence[str]) -> Floats: ...


@runtime_checkable
class TokenLimited(Protocol):
    """A tagger whose text tower reads a limited number of tokens."""

    @property
    def context(self) -> int:
        """The maximum number of tokens, special ones included."""
        ...

    def token_counts(self, labels: Sequence[str], prompts: PromptSet) -> list[int]:
        """Return the number of tokens of each label in the longest template, special ones included."""
        ...


@runtime_checkable
class JointScorer(Protocol):
    """A tagger that computes its scores and logits in one pass; without it, the two are two calls."""

    def scores_and_logits(self, features: Floats, vocabulary: TextEmbeddings) -> tuple[Floats, Floats]:
        """Return what scores and logits return, (P, C) float32 each, for (P, D) rows of encode_images."""
        ...


class Captioner(Protocol):
    """Describes images in words, and scores the labels that a caption mentions."""

    @property
    def record(self) -> ModelRecord: ...
    def caption(self, images: Sequence[ImageArray]) -> list[str]:
        """Return one caption an image; it is deterministic."""
        ...

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings: ...
    def score(self, images: Sequence[ImageArray], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32 scores in 0 to 1; 0 for labels that the caption does not mention."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Queries:
    """A vocabulary encoded for a detector.

    Attributes:
        labels: The C labels, as the caller wrote them.
        template: The sentence around each label.
        embeddings: (C, D), of the model's own type; a list of indices selects rows.
    """

    labels: tuple[str, ...]
    template: str
    embeddings: Any


@dataclass(frozen=True, eq=False, slots=True)
class Background:
    """The background labels that a softmax tagger's logits are taken relative to; see pipeline.presence.

    Attributes:
        texts: The B background labels as the tagger encodes them.
        own: (C,) the place of each asked label among them; -1 where it is not one of them.
    """

    texts: TextEmbeddings
    own: NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Vocabulary:
    """Labels encoded once for every stage that reads text; make it with Pipeline.vocabulary and reuse it.

    Attributes:
        labels: C labels.
        prompts: The tagger's templates.
        texts: As the tagger encodes them; None without a tagger.
        queries: As the detector encodes them; None without a detector.
        background: The background labels; None where the tagger's logits are taken as they are.
        prompt_digest: Digest of the Prompt that it was made from; empty for labels.
        label_set: The set whose phrases texts and queries have in rows; None where these have the labels.
        places: Label -> its place.
    """

    labels: tuple[str, ...]
    prompts: PromptSet
    texts: TextEmbeddings | None
    queries: Queries | None
    background: Background | None = None
    prompt_digest: str = ""
    label_set: LabelSet | None = None
    places: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Index the labels."""
        object.__setattr__(self, "places", {label: place for place, label in enumerate(self.labels)})

    @property
    def nbytes(self) -> int:
        """Bytes of arrays and tensors it keeps alive."""
        return nbytes_of((self.texts, self.queries, self.background))


@dataclass(frozen=True, eq=False, slots=True)
class Boxes:
    """N boxes of one image before suppression, best first.

    Attributes:
        xyxy: (N, 4) float32 pixels of the image, half-open, clipped to it.
        scores: (N,) float32 in 0 to 1.
        label_index: (N,) int64 into Queries.labels.
        tiles: (N,) int64, the tile that each box was found in; None where the image was not tiled.
    """

    xyxy: Floats
    scores: Floats
    label_index: NDArray[np.int64]
    tiles: NDArray[np.int64] | None = None


@runtime_checkable
class ProposingDetector(Protocol):
    """A detector that tells objects from the ground, whatever they are."""

    def propose(self, image: ImageArray) -> tuple[Floats, Floats]:
        """Return (N, 4) boxes in pixels of the image, clipped to it, and (N,) probabilities that each is an object."""
        ...


@runtime_checkable
class SizedInput(Protocol):
    """A tagger or detector that resizes every image to about the same number of pixels; tiles="auto" needs it."""

    @property
    def input_side(self) -> int:
        """Pixels of the side of the model's input; of the shorter side where it keeps the aspect ratio."""
        ...


class Detector(Protocol):
    """Finds boxes for labels."""

    @property
    def record(self) -> ModelRecord: ...
    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries: ...
    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: all boxes whose best label scores over the threshold."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class QueryRow:
    """One query of a prompt.

    Attributes:
        label: What its boxes are called.
        text: Whether the label is also read as words.
        examples: Images of the object, each with its box there.
    """

    label: str
    text: bool
    examples: tuple[Exemplar, ...] = ()


@runtime_checkable
class ExemplarDetector(Detector, Protocol):
    """A detector whose queries may also be images of objects, and may be what is not meant."""

    def encode_prompt(
        self, rows: Sequence[QueryRow], negatives: Sequence[QueryRow] = (), template: str | None = None
    ) -> Queries:
        """Encode each row once; detect drops boxes that fit a negative better."""


@runtime_checkable
class MaskDetector(Detector, Protocol):
    """A detector with a mask for each box. Its score is for box and mask together."""

    def detect_masks(
        self, images: Sequence[ImageArray], queries: Queries, threshold: float
    ) -> list[tuple[Boxes, Masks]]:
        """Return for each image what detect returns, and (N, H, W) masks of those boxes at the image's size."""


P = TypeVar("P")
E = TypeVar("E")


@runtime_checkable
class LateFusionDetector(Detector, Protocol[P]):
    """A detector that fuses image and text late: its boxes do not depend on the labels, and have a score for each."""

    def encode(self, image: ImageArray) -> P:
        """Encode the image once for all labels."""
        ...

    def score_boxes(self, encoded: P, queries: Queries) -> tuple[Floats, Floats]:
        """Return (N, 4) boxes and (N, C) scores in 0 to 1, in the order of the model's patches.

        Boxes are in pixels of the image and clipped to it; boxes outside the image are dropped. detect returns those
        whose best label scores over its threshold.
        """
        ...


@runtime_checkable
class BatchEncoder(LateFusionDetector[P], Protocol[P]):
    """A late-fusion detector that encodes several images at a time."""

    def encode_batch(self, images: Sequence[ImageArray]) -> list[P]:
        """Return what encode returns for each image."""
        ...


class Segmenter(Protocol[E]):
    """Segments what lies in a box."""

    @property
    def record(self) -> ModelRecord: ...
    def encode(self, image: ImageArray) -> E:
        """Encode the image once for all prompts."""
        ...

    def masks(self, encoded: E, xyxy: Floats) -> tuple[Masks, Floats]:
        """Return (N, H, W) masks at the image's own size and (N,) scores in 0 to 1, for (N, 4) boxes in pixels."""
        ...


@runtime_checkable
class PromptSegmenter(Segmenter[E], Protocol):
    """A segmenter that also takes points, alone or with a box."""

    def prompt(
        self,
        encoded: E,
        points: Floats | None = None,
        point_labels: NDArray[np.int64] | None = None,
        box: Floats | None = None,
    ) -> tuple[Masks, Floats]:
        """Return three candidate masks of one object: (3, H, W) masks and (3,) scores in 0 to 1, not sorted.

        Args:
            encoded: What encode returned.
            points: (P, 2) x and y in pixels of the image.
            point_labels: (P,) 1 on the object, 0 beside it.
            box: (4,) left, top, right, bottom in pixels of the image.
        """
        ...


@runtime_checkable
class ExemplarSegmenter(Protocol):
    """Segments what is like the objects in example images."""

    @property
    def record(self) -> ModelRecord: ...
    def segment_like(self, images: Sequence[ImageArray], example: ImageArray, mask: Masks) -> list[Masks]:
        """Return one (H, W) mask an image at its own size; mask marks the object in the example."""

    def resemblance(self, image: ImageArray, examples: Sequence[tuple[ImageArray, Masks]]) -> Floats:
        """Return (H, W) scores in 0 to 1: how like the objects of all examples each pixel is; over 0.5 it is of one."""
