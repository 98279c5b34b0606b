"""What models are asked for, beside the labels of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from openvocab.prompts.prompt import Prompt
from openvocab.prompts.sets import LabelSet

__all__ = ["QuerySet", "names_of", "query_set"]

QuerySet = LabelSet | Prompt


def names_of(vocabulary: Sequence[str] | QuerySet | None) -> Sequence[str] | None:
    """Return the labels of a vocabulary."""
    if isinstance(vocabulary, LabelSet):
        return vocabulary.labels
    return vocabulary.classes if isinstance(vocabulary, Prompt) else vocabulary


def query_set(vocabulary: Sequence[str] | QuerySet | None) -> QuerySet | None:
    """Return a vocabulary that says more than its labels do, or None."""
    if isinstance(vocabulary, LabelSet):
        return None if vocabulary.is_plain else vocabulary
    return vocabulary if isinstance(vocabulary, Prompt) else None
