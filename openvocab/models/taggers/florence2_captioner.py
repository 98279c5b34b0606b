"""Captions of whole images, and names of what is in them, with Florence-2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from openvocab.models.florence2 import Florence2
from openvocab.models.written import Written, mean_probability
from openvocab.pipeline.protocols import ImageArray, TextEmbeddings
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.labels import check_labels
from openvocab.prompts.phrases import mentions
from openvocab.prompts.templates import PromptSet, prompt_set

__all__ = ["Florence2Captioner"]

_CAPTIONS = {"": "<CAPTION>", "+detailed": "<DETAILED_CAPTION>", "+more_detailed": "<MORE_DETAILED_CAPTION>"}


@dataclass(frozen=True, eq=False, slots=True)
class Florence2Captioner:
    """Describes images in English, names what is in them, and scores the labels that its captions mention.

    Attributes:
        florence: The model.
        task: The task of its captions.
    """

    florence: Florence2
    task: str

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Florence2Captioner:
        """Load a model; see Florence2.load.

        Args:
            spec: as there; with "+detailed" or "+more_detailed" behind it, captions are longer.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16"; the model stays in float32 with either.
        """
        name, sign, detail = spec.rpartition("+")
        if f"+{detail}" not in _CAPTIONS:
            name, sign, detail = spec, "", ""
        florence = Florence2.load(name, device, dtype)
        named = replace(florence, record=replace(florence.record, spec=f"florence2:{spec}"))
        return cls(named, _CAPTIONS[sign + detail])

    @property
    def record(self) -> ModelRecord:
        """What the model is."""
        return self.florence.record

    def caption(self, images: Sequence[ImageArray]) -> list[str]:
        """Return one English caption an image, without special tokens.

        Raises:
            BadOutput: the model gave a number that is not finite; the message names the image's index.
        """
        return [self.florence.text(answer.tokens) for answer in self._described(images)]

    def labels(self, images: Sequence[ImageArray], of: Literal["objects", "caption"] = "objects") -> list[list[str]]:
        """Return for each image the names that the model has for what is in it, each once, to be asked for as labels.

        Args:
            images: P images.
            of: "objects" for the names of the boxes of the task <OD>; "caption" for those phrases of the caption that
                the model finds in the image.

        Raises:
            BadOutput: the model gave a number that is not finite; the message names the image's index.
        """
        task = "<OD>" if of == "objects" else "<CAPTION_TO_PHRASE_GROUNDING>"
        made = []
        for row, image in enumerate(images):
            features = self.florence.encode(image, row)
            asked = self.florence.task(task) if of == "objects" else self._grounding(features, row)
            answer = next(self.florence.answers(features, [asked], row))
            made.append(self._names(answer, task, image))
        return made

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        """Return the labels, checked, with embeddings of shape (C, 0): a caption is compared as text.

        Raises:
            BadInput: a label is empty or given twice.
        """
        names = check_labels(labels)
        return TextEmbeddings(names, prompts or prompt_set(), np.zeros((len(names), 0), np.float32))

    def score(self, images: Sequence[ImageArray], vocabulary: TextEmbeddings | Sequence[str]) -> NDArray[np.float32]:
        """Return (P, C) float32: the mean_probability of a caption for the labels that it mentions, 0 for the others.

        openvocab.prompts.phrases defines what counts as mentioned.

        Raises:
            BadInput: a label is empty or given twice.
            BadOutput: the model gave a number that is not finite.
        """
        known = vocabulary if isinstance(vocabulary, TextEmbeddings) else self.encode_labels(vocabulary)
        scores = np.zeros((len(images), len(known.labels)), np.float32)
        for row, answer in enumerate(self._described(images)):
            if named := list(mentions(self.florence.text(answer.tokens), known.labels)):
                scores[row, named] = mean_probability(answer.log_probabilities[1:])
        return scores

    def _described(self, images: Sequence[ImageArray]) -> Iterator[Written]:
        """Yield the answer to the caption's task for each image."""
        for row, image in enumerate(images):
            features = self.florence.encode(image, row)
            yield from self.florence.answers(features, [self.florence.task(self.task)], row)

    def _grounding(self, features: Tensor, row: int) -> tuple[int, ...]:
        """Return the prompt that asks for the phrases of the image's own caption."""
        caption = next(self.florence.answers(features, [self.florence.task(self.task)], row))
        sentence: str = self.florence.processor.task_prompts_with_input["<CAPTION_TO_PHRASE_GROUNDING>"]
        return self.florence.tokens([sentence.format(input=self.florence.text(caption.tokens))])[0]

    def _names(self, answer: Written, task: str, image: ImageArray) -> list[str]:
        """Return the names of boxes as the library reads them, each once."""
        processor = self.florence.processor
        text = processor.tokenizer.decode(list(answer.tokens), skip_special_tokens=False)
        size = (image.shape[1], image.shape[0])
        read = processor.post_process_generation(text, task=task, image_size=size)[task]["labels"]
        names = [" ".join("".join(filter(str.isprintable, name)).split()) for name in read]
        first = {name.casefold(): name for name in reversed(names)}
        return [name for name in names if name and first.pop(name.casefold(), None) is not None]
