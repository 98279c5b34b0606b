"""The tokenizer of the embedded models, without transformers: CLIP's, with the merges that the vocabulary needs."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

__all__ = ["PocketTokenizer"]

_WORD_END = "</w>"
"""Marks the last token of a word."""


class PocketTokenizer:
    """Turns sentences into token ids.

    Args:
        path: A tokenizer.json.
        context: Tokens of a sentence at most, special ones included.
        mend: Whether wrongly decoded characters, HTML entities and white space are mended first, as open_clip does.
    """

    def __init__(self, path: Path, context: int, *, mend: bool) -> None:
        self._whole, self._cut, self._mend = Tokenizer.from_file(str(path)), Tokenizer.from_file(str(path)), mend
        self._cut.enable_truncation(context)
        self._cut.enable_padding(pad_id=0)

    def __len__(self) -> int:
        return int(self._whole.get_vocab_size())

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (T, L) int64 ids of T sentences, padded with zeros to the longest."""
        return torch.tensor([each.ids for each in self._cut.encode_batch([self._clean(text) for text in texts])])

    def measure(self, text: str) -> tuple[int, str]:
        """Return the number of tokens of a sentence, and the part of it that is kept."""
        clean = self._clean(text)
        kept = self._whole.decode(self._cut.encode(clean).ids, skip_special_tokens=True)
        return len(self._whole.encode(clean).ids), str(kept).replace(_WORD_END, " ").strip()

    def _clean(self, text: str) -> str:
        if not self._mend:
            return text
        if not text.isascii():
            import ftfy

            text = ftfy.fix_text(text)
        return re.sub(r"\s+", " ", html.unescape(html.unescape(text))).strip()
