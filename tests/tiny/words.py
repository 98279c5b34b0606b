"""Tiny tokenizers of the kinds that published checkpoints bring; each knows single letters and a few whole words."""

from __future__ import annotations

from typing import Any

__all__ = ["WORDS", "byte_pairs", "clip_tokenizer", "gemma_tokenizer", "siglip2_tokenizer", "xlm_roberta_tokenizer"]

WORDS = ("photo", "of", "this", "is", "cat", "dog", "kite", "thing")


def byte_pairs(words: tuple[str, ...] = WORDS) -> tuple[dict[str, int], Any]:
    """Return CLIP's kind of vocabulary, with its end tokens last, and the merges that build words out of letters."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = sorted(bytes_to_unicode().values())
    tokens = ["!", *(letter for letter in letters if letter != "!"), *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = [*word[:-1], word[-1] + "</w>"]
        for end in range(1, len(pieces)):
            merges.append(("".join(pieces[:end]), pieces[end]))
            tokens.append("".join(pieces[: end + 1]))
    tokens = list(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))
    return {token: row for row, token in enumerate(tokens)}, list(dict.fromkeys(merges))


def clip_tokenizer(context: int) -> Any:
    """CLIP's: lower case, end token last in the vocabulary."""
    from transformers import CLIPTokenizer

    vocab, merges = byte_pairs()
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=context)


def _letters(*special: str, more: str = "") -> list[str]:
    return [*special, "\u2581", *(chr(code) for code in range(33, 127)), *more]


def gemma_tokenizer(context: int, more: str = "") -> Any:
    """The one of SigLIP 2 of a fixed resolution: case matters; more are letters beside those of ASCII."""
    from transformers import GemmaTokenizer

    letters = _letters("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", more=more)
    vocab = {token: row for row, token in enumerate(letters)}
    return GemmaTokenizer(vocab=vocab, merges=[], model_max_length=context, model_input_names=["input_ids"])


def siglip2_tokenizer(context: int, more: str = "") -> Any:
    """The one of SigLIP 2 NaFlex: Gemma's, lower case."""
    from transformers import Siglip2Tokenizer

    letters = _letters("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", more=more)
    vocab = {token: row for row, token in enumerate(letters)}
    return Siglip2Tokenizer(vocab=vocab, merges=[], model_max_length=context, model_input_names=["input_ids"])


def xlm_roberta_tokenizer(context: int, more: str = "") -> Any:
    """The kind of MetaCLIP 2: a unigram model whose end token is no. 2."""
    from transformers import XLMRobertaTokenizer

    pieces = _letters("<s>", "<pad>", "</s>", "<unk>", more=more) + [f"\u2581{word}" for word in WORDS] + ["<mask>"]
    vocab = [(piece, 0.0 if row < 4 else -float(row % 7 + 2)) for row, piece in enumerate(pieces)]
    return XLMRobertaTokenizer(vocab=vocab, model_max_length=context)


def bart_tokenizer(context: int, extra: tuple[str, ...], image: str) -> Any:
    """Florence-2's: BART's, which keeps the case and spaces, with tokens for its tasks' answers and for image features.

    Args:
        context: the longest text in tokens.
        extra: tokens that are no text.
        image: the token that stands for one image feature.
    """
    from transformers import BartTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = sorted(bytes_to_unicode().values())
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *letters]
    merges: list[tuple[str, str]] = []
    for word in ("Ġ" + word for word in WORDS):
        for end in range(1, len(word)):
            merges.append((word[:end], word[end]))
            tokens.append(word[: end + 1])
    every = list(dict.fromkeys([*tokens, "<mask>"]))
    vocab = {token: row for row, token in enumerate(every)}
    named = {"image_token": image}
    unique: Any = list(dict.fromkeys(merges))
    made = BartTokenizer(vocab=vocab, merges=unique, model_max_length=context, extra_special_tokens=named)
    made.add_tokens(list(extra), special_tokens=True)
    return made
