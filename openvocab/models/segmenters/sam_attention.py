"""SAM's image attention without an attention mask: any fused kernel runs it, and the answer is the same.

SAM's image encoder adds to each attention score a term for the distance in rows and one for the distance in columns,
each a product of the query with a learnt vector (decomposed relative position, Li et al. 2022, "MViTv2"). A score is

    scale * q.k + row_terms(q)[row of k] + column_terms(q)[column of k]

which is one inner product of a longer query, (scale * q, row_terms(q), column_terms(q)), with a longer key, (k, its row
as a one-hot vector, its column as a one-hot vector). So nothing of the size of all pairs of places is ever stored.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from openvocab.models.checked import Example, replace_checked

__all__ = ["MaskFreeAttention", "contiguous_patches", "contiguous_positions", "mask_free"]

_PART = "the image attention of SAM"
_LENGTHS = 32
"""Fused kernels on a processor with AMX take heads whose length is a multiple of this without a slower tail."""


class MaskFreeAttention(nn.Module):
    """Replaces an attention with decomposed relative position; parameter names are the same.

    Args:
        attention: the module to replace, with qkv, proj, rel_pos_h and rel_pos_w, and scale.
        heads: how many heads it has.
        pair: whether it returns (features, None), as transformers' modules do, or the features alone.
    """

    def __init__(self, attention: Any, heads: int, pair: bool) -> None:
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.rel_pos_h, self.rel_pos_w = attention.rel_pos_h, attention.rel_pos_w
        self.heads, self.scale, self.pair = heads, float(attention.scale), pair

    def forward(self, hidden_states: Tensor, output_attentions: bool = False) -> Any:
        """Return features of the shape of hidden_states, (B, height, width, channels)."""
        batch, height, width, channels = hidden_states.shape
        split = self.qkv(hidden_states).reshape(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        mixed = self._attend(query, key, value, height, width)
        features = self.proj(mixed.transpose(1, 2).reshape(batch, height, width, channels))
        return (features, None) if self.pair else features

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, height: int, width: int) -> Tensor:
        """Return (B, heads, N, length) of three tensors of that shape."""
        length = query.shape[-1]
        rows, columns = slice(length, length + height), slice(length + height, length + height + width)
        longer = -(-columns.stop // _LENGTHS) * _LENGTHS
        long_query, long_key, long_value = (each.new_zeros(*each.shape[:-1], longer) for each in (query, key, value))
        places = query.reshape(*query.shape[:2], height, width, length)
        long_query[..., :length] = query * self.scale
        terms = torch.einsum("bnhwc,hkc->bnhwk", places, _by_distance(self.rel_pos_h, height))
        long_query[..., rows] = terms.flatten(2, 3)
        terms = torch.einsum("bnhwc,wkc->bnhwk", places, _by_distance(self.rel_pos_w, width))
        long_query[..., columns] = terms.flatten(2, 3)
        long_key[..., :length] = key
        long_key[..., rows] = _one_hot(height, key).repeat_interleave(width, 0)
        long_key[..., columns] = _one_hot(width, key).repeat(height, 1)
        long_value[..., :length] = value
        mixed = nn.functional.scaled_dot_product_attention(long_query, long_key, long_value, scale=1.0)
        return mixed[..., :length]


def _one_hot(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _by_distance(table: Tensor, size: int) -> Tensor:
    """Return (size, size, length): for place i and place j of an axis, the row of table for i - j."""
    place = torch.arange(size, device=table.device)
    return table[place[:, None] - place[None, :] + size - 1]


def mask_free(layers: Any, name: str = "attn", pair: bool = False) -> None:
    """Replace each attention with relative positions, in place, if the answers agree.

    Args:
        layers: the blocks of one loaded image encoder.
        name: the attribute of a block that holds its attention.
        pair: see MaskFreeAttention.
    """
    found = [layer for layer in layers if getattr(getattr(layer, name), "rel_pos_h", None) is not None]
    for layer in sorted(found, key=lambda each: len(getattr(each, name).rel_pos_h)):  # the smallest window is compared
        replace_checked(
            layer, name, lambda old: _substitute(old, pair), _window, _PART, itemgetter(0) if pair else _whole
        )


def _whole(made: Any) -> Any:
    return made


def _substitute(old: Any, pair: bool) -> MaskFreeAttention:
    return MaskFreeAttention(old, old.num_heads if hasattr(old, "num_heads") else old.num_attention_heads, pair)


def _window(old: Any) -> Example:
    """Return the arguments for one window of features, of the size that the relative positions have."""
    table = old.rel_pos_h
    height, width = ((len(each) + 1) // 2 for each in (table, old.rel_pos_w))
    places = torch.randn(1, height, width, old.qkv.in_features)
    return (places.to(table.device, table.dtype),), {}


def contiguous_patches(patch_embed: nn.Module) -> None:
    """Make a patch embedding's answer contiguous, in place: a permuted layout would slow every block after it."""
    patch_embed.register_forward_hook(lambda _, arguments, places: places.contiguous())


def contiguous_positions(decoder_transformer: nn.Module) -> None:
    """Give a mask decoder's two-way transformer its maps with the channels of one place side by side, in place.

    It flattens (B, channels, h, w) maps into (B, h * w, channels) views; of such maps those views are contiguous, so
    that no sum in it walks through memory in strides.
    """
    decoder_transformer.register_forward_pre_hook(_channels_last)


def _channels_last(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Change the layout of image and position maps; the position maps of all prompts are one."""
    maps, positions, *rest = arguments
    return (
        maps.contiguous(memory_format=torch.channels_last),
        positions[:1].contiguous(memory_format=torch.channels_last),
        *rest,
    )
