"""Boxes for words, with Qwen3-VL."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openvocab.errors import BadOutput, OpenVocabWarning
from openvocab.models.checkpoints import find, load_model, load_processor
from openvocab.models.detectors.best_first import best_first
from openvocab.models.detectors.json_boxes import JsonBox, match_labels, read_boxes
from openvocab.models.device import dtype_of
from openvocab.models.text_towers import check_tokenizer
from openvocab.models.written import Written, mean_probability
from openvocab.pipeline.protocols import Boxes, ImageArray, Queries
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.labels import check_labels
from openvocab.prompts.templates import PromptSet

__all__ = ["DEFAULT_TASK", "Qwen3VlDetector"]

DEFAULT_TASK = (
    'Locate every instance that belongs to the following categories: "{label}". Report bbox coordinates in JSON format.'
)
"""The request of the authors' cookbook, cookbooks/2d_grounding.ipynb of QwenLM/Qwen3-VL."""

_KIND = "Qwen3-VL model"
_SIDE = 1000
"""Coordinates are shares of the image's sides in thousandths, see the same notebook."""
_LABELS_TOGETHER = 32
_MOST_TOKENS = 2048
_MOST_ASPECT = 200
"""The library's image processor refuses images whose sides differ by more than this factor."""


@dataclass(frozen=True, eq=False, slots=True)
class Qwen3VlDetector:
    """Finds boxes for words in any language that the model reads (Bai et al. 2025, "Qwen3-VL Technical Report").

    The model is asked for all labels at once, in alphabetical order, and answers with JSON. Which labels are asked
    together may change what it finds; their order does not. A label with a comma is asked for by itself, since commas
    separate labels in the request. The likeliest token is taken at each step, so an image has one answer.

    Attributes:
        model: A Qwen3VLForConditionalGeneration, in evaluation mode, on its device, in its precision.
        processor: Its Qwen3VLProcessor.
        record: What the model is.
        letters: Letter of a byte in the tokenizer's tokens -> the byte.
    """

    model: Any
    processor: Any
    record: ModelRecord
    letters: dict[str, int]

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Qwen3VlDetector:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: "Qwen/Qwen3-VL-2B-Instruct" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the weights; None for what is fast on the device.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is of another kind.
        """
        from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        found = find("qwen3_vl", spec, _KIND, ["qwen3_vl"])
        record = found.record(device, dtype)
        processor = load_processor(found, Qwen3VLProcessor, _KIND)
        model = load_model(found, Qwen3VLForConditionalGeneration, _KIND, dtype=dtype_of(record.dtype))
        check_tokenizer(spec, len(processor.tokenizer), int(model.config.text_config.vocab_size))
        table: Any = bytes_to_unicode  # untyped upstream
        letters = {letter: byte for byte, letter in table().items()}
        return cls(model.to(record.device), processor, record, letters)

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Check the labels; the model reads them with the image.

        Args:
            labels: C labels.
            template: the request, with one {label} where the labels go, ", " between them; None takes DEFAULT_TASK. It
                must ask for JSON objects with bbox_2d and label.

        Returns:
            embeddings of shape (C,), the places of the labels.

        Raises:
            BadInput: a label is empty or given twice, or the template has no {label}.
        """
        names, sentence = check_labels(labels), template or DEFAULT_TASK
        PromptSet("task", (sentence,))
        return Queries(names, sentence, np.arange(len(names)))

    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: the boxes that the model writes and that score over the threshold.

        A box's score is the mean_probability of the digits of its coordinates. What cannot be read as a box of an asked
        label gives none and an OpenVocabWarning, one an image: broken JSON, an answer that is cut at the maximum
        length (objects before the cut count), coordinates outside 0 to 1,000, other labels.

        Raises:
            BadOutput: the model gave a probability that is not finite; the message names the image's index.
        """
        return [self._found(image, row, queries, threshold) for row, image in enumerate(images)]

    def _found(self, image: ImageArray, row: int, queries: Queries, threshold: float) -> Boxes:
        height, width = image.shape[:2]
        edges: list[tuple[float, ...]] = []
        scores: list[float] = []
        places: list[int] = []
        problems: list[str] = []
        if max(height, width) > _MOST_ASPECT * min(height, width):
            problems.append(f"its sides differ by more than a factor of {_MOST_ASPECT}")
        else:
            for group in _groups(queries.labels):
                answer = self._answer(image, [queries.labels[place] for place in group], queries.template, row)
                kept = self._read(answer, [queries.labels[place] for place in group], problems)
                edges += [box.edges for box, _, _ in kept]
                scores += [score for _, score, _ in kept]
                places += [group[place] for _, _, place in kept]
        if problems:
            what = "; ".join(dict.fromkeys(problems))
            warnings.warn(f"image {row}: boxes of Qwen3-VL are left out: {what}", OpenVocabWarning, stacklevel=3)
        xyxy = torch.tensor(edges).reshape(-1, 4) * torch.tensor([width, height] * 2) / _SIDE
        every, index = torch.tensor(scores), torch.tensor(places, dtype=torch.int64)
        over = every > threshold
        return best_first(xyxy[over], every[over], index[over], image)

    @torch.inference_mode()
    def _answer(self, image: ImageArray, labels: Sequence[str], template: str, row: int) -> Written:
        """Return what the model writes for some labels.

        Raises:
            BadOutput: a probability is not finite.
        """
        asked = PromptSet("task", (template,)).fill(", ".join(labels))[0]
        content = [{"type": "image", "image": Image.fromarray(image)}, {"type": "text", "text": asked}]
        given = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.model.device)
        seen = _Likeliest()
        greedy = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
        made = self.model.generate(**given, **greedy, max_new_tokens=_MOST_TOKENS, logits_processor=[seen])
        tokens = made[0, given["input_ids"].shape[1] :].tolist()
        logs = torch.stack(seen.logs)[:, 0]
        if not torch.isfinite(logs).all():
            raise BadOutput(f"Qwen3-VL's answer for image {row} is not finite")
        cut = len(tokens) >= _MOST_TOKENS and tokens[-1] not in self.processor.tokenizer.all_special_ids
        return Written(tuple(tokens), tuple(logs.tolist()), cut)

    def _read(self, answer: Written, labels: Sequence[str], problems: list[str]) -> list[tuple[JsonBox, float, int]]:
        """Return the boxes of an answer with scores and places among the labels; problems are added to the list."""
        pieces = [self._bytes(token) for token in answer.tokens]
        try:
            text = b"".join(pieces).decode("utf-8")
        except UnicodeDecodeError as error:
            cut = answer.cut and error.start + 4 > len(error.object)
            text = error.object[: error.start].decode("utf-8")
            problems += [] if cut else ["the answer holds part of a letter"]
        if answer.cut:
            problems.append(f"the answer is cut at {len(answer.tokens)} tokens")
        found = read_boxes(text, _SIDE)
        problems += found.problems
        ends = np.cumsum([len(piece) for piece in pieces])
        kept = []
        for box, place in zip(found.boxes, match_labels([box.label for box in found.boxes], labels), strict=True):
            if place is None:
                problems.append(f"{box.label!r} was not asked for")
            else:
                kept.append((box, _score(box, text, ends, answer.log_probabilities), place))
        return kept

    def _bytes(self, token: int) -> bytes:
        """Return what a token stands for in the answer; special ones for nothing."""
        if token in self.processor.tokenizer.all_special_ids:
            return b""
        piece = str(self.processor.tokenizer.convert_ids_to_tokens(token))
        return b"".join(bytes([self.letters[each]]) if each in self.letters else each.encode() for each in piece)


def _groups(labels: Sequence[str]) -> list[list[int]]:
    """Return the places of the labels that are asked for together, in alphabetical order."""
    order = sorted(range(len(labels)), key=labels.__getitem__)
    plain = [place for place in order if "," not in labels[place]]
    together = [plain[at : at + _LABELS_TOGETHER] for at in range(0, len(plain), _LABELS_TOGETHER)]
    return [*together, *([place] for place in order if "," in labels[place])]


def _score(box: JsonBox, text: str, ends: Any, log_probabilities: Sequence[float]) -> float:
    """Return the mean probability of the tokens that hold digits of a box's coordinates.

    Args:
        box: The box.
        text: The answer.
        ends: (T,) the number of bytes up to the end of each token.
        log_probabilities: T, of each token.
    """
    tokens: set[int] = set()
    for start, end in box.digits:
        first, last = (len(text[:at].encode()) for at in (start, end))
        tokens.update(range(int(np.searchsorted(ends, first, "right")), int(np.searchsorted(ends, last, "left")) + 1))
    return mean_probability([log_probabilities[token] for token in sorted(tokens)])


@dataclass(slots=True)
class _Likeliest:
    """Takes down the logarithm of the largest probability of each step, which is that of the token that is taken."""

    logs: list[Tensor] = field(default_factory=list)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.logs.append(scores.float().log_softmax(-1).amax(-1))
        return scores
