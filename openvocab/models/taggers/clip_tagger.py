"""Tags for whole images, from any open_clip model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from openvocab.models.device import dtype_of, pick_device, pick_dtype
from openvocab.models.taggers.clip_checkpoints import build, find, load_tokenizer
from openvocab.models.taggers.clip_pixels import clip_pixels
from openvocab.models.taggers.clip_texts import encode_texts
from openvocab.models.taggers.clip_tower import PackedTower, packed_tower
from openvocab.models.taggers.dual_encoder import DualEncoder, logit_terms
from openvocab.pipeline.protocols import ImageArray
from openvocab.pipeline.quiet import quiet_loading
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.files import read_state
from openvocab.weights.trust import file_state, refuse_changed, trusted_sha256

__all__ = ["OpenClipTagger", "preprocessing"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class OpenClipTagger(DualEncoder):
    """Scores labels for whole images with an open_clip model: CLIP, SigLIP, CoCa or another.

    Attributes:
        model: In evaluation mode, on its device, in its precision.
        tokenizer: The model's own, as open_clip.get_tokenizer returns it.
        preprocess: A (height, width, 3) uint8 image to a (3, height, width) float tensor: the model's own way; with
            bfloat16 weights, uint8 resizing where clip_pixels has it, whose error is less than that rounding's.
        tower: The model's image tower with packed weights; None if the model's own runs.
    """

    model: Any
    tokenizer: Any
    preprocess: Callable[[ImageArray], Tensor]
    tower: PackedTower | None = None

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> OpenClipTagger:
        """Load a model.

        Args:
            spec: "ViT-B-32/laion2b_s34b_b79k" (architecture and weights; weights may be a file), "hf-hub:ORG/NAME",
                or "local-dir:PATH" of a folder with open_clip_config.json and its weights.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the weights; None for what is fast on the device.

        Raises:
            BadInput: the spec has another form, or there is no such device or precision.
            UnknownName: open_clip has no such architecture, or no such weights for it.
            BadWeights: the weights are absent, cannot be read, or belong to another architecture.
        """
        target = pick_device(device)
        precision = pick_dtype(target, dtype)
        with quiet_loading():
            found = find(spec)
        before = file_state(found.weights)
        if found.weights.suffix not in (".npz", ".npy"):
            read_state(found.weights)
        digest = trusted_sha256(found.source, found.weights)
        with quiet_loading():
            model, exact = build(found)
            tokenizer = load_tokenizer(found)
        refuse_changed([found.weights], [before])
        scale, bias = logit_terms(model)
        model = model.to(target, precision).eval()
        return cls(
            model=model,
            tokenizer=tokenizer,
            preprocess=preprocessing(model, exact, precision),
            tower=packed_tower(model),
            record=ModelRecord(f"open_clip:{spec}", digest, str(target), str(precision).removeprefix("torch.")),
            scale=scale,
            bias=bias,
        )

    @property
    def context(self) -> int:
        """The maximum number of tokens of the text tower, special ones included."""
        return int(self.tokenizer.context_length)

    @property
    def input_side(self) -> int:
        """Pixels of the shorter side of the model's input."""
        side = self.model.visual.image_size
        return int(min(side) if isinstance(side, tuple | list) else side)

    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared."""
        return f"{self.model!r} {getattr(self.model.visual, 'preprocess_cfg', None)}"

    def _measure(self, text: str) -> tuple[int, str]:
        return _measure(self.tokenizer, text, self.context)

    def _embed_texts(self, texts: list[str]) -> Tensor:
        return encode_texts(self.model, self.tokenizer(texts).to(self.record.device))

    def _prepare(self, image: ImageArray) -> Mapping[str, Tensor]:
        return {"image": self.preprocess(image).to(dtype_of(self.record.dtype))[None]}

    def _embed_images(self, pixels: Mapping[str, Tensor]) -> Tensor:
        rows: Tensor = (self.tower or self.model.encode_image)(pixels["image"])
        return rows


def preprocessing(
    model: Any, exact: Callable[[ImageArray], Tensor], precision: torch.dtype
) -> Callable[[ImageArray], Tensor]:
    """Return the preprocessing of a model of that precision: exact, or a quicker one where rounding hides its error."""
    return exact if precision == torch.float32 else partial(_quick, exact, model.visual.preprocess_cfg)


def _quick(exact: Callable[[ImageArray], Tensor], config: Mapping[str, Any], image: ImageArray) -> Tensor:
    pixels = clip_pixels(image, config)
    return exact(image) if pixels is None else pixels


def _measure(tokenizer: Any, text: str, limit: int) -> tuple[int, str]:
    """Return the number of tokens of a text, and the part of it that fits into limit tokens."""
    if hasattr(tokenizer, "encode"):
        tokens = tokenizer.encode(text)
        return len(tokens) + 2, str(tokenizer.decode(tokens[: limit - 2])).strip()
    inner = tokenizer.tokenizer
    clean = getattr(tokenizer, "clean_fn", str)(text)
    length = len(inner(clean, verbose=False).input_ids)
    fitting = inner(clean, truncation=True, max_length=limit).input_ids
    return length, str(inner.decode(fitting, skip_special_tokens=True)).strip()
