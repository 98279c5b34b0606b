"""What a tagger or captioner offers to the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from openvocab.pipeline.protocols.arrays import Floats, ImageArray
from openvocab.pipeline.protocols.vocabularies import TextEmbeddings
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.templates import PromptSet

__all__ = [
    "Captioner",
    "JointScorer",
    "NamingCaptioner",
    "Prepared",
    "PreparingTagger",
    "SizedInput",
    "Tagger",
    "TokenLimited",
]


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


@runtime_checkable
class SizedInput(Protocol):
    """A tagger or detector that resizes every image to about the same number of pixels; tiles="auto" needs it."""

    @property
    def input_side(self) -> int:
        """Pixels of the side of the model's input; of the shorter side where it keeps the aspect ratio."""
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


@runtime_checkable
class NamingCaptioner(Captioner, Protocol):
    """A captioner that also names what is in an image."""

    def labels(self, images: Sequence[ImageArray], of: Literal["objects", "caption"] = "objects") -> list[list[str]]:
        """Return for each image its names for the objects, or for what its caption mentions, each once."""
        ...
