"""A tagger family without weights: it compares an image's mean color with the colors that labels name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from openvocab import BadInput, ModelRecord, PromptSet, TextEmbeddings, UnknownName, prompt_set

SHARPNESS = {"soft": 8.0, "sharp": 32.0}
"""Checkpoints of this family: the factor of the logits."""


@dataclass(frozen=True)
class MeanColorTagger:
    """Implements openvocab.Tagger.

    Attributes:
        record: Names the model in results and run folders.
        scale: Factor of the logits.
        independent: False, because the scores of an image sum to 1 over the labels.
        preparation: How images are prepared; cached features are reused while it is the same.
    """

    record: ModelRecord
    scale: float
    independent: bool = False
    preparation: str = "mean RGB"

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        """Return the (C, 3) RGB colors in 0 to 1 that the labels name."""
        try:
            colors = [ImageColor.getrgb(label)[:3] for label in labels]
        except ValueError as error:
            raise BadInput(f"mean_color: {error}; name colors such as 'red'") from error
        return TextEmbeddings(tuple(labels), prompts or prompt_set(), np.array(colors, np.float32) / np.float32(255))

    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the (P, 3) mean colors, in 0 to 1, of images of shape (height, width, 3) in RGB order."""
        return np.array([image.mean((0, 1)) / 255 for image in images], np.float32).reshape(-1, 3)

    def logits(self, features: NDArray[np.float32], vocabulary: TextEmbeddings) -> NDArray[np.float32]:
        """Return (P, C) negative squared distances of colors, times the scale."""
        distances = ((features[:, None] - vocabulary.embeddings) ** 2).sum(2)
        return np.asarray(-self.scale * distances, np.float32)

    def scores(self, features: NDArray[np.float32], vocabulary: TextEmbeddings) -> NDArray[np.float32]:
        """Return the (P, C) softmax of the logits over the labels."""
        weights = np.exp(self.logits(features, vocabulary))
        return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)

    def score(
        self, images: Sequence[NDArray[np.uint8]], vocabulary: TextEmbeddings | Sequence[str]
    ) -> NDArray[np.float32]:
        """Return (P, C) scores of images."""
        known = vocabulary if isinstance(vocabulary, TextEmbeddings) else self.encode_labels(vocabulary)
        return self.scores(self.encode_images(images), known)


def load(checkpoint: str, device: str | None, dtype: str | None) -> MeanColorTagger:
    """Load the checkpoint of a SPEC: "mean_color:sharp" calls load("sharp", None, None)."""
    if checkpoint not in SHARPNESS:
        raise UnknownName(f"no mean_color checkpoint {checkpoint!r}; known: {', '.join(SHARPNESS)}")
    digest = hashlib.sha256(str(SHARPNESS[checkpoint]).encode()).hexdigest()  # of the weights, if there were any
    return MeanColorTagger(ModelRecord(f"mean_color:{checkpoint}", digest, "cpu", "float32"), SHARPNESS[checkpoint])
