"""The embedded tagger: an image tower with a gated pool, and a text tower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from openvocab.models.device import dtype_of
from openvocab.models.pocket.files import CONTEXT, DEVIATION, MEAN, SIDE, fill, read, record_of, verified
from openvocab.models.pocket.layers import TEXT_WIDTH, WIDTH, GatedPool, ImageTower, TextTower
from openvocab.models.pocket.tokenizer import PocketTokenizer
from openvocab.models.taggers.clip_pixels import clip_pixels
from openvocab.models.taggers.dual_encoder import DualEncoder, logit_terms
from openvocab.pipeline.protocols import ImageArray

__all__ = ["PocketTagger", "PocketTwoTowers", "prepared"]

_NAMES = (
    (r"^visual\.trunk\.(attn_pool|head)\.", r"\1."),
    (r"^attn_pool\.", "pool."),
    (r"^visual\.trunk\.", "images."),
    (r"^images\.patch_embed\.backbone\.", "images.stem."),
    (r"^images\.cls_token$", "images.first"),
    (r"^images\.pos_embed$", "images.positions"),
    (r"^text\.", "texts."),
    (r"^texts\.token_embedding\.", "texts.words."),
    (r"^texts\.positional_embedding$", "texts.positions"),
    (r"^texts\.ln_final\.", "texts.norm."),
    (r"^texts\.text_projection$", "texts.projection"),
    (r"\.transformer\.resblocks\.", ".blocks."),
    (r"\.attn\.in_proj_", ".qkv."),
    (r"\.attn\.out_proj\.", ".proj."),
    (r"\.attn\.", "."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.mlp\.c_fc\.", ".fc1."),
    (r"\.mlp\.c_proj\.", ".fc2."),
    (r"\.mlp\.", "."),
)
"""open_clip's names, and timm's in them, to those of PocketTwoTowers."""

_PIXELS = {
    "size": SIDE,
    "mode": "RGB",
    "mean": MEAN,
    "std": DEVIATION,
    "interpolation": "bicubic",
    "resize_mode": "squash",
    "fill_color": 0,
}
"""How images are prepared, in open_clip's words."""


class PocketTwoTowers(nn.Module):
    """The embedded tagger's towers; the factor on a cosine is exp(logit_scale), and logit_bias is added.

    Args:
        tokens: How many the tokenizer knows.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.images, self.texts = ImageTower(SIDE), TextTower(tokens, CONTEXT)
        self.pool, self.head = GatedPool(), nn.Linear(WIDTH, TEXT_WIDTH)
        self.logit_scale, self.logit_bias = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return (B, TEXT_WIDTH) embeddings of (B, 3, SIDE, SIDE) normalized pixels."""
        return torch.as_tensor(self.head(self.pool(self.images(pixels))))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class PocketTagger(DualEncoder):
    """Scores labels for whole images with the embedded tagger.

    Attributes:
        model: In evaluation mode, on its device, in its precision.
        tokenizer: Of its sentences.
    """

    model: Any
    tokenizer: PocketTokenizer

    @classmethod
    def load(cls, device: str | None = None, dtype: str | None = None) -> PocketTagger:
        """Load the embedded tagger; device and dtype are the best there are where None.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: its file is absent, not the pinned one, of another architecture, or was replaced meanwhile.
        """
        with verified("pocket-tagger") as pinned:
            record = record_of(pinned, device, dtype)
            tokenizer = PocketTokenizer(pinned.path.with_name("tokenizer.json"), CONTEXT, mend=True)
            model = fill(PocketTwoTowers(len(tokenizer)), read(pinned, _NAMES), pinned)
        scale, bias = logit_terms(model)
        model = model.to(record.device, dtype_of(record.dtype))
        return cls(model=model, tokenizer=tokenizer, record=record, scale=scale, bias=bias)

    @property
    def context(self) -> int:
        """The maximum number of tokens of the text tower, special ones included."""
        return CONTEXT

    @property
    def input_side(self) -> int:
        """Pixels of a side of the model's input."""
        return SIDE

    @property
    def preparation(self) -> str:
        """The architecture and how images are prepared."""
        return f"{self.model!r} {_PIXELS}"

    def _measure(self, text: str) -> tuple[int, str]:
        return self.tokenizer.measure(text)

    def _embed_texts(self, texts: list[str]) -> Tensor:
        return torch.as_tensor(self.model.texts(self.tokenizer(texts).to(self.record.device)))

    def _prepare(self, image: ImageArray) -> Mapping[str, Tensor]:
        return {"image": prepared(image, dtype_of(self.record.dtype))}

    def _embed_images(self, pixels: Mapping[str, Tensor]) -> Tensor:
        return torch.as_tensor(self.model.encode_image(pixels["image"]))


def prepared(image: ImageArray, dtype: torch.dtype) -> Tensor:
    """Return the (1, 3, SIDE, SIDE) input of the image tower in a dtype; other than float32, resized as uint8."""
    quick = None if dtype == torch.float32 else clip_pixels(image, _PIXELS)
    return (_pixels(image) if quick is None else quick).to(dtype)[None]


def _pixels(image: ImageArray) -> Tensor:
    """Return (3, SIDE, SIDE) float32 normalized pixels of an (H, W, 3) uint8 image, as open_clip prepares them."""
    small = np.array(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (torch.from_numpy(small).permute(2, 0, 1).contiguous().float().div(255) - mean) / deviation
