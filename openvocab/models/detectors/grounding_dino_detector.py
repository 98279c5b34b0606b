"""Boxes for words, with Grounding DINO and MM-Grounding-DINO: the label's own tokens are scored, never decoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from PIL import Image
from torch import Tensor

from openvocab.errors import BadInput, BadOutput, BadWeights, OpenVocabWarning
from openvocab.models.checkpoints import find, load_model, load_processor, processor_side
from openvocab.models.detectors.best_first import best_first
from openvocab.models.detectors.grounding_dino_forward import (
    answers_alike,
    encode_image,
    find_objects,
    library_objects,
    use_faster_parts,
)
from openvocab.models.detectors.grounding_dino_text import (
    Block,
    LabelScore,
    LabelTokens,
    Prompt,
    best_labels,
    chunks,
    encode_blocks,
    prompt,
    special_tokens,
)
from openvocab.models.device import dtype_of
from openvocab.pipeline.protocols import Boxes, ImageArray, Queries
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.labels import check_context, check_labels
from openvocab.prompts.templates import PromptSet

__all__ = ["DEFAULT_TEMPLATE", "GroundingDinoDetector", "MMGroundingDinoDetector"]

DEFAULT_TEMPLATE = "{label}"

_DELIMITERS = ("[CLS]", "[SEP]", ".", "?")
_MAX = "+max"
"""Behind a SPEC: a label's score is the maximum over its tokens."""
_FRAME = 2
"""Tokens of a prompt that belong to no label: [CLS] and [SEP]."""


