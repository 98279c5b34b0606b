"""A CLIP tokenizer that keeps only the merges the vocabulary needs, in their original order.

Words of the vocabulary and of the templates are split exactly as CLIP splits them; any other word falls to letters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
from transformers import CLIPTokenizer

from openvocab.models.pocket.files import CONTEXT
from openvocab.prompts import prompt_set

__all__ = ["TEMPLATES", "train_tokenizer", "unknown_words"]

_SETS = ("openai7", "openai80", "cifar18")

_OWN = (
    *("This is a photo of a {label}", "{label}", "a photo of a {label}", "a picture of a {label}"),
    *("an image of a {label}", "an image of the {label}", "this is a {label}", "there is a {label} in the picture"),
    *("there is a {label} in the scene", "a {label} in the image", "the {label}", "a {label}", "an {label}"),
    *("one {label}", "an icon of a {label}", "an emoji of a {label}", "a clipart of a {label}", "my {label}"),
    *("an illustration of a {label}", "a cartoon of a {label}", "a picture showing a {label}", "a big {label}"),
    *("a small {label}", "a sticker of a {label}", "{label} on a table", "a photo with a {label} in it"),
    *("find the {label}", "a {label} on the ground", "a red {label}", "a blue {label}", "a photo of an {label}"),
)

TEMPLATES = tuple(dict.fromkeys([*_OWN, *(text for name in _SETS for text in prompt_set(name).templates)]))
"""What training fills labels into: sentence 0 is the package's own, 1 the label alone."""


def _merges(clip: SimpleTokenizer, word: str) -> Iterable[tuple[int, str, str]]:
    """The byte-pair merges that build one word, each with its rank."""
    coded = "".join(clip.byte_encoder[byte] for byte in word.encode())
    parts = [*coded[:-1], coded[-1] + "</w>"]
    while len(parts) > 1:
        ranked = [(clip.bpe_ranks.get(pair, 10**9), at) for at, pair in enumerate(itertools.pairwise(parts))]
        rank, at = min(ranked)
        if rank == 10**9:
            return
        yield rank, parts[at], parts[at + 1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def train_tokenizer(labels: Iterable[str], folder: Path) -> CLIPTokenizer:
    """Write the tokenizer for those labels into folder and return it."""
    clip = SimpleTokenizer()
    texts = [*labels, *TEMPLATES]
    words = {word for text in [*texts, "an the of and in on with"] for word in clip.pat.findall(text.lower())}
    merges = [(a, b) for _, a, b in sorted({merge for word in words for merge in _merges(clip, word)})]
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges)]
    numbered = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        numbered[special] = len(numbered)
    make: Any = CLIPTokenizer
    tokenizer: CLIPTokenizer = make(vocab=numbered, merges=merges, pad_token="!", model_max_length=CONTEXT)
    tokenizer.save_pretrained(folder)
    return tokenizer


def unknown_words(labels: Iterable[str]) -> list[str]:
    """Words of CLIP's own vocabulary that no label holds: what a detector must not find."""
    own = {word.rstrip("s") for label in labels for word in label.replace("-", " ").split()}
    ends = "</w>"
    words = [token[: -len(ends)] for token in SimpleTokenizer().encoder if token.endswith(ends)]
    return [
        word for word in words if word.isalpha() and word.isascii() and len(word) > 3 and word.rstrip("s") not in own
    ]
