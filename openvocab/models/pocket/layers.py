"""Layers of the embedded models: a convolutional stem, transformer blocks, and the towers of detector and tagger.

The stem of stride-2 convolutions stands where other vision transformers cut the image into patches (Xiao et al. 2021,
"Early convolutions help transformers see better").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from openvocab.models.blockwise_attention import attend

__all__ = [
    *("HEADS", "LAYERS", "PATCH", "TEXT_WIDTH", "WIDTH"),
    *("Block", "ConvStem", "GatedPool", "ImageTower", "TextTower"),
]

PATCH, WIDTH, LAYERS, HEADS = 16, 192, 6, 3
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS = 128, 2, 4


class _Residual(nn.Module):
    """Two 3 x 3 convolutions added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(features)))
        return torch.relu(features + self.second_norm(self.second(inner)))


class ConvStem(nn.Sequential):
    """(B, 3, H, W) to (B, widths[-1], H / 2^n, W / 2^n) by n stride-2 convolutions.

    Args:
        widths: channels after each of the n convolutions.
        residuals: how many residual blocks follow each of them.
    """

    def __init__(self, widths: Sequence[int], residuals: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        previous = 3
        for width, count in zip(widths, residuals, strict=True):
            layers += [nn.Conv2d(previous, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            layers += [_Residual(width) for _ in range(count)]
            previous = width
        super().__init__(*layers, nn.Conv2d(previous, previous, 1))

    @property
    def weight(self) -> Tensor:
        """The first convolution's weight: its dtype is that of the stem's input."""
        weight: Tensor = self[0].weight  # type: ignore[assignment]
        return weight


class Block(nn.Module):
    """A transformer block over (B, N, width) tokens, normalized first.

    The sums keep the dtype of the tokens where the products have a lower one.

    Args:
        width: Channels of a token.
        heads: Of the attention.
        hidden: Channels between the two products of the perceptron.
        eps: Of the normalizations.
    """

    def __init__(self, width: int, heads: int, hidden: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, causal: bool = False) -> Tensor:
        dtype = self.qkv.weight.dtype
        tokens = tokens + self._attend(self.norm1(tokens).to(dtype), causal)
        hidden: Tensor = self.fc2(functional.gelu(self.fc1(self.norm2(tokens).to(dtype))))
        return tokens + hidden

    def _attend(self, tokens: Tensor, causal: bool) -> Tensor:
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if causal:
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            mixed = attend(query, key, value)
        return torch.as_tensor(self.proj(mixed.transpose(1, 2).flatten(2)))


class ImageTower(nn.Module):
    """(B, 3, side, side) normalized pixels to (B, 1 + P, WIDTH) normalized tokens, the class token first.

    Args:
        side: Pixels; a multiple of PATCH.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.stem = ConvStem((24, 48, 96, WIDTH), (0, 0, 1, 1))
        self.first = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, 1 + (side // PATCH) ** 2, WIDTH))
        self.norm_pre, self.norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS, 4 * WIDTH) for _ in range(LAYERS))

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.stem(pixels.to(self.stem.weight.dtype)).flatten(2).transpose(1, 2)
        first = self.first.expand(pixels.shape[0], -1, -1)
        tokens = self.norm_pre(torch.cat([first, patches], 1) + self.positions)
        for block in self.blocks:
            tokens = block(tokens)
        return torch.as_tensor(self.norm(tokens))


class TextTower(nn.Module):
    """(T, L) token ids to (T, TEXT_WIDTH) embeddings, pooled at the end token, which has the highest id.

    Args:
        tokens: How many the tokenizer knows.
        context: L at most.
    """

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__()
        self.words = nn.Embedding(tokens, TEXT_WIDTH)
        self.positions = nn.Parameter(torch.zeros(context, TEXT_WIDTH))
        self.blocks = nn.ModuleList(Block(TEXT_WIDTH, TEXT_HEADS, 4 * TEXT_WIDTH) for _ in range(TEXT_LAYERS))
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        self.projection = nn.Parameter(torch.zeros(TEXT_WIDTH, TEXT_WIDTH))

    def forward(self, ids: Tensor) -> Tensor:
        tokens = self.words(ids) + self.positions[: ids.shape[1]]
        for block in self.blocks:
            tokens = block(tokens, causal=True)
        ends = tokens[torch.arange(ids.shape[0], device=ids.device), ids.argmax(1)]
        return torch.as_tensor(self.norm(ends) @ self.projection)


class GatedPool(nn.Module):
    """(B, 1 + P, D) tokens, the class token first, to (B, D): the patches, weighed by how much of an object each shows.

    Patches are merged with the class token as OWLv2 merges them (their product, normalized); a gate of the shape of
    OWLv2's objectness head gives each a logit, and their softmax over the patches weighs them (Ilse et al. 2018,
    "Attention-based deep multiple instance learning"). A patch that tells an object to the detector so tells it to the
    tagger too; attention pooling had to learn that anew, and learned it slowly.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Sequential(
            *(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        )

    def forward(self, tokens: Tensor) -> Tensor:
        merged = self.norm(tokens[:, 1:] * tokens[:, :1])
        weights = self.gate(merged).float().softmax(1).to(merged)
        pooled: Tensor = (weights * merged).sum(1)
        return pooled
