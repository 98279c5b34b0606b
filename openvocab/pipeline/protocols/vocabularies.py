"""Labels as the stages encode them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.nbytes import nbytes_of
from openvocab.pipeline.protocols.arrays import Floats
from openvocab.prompts.exemplars import Exemplar
from openvocab.prompts.sets import LabelSet
from openvocab.prompts.templates import PromptSet

__all__ = ["Background", "Queries", "QueryRow", "TextEmbeddings", "Vocabulary"]


@dataclass(frozen=True, eq=False, slots=True)
class TextEmbeddings:
    """A vocabulary encoded for a tagger.

    Attributes:
        labels: The C labels, as the caller wrote them.
        prompts: The templates whose embeddings are averaged.
        embeddings: (C, D) float32, in the order of labels: rows of length 1; for a classifier with D classes, rows of 0
            and 1 that select the classes of a label.
    """

    labels: tuple[str, ...]
    prompts: PromptSet
    embeddings: Floats


@dataclass(frozen=True, eq=False, slots=True)
class Queries:
    """A vocabulary encoded for a detector.

    Attributes:
        labels: The C labels, as the caller wrote them.
        template: The sentence around each label.
        embeddings: (C, D), of the model's own type; a list of indices selects rows.
    """

    labels: tuple[str, ...]
    template: str
    embeddings: Any


@dataclass(frozen=True, eq=False, slots=True)
class QueryRow:
    """One query of a prompt.

    Attributes:
        label: What its boxes are called.
        text: Whether the label is also read as words.
        examples: Images of the object, each with its box there.
    """

    label: str
    text: bool
    examples: tuple[Exemplar, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Background:
    """The background labels that a softmax tagger's logits are taken relative to; see pipeline.presence.

    Attributes:
        texts: The B background labels as the tagger encodes them.
        own: (C,) the place of each asked label among them; -1 where it is not one of them.
    """

    texts: TextEmbeddings
    own: NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Vocabulary:
    """Labels encoded once for every stage that reads text; make it with Pipeline.vocabulary and reuse it.

    Attributes:
        labels: C labels.
        prompts: The tagger's templates.
        texts: As the tagger encodes them; None without a tagger.
        queries: As the detector encodes them; None without a detector.
        background: The background labels; None where the tagger's logits are taken as they are.
        prompt_digest: Digest of the Prompt that it was made from; empty for labels.
        label_set: The set whose phrases texts and queries have in rows; None where these have the labels.
        places: Label -> its place.
    """

    labels: tuple[str, ...]
    prompts: PromptSet
    texts: TextEmbeddings | None
    queries: Queries | None
    background: Background | None = None
    prompt_digest: str = ""
    label_set: LabelSet | None = None
    places: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Index the labels."""
        object.__setattr__(self, "places", {label: place for place, label in enumerate(self.labels)})

    @property
    def nbytes(self) -> int:
        """Bytes of arrays and tensors it keeps alive."""
        return nbytes_of((self.texts, self.queries, self.background))
