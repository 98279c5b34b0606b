"""Labels and templates as people type them into the page.

The library also takes the path of a file where it takes labels; a page must not, since the file would be the server's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import openvocab
from openvocab import PromptSet
from openvocab.errors import BadInput
from openvocab.prompts.labels import json_list

__all__ = ["labels_of", "said", "template_of"]


def labels_of(words: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the labels that were typed, with commas or line ends between them or as a JSON list, or those of a set.

    Raises:
        BadInput: there is none, or one of them cannot be a label; the message says which and why.
    """
    if words is None or isinstance(words, str):
        text = (words or "").strip()
        if text in openvocab.label_sets():
            return openvocab.read_labels(text)
        words = json_list(text) or [word for word in re.split(r"[,\n\r]", text) if word.strip()]
        if not words:
            raise BadInput("there are no labels; type what to look for, for example: apple, guitar, dog")
    return openvocab.read_labels(list(words))


def template_of(sentence: str | None) -> PromptSet | None:
    """Return the template that was typed, several with one on a line, or None where the field was left empty.

    Raises:
        BadInput: a template has no {label}, or two, or another brace.
    """
    lines = [line.strip() for line in (sentence or "").splitlines() if line.strip()]
    return openvocab.prompt_set(lines) if lines else None


def said(words: str | None) -> tuple[str, bool]:
    """Return one line about what was typed: how many labels, or what is wrong; and whether it can be used."""
    if not (words or "").strip():
        return "Separate words with commas or lines.", True
    try:
        count = len(labels_of(words))
    except openvocab.OpenVocabError as error:
        return str(error), False
    return f"{count} label{'' if count == 1 else 's'}", True
