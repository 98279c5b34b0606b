"""Find the labels that a sentence mentions: whole words, in any case, singular or plural, the longest label first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["mentions", "word_forms"]

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_ODD = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "mice": "mouse",
    "oxen": "ox",
    "people": "person",
    "teeth": "tooth",
}
_ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man"), ("es", ""), ("s", ""))
_SHORTEST = 3


def mentions(text: str, labels: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the labels that a text mentions, in ascending order.

    A word of the text that belongs to a longer label does not count for a shorter one: "a hot dog" mentions "hot dog"
    and not "dog". Labels of which one is the other's plural are mentioned together.

    Args:
        text: an English sentence.
        labels: C labels; one without a letter or digit is never mentioned.
    """
    words = [word_forms(word) for word in _words(text)]
    wanted = [[word_forms(word) for word in _words(label)] for label in labels]
    found: set[int] = set()
    taken = [False] * len(words)
    for length in sorted({len(each) for each in wanted} - {0}, reverse=True):
        same_length = [row for row, label in enumerate(wanted) if len(label) == length]
        for start in range(len(words) - length + 1):
            span = words[start : start + length]
            hits = [row for row in same_length if _same(span, wanted[row])]
            if hits and not any(taken[start : start + length]):
                found.update(hits)
                taken[start : start + length] = [True] * length
    return tuple(sorted(found))


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def word_forms(word: str) -> frozenset[str]:
    """Return a word and what it may be the plural of."""
    word = re.sub(r"['’]s$", "", word)
    singular = {word[: -len(end)] + other for end, other in _ENDINGS if word.endswith(end) and not word.endswith("ss")}
    forms = {form for form in singular if len(form) >= _SHORTEST}
    return frozenset({word, _ODD.get(word, word), *forms})


def _same(span: Sequence[frozenset[str]], label: Sequence[frozenset[str]]) -> bool:
    return all(one & other for one, other in zip(span, label, strict=True))
