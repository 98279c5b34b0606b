"""Tags for whole images from a classifier: a vocabulary that is closed, the classes that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from openvocab.errors import BadOutput, BadWeights
from openvocab.pipeline.checkpoints import find, load_model, load_processor
from openvocab.pipeline.device import dtype_of
from openvocab.pipeline.protocols import ImageArray, TextEmbeddings
from openvocab.pipeline.result import ModelRecord
from openvocab.pipeline.scores import sigmoid
from openvocab.pipeline.taggers.class_names import ClassNames
from openvocab.prompts.labels import check_labels
from openvocab.prompts.templates import PromptSet, prompt_set

__all__ = ["ClassifierTagger"]

Floats = NDArray[np.float32]

_KIND = "image classifier"


@dataclass(frozen=True, eq=False, slots=True)
class ClassifierTagger:
    """Scores labels for whole images with a classifier such as ViT or Swin; it knows its K classes and no others.

    A label's score is the model's probability over all its classes, so asking for fewer labels makes none larger. A
    label that several classes carry (ImageNet has two called "crane", and 118 below "dog") gets the sum of their
    probabilities, or, where classes do not exclude each other, the best of them.

    model            in evaluation mode, on its device, in its precision.
    image_processor  the checkpoint's own.
    record           what the model is.
    classes          the names of the K classes, and what a label may be.
    independent      whether classes do not exclude each other (sigmoid); else the probabilities of all K sum to 1.
    batch            images that go through the model together.
    """

    model: Any
    image_processor: Any
    record: ModelRecord
    classes: ClassNames
    independent: bool
    batch: int = 32

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> ClassifierTagger:
        """Load a model that transformers' AutoModelForImageClassification or timm knows.

        Args:
            spec: "google/vit-base-patch16-224" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder, in
                transformers' layout or in timm's; "tf_efficientnet_lite2@PATH.pth", an architecture of timm and its
                weights; or such an architecture alone, where the manifest names its weights.
            device: "cuda", "mps", "cpu"; None takes the best there is.
            dtype: "float32" or "bfloat16", for the weights; None takes what is fast there.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is no classifier.
            UnknownName: timm has no such architecture, or the manifest no weights for it.
            MissingExtra: its weights come with a package that is not installed.
        """
        from transformers import AutoImageProcessor, AutoModelForImageClassification
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN

        from openvocab.pipeline.taggers import timm_classifier

        if timm_classifier.is_architecture(spec):
            return timm_classifier.load_architecture(spec, device, dtype)
        found = find("classifier", spec, _KIND, {*KNOWN, None})
        if timm_classifier.is_timm(found.config):
            return timm_classifier.load_found(found, device, dtype)
        if "model_type" not in found.config:
            raise BadWeights(f"{spec}: this is no {_KIND}: config.json names neither a model type nor an architecture")
        if found.config.get("problem_type") == "regression":
            raise BadWeights(f"{spec}: this model predicts a number, not a class; name a classifier")
        record = found.record(device, dtype)
        model = load_model(found, AutoModelForImageClassification, _KIND)
        names = tuple(str(model.config.id2label[row]) for row in range(model.config.num_labels))
        return cls(
            model=model.to(record.device, dtype_of(record.dtype)),
            image_processor=load_processor(found, AutoImageProcessor, _KIND),
            record=record,
            classes=ClassNames.of(names),
            independent=model.config.problem_type == "multi_label_classification" or len(names) == 1,
        )

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
            prompts: kept in the answer; a classifier reads no sentence.

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

    def logits(self, embeddings: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32: the labels' log-probabilities or log-odds, for (P, K) rows of encode_images."""
        pool = np.maximum if self.independent else np.logaddexp
        chosen = [np.flatnonzero(row) for row in vocabulary.embeddings]
        parts = [pool.reduce(embeddings[:, columns], axis=1) for columns in chosen]
        return np.asarray(np.stack(parts, axis=1), np.float32)

    def scores(self, embeddings: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32 scores in 0 to 1, for (P, K) rows of encode_images."""
        logits = self.logits(embeddings, vocabulary)
        return sigmoid(logits) if self.independent else np.minimum(np.exp(logits), np.float32(1))

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

    def _forward(self, shown: Sequence[Image.Image]) -> torch.Tensor:
        """Return (P, K) logits in the model's precision."""
        pixels = self.image_processor(images=shown, return_tensors="pt").to(self.model.device, self.model.dtype)
        logits: torch.Tensor = self.model(**pixels).logits
        return logits
