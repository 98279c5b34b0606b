"""Tags for whole images from a classifier, whose vocabulary is the classes that it was trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from openvocab.errors import BadOutput
from openvocab.models.taggers.class_names import ClassNames
from openvocab.pipeline.protocols import ImageArray, TextEmbeddings
from openvocab.pipeline.result import ModelRecord
from openvocab.pipeline.scores import sigmoid
from openvocab.prompts.labels import check_labels
from openvocab.prompts.templates import PromptSet, prompt_set

__all__ = ["Classifier"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Classifier(ABC):
    """Scores labels for whole images with a classifier such as ViT or Swin; it knows its K classes and no others.

    A label's score is the model's probability over all its classes, so asking for fewer labels makes none larger. A
    label that several classes carry (ImageNet has two called "crane", and 118 below "dog") gets the sum of their
    probabilities, or, where classes do not exclude each other, the best of them.

    Attributes:
        model: In evaluation mode, on its device, in its precision.
        image_processor: The checkpoint's own.
        record: What the model is.
        classes: The names of the K classes, and what a label may be.
        independent: Whether classes do not exclude each other (sigmoid); else the probabilities of all K sum to 1.
        batch: Images that go through the model together.
    """

    model: Any
    image_processor: Any
    record: ModelRecord
    classes: ClassNames
    independent: bool
    batch: int = 32

    @property
    def names(self) -> tuple[str, ...]:
        """The K names, as the checkpoint has them."""
        return self.classes.names

    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared."""
        return f"{self.model!r} {self.image_processor.to_json_string()} {self.independent}"

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        """Find each label's classes.

        Args:
            labels: C labels, each a name of a class, or one of the names that it has between commas, in any case; for
                ImageNet-1k also any name that WordNet has for classes or above them, see prompts/wordnet/README.md.
            prompts: stored in the answer; a classifier uses no template.

        Returns:
            embeddings of shape (C, K), float32: 1 for each class of the label, else 0.

        Raises:
            BadInput: a label is empty or given twice, or the model has no such class; the nearest ones are named.
        """
        labels = check_labels(labels)
        rows = np.zeros((len(labels), len(self.names)), np.float32)
        for row, label in enumerate(labels):
            rows[row, list(self.classes.find(label))] = 1
        return TextEmbeddings(labels, prompts or prompt_set(), rows)

    def encode_images(self, images: Sequence[ImageArray]) -> Floats:
        """Return (P, K) float32: each class's log-probability, or, where classes stand alone, its log-odds.

        Raises:
            BadOutput: the model gave a number that is not finite; the message names the image's index.
        """
        starts = range(0, len(images), self.batch)
        blocks = [self._classify(images[start : start + self.batch]) for start in starts]
        rows = np.concatenate(blocks) if blocks else np.zeros((0, len(self.names)), np.float32)
        broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if broken.size:
            raise BadOutput(f"the classifier's answer for image {int(broken[0])} is not finite")
        return rows

    def logits(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32: the labels' log-probabilities or log-odds, for (P, K) rows of encode_images."""
        pool = np.maximum if self.independent else np.logaddexp
        chosen = [np.flatnonzero(row) for row in vocabulary.embeddings]
        parts = [pool.reduce(features[:, columns], axis=1) for columns in chosen]
        return np.asarray(np.stack(parts, axis=1), np.float32)

    def scores(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32 scores in 0 to 1, for (P, K) rows of encode_images."""
        return self.scores_and_logits(features, vocabulary)[0]

    def scores_and_logits(self, features: Floats, vocabulary: TextEmbeddings) -> tuple[Floats, Floats]:
        """Return what scores and logits return, computed once."""
        logits = self.logits(features, vocabulary)
        return sigmoid(logits) if self.independent else np.minimum(np.exp(logits), np.float32(1)), logits

    def score(self, images: Sequence[ImageArray], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32 scores in 0 to 1 of P images for C labels.

        Raises:
            BadInput: a label is not one of the model's (see encode_labels).
            BadOutput: the model gave a number that is not finite.
        """
        known = vocabulary if isinstance(vocabulary, TextEmbeddings) else self.encode_labels(vocabulary)
        return self.scores(self.encode_images(images), known)

    @torch.inference_mode()
    def _classify(self, images: Sequence[ImageArray]) -> Floats:
        shown = [Image.fromarray(image) for image in images]
        logits = self._forward(shown).float()
        rows = logits if self.independent else logits.log_softmax(-1)
        return np.asarray(rows.cpu().numpy(), np.float32)

    @abstractmethod
    def _forward(self, shown: Sequence[Image.Image]) -> torch.Tensor:
        """Return (P, K) logits in the model's precision."""
