"""Attention in bfloat16 on a CPU without AMX: plain products, of many tokens block by block, one head at a time.

torch's fused kernel there multiplies bfloat16 no faster than float32. Plain matrix products of a block of queries with
all keys do use the processor's bfloat16 units, and a block's scores stay in the cache. With AMX the fused kernel is the
faster one. The processor decides, not a timing, so that a machine always answers alike.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor

from openvocab.models.checked import same_answers
from openvocab.models.device import cpu_has_amx

__all__ = ["attend", "attend_by_blocks", "use_blocks"]

_NAME = "openvocab_blocks"
_BLOCK = 256
"""Queries that are multiplied with all keys at once."""
_FEW, _MANY = 128, 1024
"""Fewer tokens than these are no faster by plain products, and block by block."""


def use_blocks(part: Any, device: torch.device, precision: torch.dtype) -> None:
    """Let a part of a transformers model attend block by block, where that is faster and gives the same answer.

    Args:
        part: A loaded PreTrainedModel, whose submodules read the implementation from their config.
        device: Where it runs.
        precision: Of its products.
    """
    if device.type != "cpu" or precision != torch.bfloat16 or cpu_has_amx() or not _alike(type(part)):
        return
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _attention)
    part.set_attn_implementation(_NAME)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return (B, heads, N, length) of softmax(q.k / sqrt(length)) v, in the way that is fastest on this device.

    Args:
        query: (B, heads, N, length).
        key: (B, heads, M, length).
        value: (B, heads, M, length).
    """
    count, length = query.shape[2:]
    if count < _FEW or query.device.type != "cpu" or query.dtype != torch.bfloat16 or cpu_has_amx():
        return torch.nn.functional.scaled_dot_product_attention(query, key, value)
    if count >= _MANY:
        return attend_by_blocks(query, key, value, length**-0.5)
    keys = (key * length**-0.5).transpose(2, 3)
    return torch.stack([(query[at] @ keys[at]).softmax(-1) @ value[at] for at in range(len(query))])


def attend_by_blocks(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Return (B, heads, N, length) of softmax(scale * q.k) v.

    Args:
        query: (B, heads, N, length).
        key: (B, heads, M, length).
        value: (B, heads, M, length).
        scale: Of the products.
    """
    mixed, keys = torch.empty_like(query), (key * scale).transpose(2, 3).contiguous()
    for image, head in product(range(query.shape[0]), range(query.shape[1])):
        for start in range(0, query.shape[2], _BLOCK):
            rows = slice(start, start + _BLOCK)
            scores = query[image, head, rows] @ keys[image, head]
            mixed[image, head, rows] = scores.softmax(-1) @ value[image, head]
    return mixed


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **named: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend as transformers asks its implementations to: by blocks where that pays, else by its fused one."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    many = min(query.shape[2], key.shape[2]) >= _MANY and query.dtype == torch.bfloat16
    if many and attention_mask is None and not dropout and not named.get("is_causal"):
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return attend_by_blocks(query, key, value, scale).transpose(1, 2), None
    answer: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **named
    )
    return answer


def _alike(kind: type) -> bool:
    """Compare with torch's own attention; once a process and class."""

    def both() -> tuple[Tensor, Tensor]:
        query, key, value = torch.randn(3, 1, 2, _BLOCK + 8, 16)
        own = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.3)
        return own, attend_by_blocks(query, key, value, 0.3)

    return same_answers("attention by blocks", kind, both)
