"""Boxes for words, with Florence-2."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.models.checkpoints import processor_side
from openvocab.models.detectors.best_first import best_first
from openvocab.models.florence2 import BINS, Florence2
from openvocab.models.text_towers import check_sentences
from openvocab.models.written import Written, mean_probability
from openvocab.pipeline.protocols import Boxes, ImageArray, Queries
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.labels import check_labels
from openvocab.prompts.templates import PromptSet

__all__ = ["DEFAULT_TASK", "Florence2Detector", "Prompts", "boxes_of"]

DEFAULT_TASK = "<OPEN_VOCABULARY_DETECTION>{label}"

_DETECTING = ("<OPEN_VOCABULARY_DETECTION>", "<CAPTION_TO_PHRASE_GROUNDING>")


@dataclass(frozen=True, eq=False, slots=True)
class Prompts:
    """An encoded vocabulary; prompts[rows] selects labels.

    Attributes:
        tokens: The C prompts, one a label.
    """

    tokens: tuple[tuple[int, ...], ...]

    def __getitem__(self, rows: Sequence[int]) -> Prompts:
        """Return the labels of those rows."""
        return Prompts(tuple(self.tokens[row] for row in rows))


@dataclass(frozen=True, eq=False, slots=True)
class Florence2Detector:
    """Finds boxes for words: asks for each label by itself, so that a box's label is the one that was asked for.

    The model is made to answer, so a label that is not in the image mostly gets boxes too, and its scores are no
    probabilities of being right. The order and the company of labels change nothing.

    Attributes:
        florence: The model.
    """

    florence: Florence2

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Florence2Detector:
        """Load a model; see Florence2.load."""
        return cls(Florence2.load(spec, device, dtype))

    @property
    def record(self) -> ModelRecord:
        """What the model is."""
        return self.florence.record

    @property
    def input_side(self) -> int:
        """Pixels of the side of the model's input."""
        return processor_side(self.florence.processor.image_processor)

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Write the prompt of each label.

        Args:
            labels: C labels.
            template: a sentence with one {label}, or a task and {label}: "<OPEN_VOCABULARY_DETECTION>{label}", which
                None stands for, or "<CAPTION_TO_PHRASE_GROUNDING>{label}". A task stands for the model's own sentence.

        Returns:
            embeddings of the kind Prompts.

        Raises:
            BadInput: a label is empty or given twice, two are the same once cut to the model's context, the template
                has no {label}, or its task finds no boxes for words.
        """
        names, given = check_labels(labels), template or DEFAULT_TASK
        sentence = PromptSet("task", (self._sentence(given),))
        texts = [sentence.fill(name)[0] for name in names]
        check_sentences(self.florence.processor.tokenizer, names, texts, self.florence.context)
        return Queries(names, given, Prompts(self.florence.tokens(texts)))

    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: the boxes that the model writes for each label and that score over the threshold.

        A box's score is the mean_probability of its location tokens. Edges lie in the middle of one of 1,000 bins a
        side. Of a polygon, which the model writes for some labels, the box around it is taken. Boxes are clipped to the
        image; those with nothing left are dropped. An answer that is cut at the maximum length is an OpenVocabWarning.

        Raises:
            BadOutput: the model gave a number that is not finite; the message names the image's index.
        """
        return [self._found(image, row, queries, threshold) for row, image in enumerate(images)]

    def _found(self, image: ImageArray, row: int, queries: Queries, threshold: float) -> Boxes:
        (height, width), polygon = image.shape[:2], self._polygon
        bins, scores, index = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros(0, np.int64)]
        answers = self.florence.answers(self.florence.encode(image, row), queries.embeddings.tokens, row)
        for place, answer in enumerate(answers):
            if answer.cut:
                cut = f"image {row}: Florence-2's answer to label {queries.labels[place]!r} is cut"
                most = len(answer.tokens)
                warnings.warn(f"{cut} at {most} tokens; objects after that are missing", OpenVocabWarning, stacklevel=3)
            around, sure = boxes_of(answer, self.florence.locations, polygon)
            bins, scores, index = [*bins, around], [*scores, sure], [*index, np.full(len(sure), place)]
        edges = torch.from_numpy((np.concatenate(bins) + 0.5) * ([width, height] * 2) / BINS).float()
        every, places = torch.from_numpy(np.concatenate(scores)).float(), torch.from_numpy(np.concatenate(index))
        over = every > threshold
        return best_first(edges[over], every[over], places[over], image)

    @property
    def _polygon(self) -> tuple[int, int, int]:
        """The tokens that begin, part and end a polygon."""
        start, part, end = self.florence.processor.tokenizer.convert_tokens_to_ids(["<poly>", "<sep>", "</poly>"])
        return start, part, end

    def _sentence(self, template: str) -> str:
        """Return a template with the model's sentence in place of a task."""
        if not template.startswith("<"):
            return template
        task, _, rest = template.partition(">")
        if f"{task}>" not in _DETECTING:
            raise BadInput(f"template {template!r}: this task finds no boxes for words; write {DEFAULT_TASK!r}")
        sentence: str = self.florence.processor.task_prompts_with_input[f"{task}>"]
        return sentence.format(input=rest.strip())


def boxes_of(
    answer: Written, locations: Mapping[int, int], polygon: tuple[int, int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the boxes of an answer.

    Location tokens in a row are left, top, right and bottom of one box after the other; what is left over is ignored.
    Between the tokens of a polygon they are x and y of its corners; one without its end is ignored.

    Args:
        answer: What the model wrote.
        locations: Token of a location -> its bin.
        polygon: The tokens that begin, part and end a polygon.

    Returns:
        (N, 4) bins, and (N,) mean_probability of each box's tokens.
    """
    begin, part, end = polygon
    edges: list[list[int]] = []
    scores: list[float] = []
    run: list[int] = []
    inside = False

    def add(rows: list[int]) -> None:
        bins = [locations[answer.tokens[at]] for at in rows]
        around = [min(bins[::2]), min(bins[1::2]), max(bins[::2]), max(bins[1::2])]
        edges.append(around if inside else bins)
        scores.append(mean_probability([answer.log_probabilities[at] for at in rows]))

    for at, token in enumerate((*answer.tokens, -1)):
        if token in locations:
            run.append(at)
        elif not (inside and token == part):
            if not inside:
                for first in range(0, len(run) - 3, 4):
                    add(run[first : first + 4])
            elif token == end and len(run) > 3:
                add(run)
            run, inside = [], token == begin
    return np.array(edges, np.float64).reshape(-1, 4), np.array(scores, np.float64)
