"""SAM's image attention without an attention mask: any fused kernel runs it, and the answer is the same.

SAM's image encoder adds to each attention score a term for the distance in rows and one for the distance in columns,
each a product of the query with a learnt vector (decomposed relative position, Li et al. 2022, "MViTv2"). A score is

    scale * q.k + row_terms(q)[row of k] + column_terms(q)[column of k]

which is one inner product of a longer query, (scale * q, row_terms(q), column_terms(q)), with a longer key, (k, its row
as a one-hot vector, its column as a one-hot vector). So nothing of the size of all pairs of places is ever stored.

Longer queries, keys and values are more work, which only matrix units make good: with AMX this way takes half the time
of any other, without AMX more. There, the blocks that see the whole image are computed row by row of the grid in
bfloat16, with the terms added in place. The processor decides, not a timing, so that a machine always answers alike.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from openvocab.models.checked import Example, replace_checked, same_answers
from openvocab.models.device import cpu_has_amx

__all__ = ["MaskFreeAttention", "contiguous_patches", "contiguous_positions", "mask_free", "rows_are_faster"]

_PART = "the image attention of SAM"
_MANY_PLACES = 1024
"""Fewer places, as in a window, are no faster row by row."""
_LENGTHS = 32
"""Fused kernels on a processor with AMX take heads whose length is a multiple of this without a slower tail."""


class MaskFreeAttention(nn.Module):
    """Replaces an attention with decomposed relative position; parameter names are the same.

    Args:
        attention: the module to replace, with qkv, proj, rel_pos_h and rel_pos_w, and scale.
        heads: how many heads it has.
        pair: whether it returns (features, None), as transformers' modules do, or the features alone.
        by_rows: whether it is computed row by row of the grid.
    """

    def __init__(self, attention: Any, heads: int, pair: bool, by_rows: bool = False) -> None:
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.rel_pos_h, self.rel_pos_w = attention.rel_pos_h, attention.rel_pos_w
        self.heads, self.scale, self.pair, self.by_rows = heads, float(attention.scale), pair, by_rows

    def forward(self, hidden_states: Tensor, output_attentions: bool = False) -> Any:
        """Return features of the shape of hidden_states, (B, height, width, channels)."""
        batch, height, width, channels = hidden_states.shape
        split = self.qkv(hidden_states).reshape(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        attend = self._attend_by_rows if self.by_rows else self._attend
        mixed = attend(query, key, value, height, width)
        features = self.proj(mixed.transpose(1, 2).reshape(batch, height, width, channels))
        return (features, None) if self.pair else features

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, height: int, width: int) -> Tensor:
        """Return (B, heads, N, length) of three tensors of that shape."""
        length = query.shape[-1]
        rows, columns = slice(length, length + height), slice(length + height, length + height + width)
        longer = -(-columns.stop // _LENGTHS) * _LENGTHS
        long_query, long_key, long_value = (each.new_zeros(*each.shape[:-1], longer) for each in (query, key, value))
        row_terms, column_terms = self._terms(query, height, width)
        long_query[..., :length] = query * self.scale
        long_query[..., rows], long_query[..., columns] = row_terms.flatten(2, 3), column_terms.flatten(2, 3)
        long_key[..., :length] = key
        long_key[..., rows] = _one_hot(height, key).repeat_interleave(width, 0)
        long_key[..., columns] = _one_hot(width, key).repeat(height, 1)
        long_value[..., :length] = value
        mixed = nn.functional.scaled_dot_product_attention(long_query, long_key, long_value, scale=1.0)
        return mixed[..., :length]

    def _attend_by_rows(self, query: Tensor, key: Tensor, value: Tensor, height: int, width: int) -> Tensor:
        """Return what _attend returns; the scores of one head and one row of the grid are in memory at a time."""
        mixed = torch.empty_like(query)
        row_terms, column_terms = self._terms(query, height, width)
        keys = (key * self.scale).transpose(2, 3).contiguous()
        for image, head, row in product(range(len(query)), range(self.heads), range(height)):
            places = slice(row * width, (row + 1) * width)
            scores = (query[image, head, places] @ keys[image, head]).view(width, height, width)
            scores += row_terms[image, head, row, :, :, None]
            scores += column_terms[image, head, row, :, None, :]
            mixed[image, head, places] = scores.view(width, -1).softmax(-1) @ value[image, head]
        return mixed

    def _terms(self, query: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return (B, heads, height, width, height) terms of rows and (B, heads, height, width, width) of columns."""
        places = query.reshape(*query.shape[:2], height, width, -1)
        rows = torch.einsum("bnhwc,hkc->bnhwk", places, _by_distance(self.rel_pos_h, height))
        columns = torch.einsum("bnhwc,wkc->bnhwk", places, _by_distance(self.rel_pos_w, width))
        return rows, columns


def _one_hot(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _by_distance(table: Tensor, size: int) -> Tensor:
    """Return (size, size, length): for place i and place j of an axis, the row of table for i - j."""
    place = torch.arange(size, device=table.device)
    return table[place[:, None] - place[None, :] + size - 1]


def mask_free(layers: Any, name: str = "attn", pair: bool = False, precision: torch.dtype = torch.float32) -> None:
    """Replace each attention with relative positions, in place, if the answers agree.

    Args:
        layers: the blocks of one loaded image encoder.
        name: the attribute of a block that holds its attention.
        pair: see MaskFreeAttention.
        precision: what the blocks will be lowered to.
    """
    found = [layer for layer in layers if getattr(getattr(layer, name), "rel_pos_h", None) is not None]
    found.sort(key=lambda layer: len(getattr(layer, name).rel_pos_h))  # the smallest window is compared
    small = getattr(found[0], name) if found else None
    by_rows = small is not None and rows_are_faster(small.rel_pos_h.device, precision) and _rows_agree(small, pair)
    for layer in found:
        table = getattr(layer, name).rel_pos_h
        many = by_rows and ((len(table) + 1) // 2) ** 2 >= _MANY_PLACES
        build = partial(_substitute, pair=pair, by_rows=many)
        replace_checked(layer, name, build, _window, _PART, itemgetter(0) if pair else _whole)


def rows_are_faster(device: torch.device, precision: torch.dtype) -> bool:
    """Whether the blocks that see the whole image are computed row by row: in bfloat16 on a processor without AMX."""
    return device.type == "cpu" and precision == torch.bfloat16 and not cpu_has_amx()


def _rows_agree(old: Any, pair: bool) -> bool:
    """Compare the way by rows with the library on one window; once a process."""

    def both() -> tuple[Any, Any]:
        given, _ = _window(old)
        answers = old.eval()(*given), _substitute(old, pair, True).eval()(*given)
        return (answers[0][0], answers[1][0]) if pair else answers

    return same_answers(f"{_PART} by rows", type(old), both)


def _whole(made: Any) -> Any:
    return made


def _substitute(old: Any, pair: bool, by_rows: bool) -> MaskFreeAttention:
    heads = old.num_heads if hasattr(old, "num_heads") else old.num_attention_heads
    return MaskFreeAttention(old, heads, pair, by_rows)


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
