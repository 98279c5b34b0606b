"""Boxes for words, with OWLv2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from openvocab.errors import BadOutput, BadWeights
from openvocab.pipeline.device import dtype_of, low_precision, pick_device, pick_dtype, unit
from openvocab.pipeline.owlv2_pixels import owlv2_pixels
from openvocab.pipeline.record import ModelRecord
from openvocab.pipeline.stages import Boxes, Picture, Queries
from openvocab.prompts.labels import check_context, check_labels
from openvocab.prompts.templates import PromptSet
from openvocab.weights.files import first_line, read_state, sha256_of

__all__ = ["DEFAULT_TEMPLATE", "Owlv2Detector"]

DEFAULT_TEMPLATE = "a photo of a {label}"

_TEXTS_A_BATCH = 256
_WEIGHTS = "model.safetensors"


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
            spec: "google/owlv2-base-patch16-ensemble", or the path of a folder.
            device: "cuda", "mps", "cpu"; None takes the best there is.
            dtype: "float32" or "bfloat16", for the vision tower; None takes what is fast there.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is not an OWLv2 model.
        """
        target = pick_device(device)
        precision = str(pick_dtype(target, dtype)).removeprefix("torch.")
        folder = _folder(spec)
        weights = _weights(str(folder or spec), folder)
        read_state(weights)
        model, processor = _load(str(folder or spec), local=folder is not None)
        record = ModelRecord(f"owlv2:{spec}", sha256_of(weights), str(target), precision)
        return cls(model.to(target).eval(), processor, record)

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


def _folder(spec: str) -> Path | None:
    """Return the folder that the spec names, or None where it names a model on the hub."""
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or spec.startswith(".") or spec.count("/") > 1:
        raise BadWeights(f"{spec}: there is no such folder")
    return None


def _weights(spec: str, folder: Path | None) -> Path:
    """Return the file with the weights, fetched from the hub where there is no folder; the kind is checked first."""
    from transformers import Owlv2Config
    from transformers.utils.hub import cached_file

    local = folder is not None
    try:
        config, _ = Owlv2Config.get_config_dict(spec, local_files_only=local)
        path = folder / _WEIGHTS if folder else Path(str(cached_file(spec, _WEIGHTS)))
    except Exception as error:  # no such repository or file, offline, broken JSON: each raises its own
        raise BadWeights(f"{spec}: no OWLv2 model was found there: {first_line(error)}") from error
    if not config:
        raise BadWeights(f"{spec}: no OWLv2 model was found there: there is no config.json")
    if config.get("model_type") != "owlv2":
        raise BadWeights(f"{spec}: this is not an OWLv2 model but one of type {config.get('model_type')!r}")
    return path


def _load(spec: str, local: bool) -> tuple[Any, Any]:
    """Return model and processor; every parameter must come from the file."""
    from transformers import Owlv2ForObjectDetection, Owlv2Processor

    try:
        processor = Owlv2Processor.from_pretrained(spec, local_files_only=local, trust_remote_code=False)
        loaded: Any = Owlv2ForObjectDetection.from_pretrained(
            spec, local_files_only=local, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:  # other shapes, a damaged configuration, no tokenizer: each raises its own
        raise BadWeights(f"{spec}: this OWLv2 model cannot be loaded: {first_line(error)}") from error
    model, report = loaded
    if report["missing_keys"]:
        raise BadWeights(f"{spec}: the weights lack {len(report['missing_keys'])} parameters of the model")
    _check_tokenizer(spec, len(processor.tokenizer), int(model.config.text_config.vocab_size))
    return model, processor


def _check_tokenizer(spec: str, tokens: int, expected: int) -> None:
    """Refuse the empty tokenizer that transformers makes where the files of the real one are absent."""
    if not expected // 2 < tokens <= expected:
        raise BadWeights(f"{spec}: the tokenizer knows {tokens} tokens where the model expects {expected}")
