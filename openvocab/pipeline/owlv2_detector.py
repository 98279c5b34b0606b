"""Boxes for words, with OWLv2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openvocab.errors import BadOutput, BadWeights
from openvocab.pipeline.checkpoints import find, load_model, load_processor
from openvocab.pipeline.device import dtype_of, low_precision, unit
from openvocab.pipeline.owlv2_pixels import owlv2_pixels
from openvocab.pipeline.record import ModelRecord
from openvocab.pipeline.stages import Boxes, Picture, Queries
from openvocab.prompts.labels import check_context, check_labels
from openvocab.prompts.templates import PromptSet

__all__ = ["DEFAULT_TEMPLATE", "Owlv2Detector"]

DEFAULT_TEMPLATE = "a photo of a {label}"

_TEXTS_A_BATCH = 256
_KIND = "OWLv2 model"


@dataclass(frozen=True, eq=False, slots=True)
class Owlv2Detector:
    """Finds boxes for words: the text side runs once a vocabulary, the picture side once a picture.

    model      an Owlv2ForObjectDetection, in evaluation mode, in float32, on its device.
    processor  its Owlv2Processor.
    record     what the model is; with dtype "bfloat16" the vision tower multiplies in that precision, the heads do not.
    batch      pictures that go through the model together.
    """

    model: Any
    processor: Any
    record: ModelRecord
    batch: int = 4

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Owlv2Detector:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: "google/owlv2-base-patch16-ensemble" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder.
            device: "cuda", "mps", "cpu"; None takes the best there is.
            dtype: "float32" or "bfloat16", for the vision tower; None takes what is fast there.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is not an OWLv2 model.
        """
        from transformers import Owlv2ForObjectDetection, Owlv2Processor

        found = find("owlv2", spec, _KIND, ["owlv2"])
        record = found.record(device, dtype)
        processor = load_processor(found, Owlv2Processor, _KIND)
        model = load_model(found, Owlv2ForObjectDetection, _KIND)
        _check_tokenizer(spec, len(processor.tokenizer), int(model.config.text_config.vocab_size))
        return cls(model.to(record.device), processor, record)

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Encode each label once, as the detection head receives it.

        Args:
            labels: C labels.
            template: a sentence with one {label}; None takes DEFAULT_TEMPLATE.

        Returns:
            embeddings of shape (C, D), a float32 tensor on the model's device, each row of length 1.

        Raises:
            BadInput: a label is empty or given twice, two are the same once cut to the model's context, or the
                template has no {label}.
            BadOutput: the model gave an embedding that is not finite.
        """
        names = check_labels(labels)
        sentence = template or DEFAULT_TEMPLATE
        prompts = PromptSet("detector", (sentence,))
        texts = [prompts.fill(name)[0] for name in names]
        self._check_context(names, texts)
        starts = range(0, len(texts), _TEXTS_A_BATCH)
        embeddings = torch.cat([self._embed(texts[start : start + _TEXTS_A_BATCH]) for start in starts])
        broken = (~torch.isfinite(embeddings).all(1)).nonzero()
        if len(broken):
            raise BadOutput(f"the detector's embedding of label {names[int(broken[0])]!r} is not finite")
        return Queries(names, sentence, embeddings)

    def detect(self, pictures: Sequence[Picture], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per picture: all boxes whose best label scores over the threshold.

        Every place the model looks at gives at most one box, with the label that scores best there. Boxes are
        clipped to the picture; those with nothing left are dropped.

        Raises:
            BadOutput: the model gave a score or a box that is not finite; the message names the picture's index.
        """
        found: list[Boxes] = []
        for start in range(0, len(pictures), self.batch):
            block = pictures[start : start + self.batch]
            logits, boxes = self._forward(block, queries)
            for row, picture in enumerate(block):
                if not (torch.isfinite(logits[row]).all() and torch.isfinite(boxes[row]).all()):
                    raise BadOutput(f"the detector's answer for picture {start + row} is not finite")
                found.append(_boxes(logits[row], boxes[row], picture, threshold))
        return found

    @property
    def _context(self) -> int:
        return int(self.model.config.text_config.max_position_embeddings)

    def _check_context(self, labels: tuple[str, ...], texts: list[str]) -> None:
        """Warn of each label whose sentence does not fit into the text tower."""
        tokenizer, limit = self.processor.tokenizer, self._context
        lengths = [len(tokens) for tokens in tokenizer(texts, verbose=False).input_ids]
        fitting = tokenizer(texts, truncation=True, max_length=limit).input_ids
        kept = [str(tokenizer.decode(tokens, skip_special_tokens=True)).strip() for tokens in fitting]
        check_context(labels, lengths, limit, kept, "the detector")

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> Tensor:
        """Return (len(texts), D) float32 unit rows."""
        tokens = self.processor.tokenizer(
            texts, padding="max_length", truncation=True, max_length=self._context, return_tensors="pt"
        ).to(self.model.device)
        core = self.model.owlv2
        pooled = core.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return unit(core.text_projection(pooled))

    @torch.inference_mode()
    def _forward(self, pictures: Sequence[Picture], queries: Queries) -> tuple[Tensor, Tensor]:
        """Return (P, places, C) logits and (P, places, 4) boxes: centre and size, as shares of the padded square."""
        pixels = torch.cat([self._pixels(picture) for picture in pictures]).to(self.model.device)
        with low_precision(self.model.device, dtype_of(self.record.dtype)):
            grid = self.model.image_embedder(pixel_values=pixels)[0]
        grid = grid.float()
        places = grid.flatten(1, 2)
        words = queries.embeddings.to(grid).expand(len(pictures), -1, -1)
        return self.model.class_predictor(places, words)[0], self.model.box_predictor(places, grid)

    def _pixels(self, picture: Picture) -> Tensor:
        quick = owlv2_pixels(picture, self.processor.image_processor)
        if quick is not None:
            return quick
        given = self.processor.image_processor(images=Image.fromarray(picture), return_tensors="pt")
        pixels: Tensor = given.pixel_values
        return pixels


def _boxes(logits: Tensor, shares: Tensor, picture: Picture, threshold: float) -> Boxes:
    """Turn (places, C) logits and (places, 4) shares of the padded square into boxes of the picture, best first."""
    height, width = picture.shape[:2]
    best, index = logits.max(-1)
    scores = best.sigmoid()
    centre, half = shares[:, :2], shares[:, 2:] / 2
    corners = torch.cat([centre - half, centre + half], 1) * max(height, width)
    xyxy = torch.minimum(corners.clamp(min=0), corners.new_tensor([width, height, width, height]))
    keep = (scores > threshold) & (xyxy[:, 2:] > xyxy[:, :2]).all(1)
    order = scores[keep].argsort(descending=True, stable=True)
    return Boxes(
        np.asarray(xyxy[keep][order].cpu().numpy(), np.float32),
        np.asarray(scores[keep][order].cpu().numpy(), np.float32),
        np.asarray(index[keep][order].cpu().numpy(), np.int64),
    )


def _check_tokenizer(spec: str, tokens: int, expected: int) -> None:
    """Refuse the empty tokenizer that transformers makes where the files of the real one are absent."""
    if not expected // 2 < tokens <= expected:
        raise BadWeights(f"{spec}: the tokenizer knows {tokens} tokens where the model expects {expected}")
