"""Checks of a text tower's tokenizer: whether it is complete, and whether each sentence fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openvocab.errors import BadWeights
from openvocab.pipeline.quiet import label_batches
from openvocab.prompts.labels import check_context

__all__ = ["ENCODING", "check_sentences", "check_tokenizer"]

ENCODING = "encoding labels for the detector"
"""What stands before a progress bar."""

_TEXTS_TOGETHER = 1024


def check_tokenizer(spec: str, tokens: int, expected: int) -> None:
    """Refuse the empty tokenizer that transformers builds if tokenizer files are absent.

    Args:
        spec: names the model in the message.
        tokens: how many the tokenizer knows; expected: how many the model has embeddings for.

    Raises:
        BadWeights: it knows half of them or fewer, or more than there are.
    """
    if not expected // 2 < tokens <= expected:
        raise BadWeights(f"{spec}: the tokenizer knows {tokens} tokens where the model expects {expected}")


def check_sentences(tokenizer: Any, labels: Sequence[str], texts: Sequence[str], limit: int) -> None:
    """Warn of each label whose sentence is longer than a detector's text tower reads.

    Args:
        tokenizer: one of transformers.
        labels: C labels; texts: the C sentences that they were put into.
        limit: tokens that the tower reads, special ones included.

    Raises:
        BadInput: two labels are the same once cut.
    """
    lengths: list[int] = []
    kept: list[str] = []
    for start in label_batches(len(texts), _TEXTS_TOGETHER, "tokenizing labels"):
        some = list(texts[start : start + _TEXTS_TOGETHER])
        lengths += [len(tokens) for tokens in tokenizer(some, verbose=False).input_ids]
        fitting = tokenizer(some, truncation=True, max_length=limit).input_ids
        kept += [str(tokenizer.decode(tokens, skip_special_tokens=True)).strip() for tokens in fitting]
    check_context(labels, lengths, limit, kept, "the detector")
