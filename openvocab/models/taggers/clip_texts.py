"""open_clip's text towers over no more tokens than a batch needs.

A tower with a causal mask that is pooled at the end token sees nothing behind that token, so the padding, 77 tokens
against about 11 of an ordinary label, can be cut off without a change. Other towers attend to the padding, or pool at
the last place, and are left to the library.
"""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from open_clip.transformer import TextTransformer
from torch import Tensor

__all__ = ["encode_texts"]


def encode_texts(model: Any, tokens: Tensor) -> Tensor:
    """Return what model.encode_text(tokens) returns, (T, D) rows, from (T, context) int64 tokens.

    Args:
        model: an open_clip model of any kind.
        tokens: as its tokenizer gives them, padded to the model's context.
    """
    tower = model if isinstance(model, open_clip.CLIP) else getattr(model, "text", None)
    ends = _ends(model, tower, tokens)
    if tower is None or ends is None:
        rows: Tensor = model.encode_text(tokens)
        return rows
    reach = int(ends.max()) + 1
    words = tower.token_embedding(tokens[:, :reach]) + tower.positional_embedding[:reach]
    hidden = tower.transformer(words, attn_mask=tower.attn_mask[:reach, :reach])
    return _projected(tower, tower.ln_final(hidden[torch.arange(len(tokens), device=tokens.device), ends]))


def _ends(model: Any, tower: Any, tokens: Tensor) -> Tensor | None:
    """Return (T,) places at which the tower is pooled, or None where something behind them matters."""
    if isinstance(model, open_clip.CLIP):
        pool, end = model.text_pool_type, model.text_eos_id
    elif isinstance(tower, TextTransformer) and tower.cls_emb is None and not tower.use_pad_mask:
        pool, end = tower.pool_type, tower.eos_id
    else:
        return None
    if tower.attn_mask is None or pool not in ("argmax", "eos"):
        return None
    return tokens.argmax(1) if pool == "argmax" else (tokens == end).int().argmax(1)


def _projected(tower: Any, pooled: Tensor) -> Tensor:
    projection = tower.text_projection
    if projection is None:
        return pooled
    rows: Tensor = projection(pooled) if isinstance(projection, torch.nn.Module) else pooled @ projection
    return rows
