"""Texts for exported text towers, which read their whole context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from openvocab.models.graphs.runtimes import Graph
from openvocab.models.pocket.files import CONTEXT
from openvocab.models.pocket.tokenizer import PocketTokenizer

__all__ = ["embedded_texts", "padded", "pocket_tokens"]

_TOGETHER = 32
"""Texts that go through a tower together."""


def padded(tokenizer: Any, texts: list[str], context: int) -> dict[str, Tensor]:
    """Return (T, context) int64 tokens of texts, and their mask if a tokenizer of transformers makes one."""
    made = tokenizer(texts, padding="max_length", truncation=True, max_length=context, return_tensors="pt")
    names = {"input_ids": "tokens", "attention_mask": "mask"}
    return {name: made[given] for given, name in names.items() if given in made}


def embedded_texts(graph: Graph, words: Mapping[str, Tensor]) -> Tensor:
    """Return the (T, D) rows of a text tower for its (T, context) inputs by name."""
    count = len(next(iter(words.values())))
    parts = [{name: value[at : at + _TOGETHER] for name, value in words.items()} for at in range(0, count, _TOGETHER)]
    return torch.cat([graph(**part)["features"] for part in parts])


def pocket_tokens(tokenizer: PocketTokenizer, texts: list[str]) -> dict[str, Tensor]:
    """Return (T, CONTEXT) int64 tokens of texts for a text tower of the embedded models."""
    tokens = tokenizer(texts)
    return {"tokens": torch.nn.functional.pad(tokens, (0, CONTEXT - tokens.shape[1]))}
