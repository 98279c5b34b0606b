"""Shared code of taggers with an image tower and a text tower: cosines of two sets of unit rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openvocab.errors import BadOutput, BadWeights
from openvocab.models.device import to_device, unit
from openvocab.pipeline.parallel import on_one_core, side_by_side
from openvocab.pipeline.protocols import ImageArray, Prepared, TextEmbeddings
from openvocab.pipeline.quiet import label_batches
from openvocab.pipeline.result import ModelRecord
from openvocab.pipeline.scores import sigmoid, softmax
from openvocab.prompts.labels import check_context, check_labels
from openvocab.prompts.templates import PromptSet, prompt_set

__all__ = ["DualEncoder", "logit_terms"]

Floats = NDArray[np.float32]

TEXTS_A_BATCH = 256
"""Sentences that go through a text tower together, at most, if a label has fewer templates."""

ROWS_A_PRODUCT = 32
"""Rows of each product of cosines; other numbers of rows make a BLAS add in another order, to other last digits."""

_PROBE = "The QUICK brown fox, déjà-vu 犬!"
"""A sentence that tokenizers treat differently: case, accents, punctuation, another script."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class DualEncoder(ABC):
    """Scores labels for whole images: a Tagger whose library says how to encode sentences and images.

    Attributes:
        record: What the model is.
        scale: Factor on the cosine; exp of the model's logit_scale.
        bias: Added to it, for models trained with a sigmoid; None for a softmax.
        batch: Images that go through the model together.
    """

    record: ModelRecord
    scale: float
    bias: float | None = None
    batch: int = 32

    def __post_init__(self) -> None:
        """Check the factor and the bias of the logits.

        Raises:
            BadWeights: one is not finite, or the factor is 0.
        """
        terms = {"logit scale": self.scale, "logit bias": self.bias or 0.0}
        for name, value in terms.items():
            if not math.isfinite(value) or (name == "logit scale" and value == 0):
                raise BadWeights(f"{self.record.spec} has a {name} of {value}; download it again or name another")

    @property
    @abstractmethod
    def context(self) -> int:
        """The maximum number of tokens of the text tower, special ones included."""

    @abstractmethod
    def _measure(self, text: str) -> tuple[int, str]:
        """Return the number of tokens of a sentence, and the part of it that the text tower reads."""

    @abstractmethod
    def _embed_texts(self, texts: list[str]) -> Tensor:
        """Return (len(texts), D) rows of any length."""

    @abstractmethod
    def _prepare(self, image: ImageArray) -> Mapping[str, Tensor]:
        """Return the model's arguments for one image, each (1, ...), in the processor's memory, in its precision."""

    @abstractmethod
    def _embed_images(self, pixels: Mapping[str, Tensor]) -> Tensor:
        """Return (P, D) rows of any length for the arguments of P images; called in several threads."""

    @property
    @abstractmethod
    def preparation(self) -> str:
        """The architecture and how images are prepared: with weights and dtype, what decides an embedding."""

    @property
    def text_preparation(self) -> str:
        """How sentences are prepared: what the tokenizer makes of one, and how much the text tower reads."""
        return f"{self.context} {self._measure(_PROBE)}"

    @property
    def independent(self) -> bool:
        """Whether each score stands alone (sigmoid); else those of an image sum to 1 (softmax)."""
        return self.bias is not None

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        """Average each label's sentences into one unit vector.

        Args:
            labels: C labels.
            prompts: the templates to average over; None takes the default one.

        Returns:
            embeddings of shape (C, D), float32, in the order of labels.

        Raises:
            BadInput: a label is empty or given twice, or two are the same once cut to the model's context.
            BadOutput: the model gave an embedding that is not finite.
        """
        chosen = prompts or prompt_set()
        names = self.check_labels(labels, chosen)
        return TextEmbeddings(names, chosen, self.embed(names, chosen))

    def embed_sentences(self, sentences: Sequence[str]) -> Floats:
        """Return (len(sentences), D) float32 rows of length 1, one a sentence.

        Raises:
            BadOutput: the model gave an embedding that is not finite.
        """
        blocks = [
            self._average(list(sentences[at : at + TEXTS_A_BATCH]), 1) for at in range(0, len(sentences), TEXTS_A_BATCH)
        ]
        rows = np.concatenate(blocks)
        _check_finite(rows, "sentence", sentences)
        return rows

    def check_labels(self, labels: Sequence[str], prompts: PromptSet) -> tuple[str, ...]:
        """Return the normalized labels; warn about each that does not fit into the text tower.

        Raises:
            BadInput: as encode_labels.
        """
        names = check_labels(labels)
        self._check_context(names, prompts)
        return names

    def embed(self, names: Sequence[str], prompts: PromptSet) -> Floats:
        """Return encode_labels' embeddings of labels that check_labels returned, or of some of them.

        Raises:
            BadOutput: the model gave an embedding that is not finite.
        """
        texts = [text for name in names for text in prompts.fill(name)]
        count = len(prompts.templates)
        step = max(1, TEXTS_A_BATCH // count)
        starts = label_batches(len(names), step, "encoding labels for the tagger")
        blocks = [self._average(texts[start * count : (start + step) * count], count) for start in starts]
        embeddings = np.concatenate(blocks)
        _check_finite(embeddings, "label", names)
        return embeddings

    @torch.inference_mode()
    def prepare(self, image: ImageArray) -> Prepared:
        """Return the model's input for an image, which encode_images and score accept in its place."""
        with on_one_core():
            return Prepared(self._prepare(image))

    def encode_images(self, images: Sequence[ImageArray | Prepared]) -> Floats:
        """Return (P, D) float32 rows of length 1, one an image.

        Args:
            images: P images, any of them prepared by this tagger.

        Raises:
            BadOutput: the model gave an embedding that is not finite; the message names the image's index.
        """
        starts = range(0, len(images), self.batch)
        blocks = [self._encode_batch(images[start : start + self.batch]) for start in starts]
        embeddings = np.concatenate(blocks) if blocks else np.zeros((0, 0), np.float32)
        _check_finite(embeddings, "image", range(len(images)))
        return embeddings

    def logits(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32: scale * cosine + bias, for (P, D) features of images.

        A row's logits do not depend on the other rows or their number. The product is torch's, as the towers' are: the
        threads of numpy's spin for a while after each one.
        """
        texts = torch.from_numpy(np.require(vocabulary.embeddings, np.float32, "W"))
        logits = np.empty((len(features), len(texts)), np.float32)
        for start in range(0, len(features), ROWS_A_PRODUCT):
            some = np.asarray(features[start : start + ROWS_A_PRODUCT], np.float32)
            rows = torch.zeros(ROWS_A_PRODUCT, some.shape[1])
            rows.numpy()[: len(some)] = some
            product = (rows @ texts.T).mul_(self.scale).add_(self.bias or 0)
            logits[start : start + len(some)] = product.numpy()[: len(some)]
        return logits

    def scores(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        """Return (P, C) float32 scores in 0 to 1, for (P, D) features of images.

        Raises:
            BadOutput: a logit is not finite, such as an infinite one, which a sigmoid would turn into a score of 1.
        """
        return self.scores_and_logits(features, vocabulary)[0]

    def scores_and_logits(self, features: Floats, vocabulary: TextEmbeddings) -> tuple[Floats, Floats]:
        """Return what scores and logits return, from one product.

        Raises:
            BadOutput: as scores.
        """
        logits = self.logits(features, vocabulary)
        if not np.isfinite(logits).all():
            raise BadOutput("the tagger's logits are not finite; try dtype='float32', or check its weights")
        return sigmoid(logits) if self.independent else softmax(logits), logits

    def score(self, images: Sequence[ImageArray | Prepared], vocabulary: TextEmbeddings | Sequence[str]) -> Floats:
        """Return (P, C) float32 scores in 0 to 1 of P images for C labels.

        Raises:
            BadInput: a label cannot be used (see encode_labels).
            BadOutput: the model gave an embedding that is not finite.
        """
        known = vocabulary if isinstance(vocabulary, TextEmbeddings) else self.encode_labels(vocabulary)
        return self.scores(self.encode_images(images), known)

    def token_counts(self, labels: Sequence[str], prompts: PromptSet) -> list[int]:
        """Return the number of tokens of each label in the longest template, special ones included."""
        return [count for count, _ in self._measured(labels, prompts)]

    def _check_context(self, labels: tuple[str, ...], prompts: PromptSet) -> None:
        """Warn of each label that does not fit into the text tower, in the longest template."""
        measured = self._measured(labels, prompts)
        check_context(
            labels, [count for count, _ in measured], self.context, [text for _, text in measured], "the tagger"
        )

    def _measured(self, labels: Sequence[str], prompts: PromptSet) -> list[tuple[int, str]]:
        lengths = [self._measure(text)[0] for text in prompts.fill(labels[0])]
        longest = PromptSet(prompts.name, (prompts.templates[int(np.argmax(lengths))],))
        rows = label_batches(len(labels), 1, "tokenizing labels")
        return [self._measure(longest.fill(labels[row])[0]) for row in rows]

    @torch.inference_mode()
    def _average(self, texts: list[str], count: int) -> Floats:
        """Return (len(texts) / count, D): unit means of the unit embeddings of count sentences in a row."""
        units = unit(self._embed_texts(texts))
        return _to_numpy(unit(units.reshape(len(texts) // count, count, -1).mean(1)))

    @torch.inference_mode()
    def _encode_batch(self, images: Sequence[ImageArray | Prepared]) -> Floats:
        if self.record.device == "cpu":
            return _to_numpy(unit(side_by_side(self._embed, images)))
        return _to_numpy(unit(self._embed(images)))

    def _embed(self, images: Sequence[ImageArray | Prepared]) -> Tensor:
        return self._embed_images(self.pixels(images))

    def pixels(self, images: Sequence[ImageArray | Prepared]) -> dict[str, Tensor]:
        """Return the model's arguments for P images, each (P, ...), on its device, in its precision."""
        ready = [one if isinstance(one, Prepared) else self.prepare(one) for one in images]
        joined = {name: torch.cat([one.tensors[name] for one in ready]) for name in ready[0].tensors}
        return {name: to_device(tensor, self.record.device) for name, tensor in joined.items()}


def logit_terms(model: Any) -> tuple[float, float | None]:
    """Return the factor on the cosine and the bias of a model, read before its precision is lowered."""
    bias = getattr(model, "logit_bias", None)
    return float(model.logit_scale.detach().exp()), None if bias is None else float(bias.detach())


def _to_numpy(rows: Tensor) -> Floats:
    return np.asarray(rows.cpu().numpy(), np.float32)


def _check_finite(embeddings: Floats, kind: str, names: Sequence[Any]) -> None:
    """Raise BadOutput naming the first row that is not finite."""
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if broken.size:
        raise BadOutput(f"the tagger's embedding of {kind} {names[int(broken[0])]!r} is not finite")