@dataclass(frozen=True, eq=False, slots=True)
class GroundingDinoDetector:
    """Finds boxes for words: a label's text is encoded once, and many labels go through the model in one prompt.

    Liu et al. 2023, "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection".

    The model reads all labels of a prompt together, so a label's score depends somewhat on the labels it is asked with,
    as the library's does; it does not depend on their order. A vocabulary that is too long for one prompt is shared
    out to several, which cost a pass each, all but the image's backbone.

    Attributes:
        model: The library's model for object detection, in evaluation mode, on its device.
        processor: Its processor.
        record: What the model is; with dtype "bfloat16" most of the products of the image's side are in that precision,
            see openvocab.models.detectors.grounding_dino_forward.use_faster_parts.
        label_score: How the probabilities of a label's tokens become its score, see grounding_dino_text.best_labels.
    """

    model: Any
    processor: Any
    record: ModelRecord
    label_score: LabelScore = "mean"

    family: ClassVar[str] = "grounding_dino"
    kind: ClassVar[str] = "Grounding DINO model"
    model_type: ClassVar[str] = "grounding-dino"
    model_class: ClassVar[str] = "GroundingDinoForObjectDetection"

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Self:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: "IDEA-Research/grounding-dino-tiny" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder; with
                "+max" behind it, a label's score is the maximum over its tokens instead of their mean.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the image's side; None for what is fast on the device.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is of another kind.
        """
        import transformers

        found = find(cls.family, spec.removesuffix(_MAX), cls.kind, [cls.model_type])
        record = replace(found.record(device, dtype), spec=f"{cls.family}:{spec}")
        processor = load_processor(found, transformers.GroundingDinoProcessor, cls.kind)
        model = load_model(found, getattr(transformers, cls.model_class), cls.kind)
        _check_parts(spec, model, processor.tokenizer)
        return cls.of(model, processor, record, "max" if spec.endswith(_MAX) else "mean")

    @classmethod
    def of(cls, model: Any, processor: Any, record: ModelRecord, label_score: LabelScore = "mean") -> Self:
        """Take a float32 model that is loaded already; it is moved and given its quicker parts, as record says."""
        model = model.to(record.device)
        answers_alike(model)
        use_faster_parts(model.model, dtype_of(record.dtype))
        return cls(model, processor, record, label_score)

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Encode each label once; every prompt reuses its features.

        Labels are read in lower case. "." and "?" end a label in the model's prompts, so they are left out of it.

        Args:
            labels: C labels.
            template: a sentence with one {label}; None takes DEFAULT_TEMPLATE.

        Returns:
            embeddings of the kind LabelTokens.

        Raises:
            BadInput: a label is empty, holds nothing but separators or is given twice, two are the same to the model,
                or the template has no {label}.
            BadOutput: the model gave a feature that is not finite.
        """
        names = check_labels(labels)
        sentence = template or DEFAULT_TEMPLATE
        prompts = PromptSet("detector", (sentence,))
        blocks = self._blocks(names, [prompts.fill(name)[0] for name in names])
        special = [(token,) for token in special_tokens(self.model)[:_FRAME]]
        if not answers_alike(self.model):  # the library's forward encodes the labels itself
            none = tuple(torch.zeros(len(block), 0, device=self.record.device) for block in blocks)
            return Queries(names, sentence, LabelTokens(tuple(blocks), none, torch.zeros(_FRAME, 0).to(none[0])))
        first, last, *features = encode_blocks(self.model.model, [*special, *blocks])
        for name, rows in zip(names, features, strict=True):
            if not torch.isfinite(rows).all():
                raise BadOutput(f"the detector's embedding of label {name!r} is not finite")
        return Queries(names, sentence, LabelTokens(tuple(blocks), tuple(features), torch.cat([first, last])))

    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: all boxes whose best label scores over the threshold.

        A label's score is the mean of the probabilities of its own tokens. With label_score "max" it is the best of
        its tokens and its full stop; that of a label asked alone also counts [CLS] and [SEP], as the library does.
        Every query of a prompt gives at most one box, with the label that scores best there. Boxes are clipped to the
        image; those with nothing left are dropped. Images go through the model one by one, because padding would
        change the answer.

        Raises:
            BadOutput: the model gave a score or a box that is not finite; the message names the image's index.
        """
        tokens: LabelTokens = queries.embeddings
        text_prompts = [prompt(tokens, rows) for rows in chunks(tokens.blocks, self._context - _FRAME)]
        found: list[Boxes] = []
        for index, image in enumerate(images):
            parts = []
            for one, (logits, boxes) in zip(text_prompts, self._answers(image, text_prompts), strict=True):
                if not (torch.isfinite(logits).all() and torch.isfinite(boxes).all()):
                    raise BadOutput(f"the detector's answer for image {index} is not finite")
                parts.append((boxes, *best_labels(logits, one, self.label_score)))
            shares, scores, labels = (torch.cat(part) for part in zip(*parts, strict=True))
            over = scores > threshold
            found.append(best_first(_corners(shares[over], image), scores[over], labels[over], image))
        return found

    def _answers(self, image: ImageArray, prompts: Sequence[Prompt]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield logits and boxes of each prompt, as find_objects returns them."""
        pixels = self._pixels(image)
        if not answers_alike(self.model):
            yield from (library_objects(self.model, pixels, each.blocks) for each in prompts)
            return
        encoded = encode_image(self.model.model, pixels)
        yield from (find_objects(self.model, encoded, each) for each in prompts)

    @property
    def input_side(self) -> int:
        """Pixels of the shorter side of the model's input."""
        return processor_side(self.processor.image_processor)

    @property
    def _context(self) -> int:
        config = self.model.config
        return int(min(config.max_text_len, config.text_config.max_position_embeddings))

    def _blocks(self, labels: tuple[str, ...], texts: list[str]) -> list[Block]:
        """Return each text's tokens with a full stop behind them and none inside.

        Raises:
            BadInput: nothing is left of a text, or two are the same.
        """
        tokenizer, room = self.processor.tokenizer, self._context - _FRAME - 1
        special = special_tokens(self.model)
        stop = special[_DELIMITERS.index(".")]
        ends = {*special, *tokenizer.all_special_ids} - {tokenizer.unk_token_id}
        given = tokenizer([text.lower() for text in texts], add_special_tokens=False, verbose=False).input_ids
        read = [[token for token in tokens if token not in ends] for tokens in given]
        kept = [str(tokenizer.decode(tokens[:room])).strip() for tokens in read]
        for label, tokens in zip(labels, read, strict=True):
            if not tokens:
                raise BadInput(f"label {label!r} holds nothing but separators of the detector's prompts; write a word")
        check_context(labels, [len(tokens) + _FRAME + 1 for tokens in read], self._context, kept, "the detector")
        for label, tokens, before, text in zip(labels, read, given, kept, strict=True):
            if len(tokens) < len(before) or tokenizer.unk_token_id in tokens:
                warnings.warn(f"the detector reads label {label!r} as {text!r}", OpenVocabWarning, stacklevel=3)
        return [(*tokens[:room], stop) for tokens in read]

    def _pixels(self, image: ImageArray) -> Tensor:
        """Return the model's (1, 3, height, width) float32 input, on its device."""
        given = self.processor.image_processor(images=Image.fromarray(image), return_tensors="pt")
        pixels: Tensor = given.pixel_values.to(self.record.device)
        return pixels


@dataclass(frozen=True, eq=False, slots=True)
class MMGroundingDinoDetector(GroundingDinoDetector):
    """Grounding DINO as Zhao et al. 2024 train it in "An Open and Comprehensive Pipeline for Unified Object Grounding
    and Detection"."""

    family = "mm_grounding_dino"
    kind = "MM-Grounding-DINO model"
    model_type = "mm-grounding-dino"
    model_class = "MMGroundingDinoForObjectDetection"


def _corners(shares: Tensor, image: ImageArray) -> Tensor:
    """Turn (N, 4) center x, center y, width, height, as shares of the image, into left, top, right, bottom pixels."""
    height, width = image.shape[:2]
    center, half = shares[:, :2], shares[:, 2:] / 2
    return torch.cat([center - half, center + half], 1) * shares.new_tensor([width, height, width, height])


def _check_parts(spec: str, model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer of another model, and a model without the stage that proposes boxes.

    Raises:
        BadWeights: The tokenizer or the model is another one.
    """
    wanted = special_tokens(model)
    got = tokenizer.convert_tokens_to_ids(list(_DELIMITERS))
    if got != wanted or len(tokenizer) > model.config.text_config.vocab_size:
        raise BadWeights(f"{spec}: the tokenizer has the ids {got} for {' '.join(_DELIMITERS)}, the model {wanted}")
    if not (model.config.two_stage and model.config.embedding_init_target):
        raise BadWeights(f"{spec}: this model does not choose its queries from the image, as published ones do")
