"""Check a list of labels: by its words, and by what a tagger makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.protocols import Tagger, TextEmbeddings, TokenLimited
from openvocab.prompts.check import KINDS, LabelFinding, check_words, intended, unshared, usable
from openvocab.prompts.labels import check_threshold, label_set
from openvocab.prompts.sets import LabelSet, label_entries
from openvocab.prompts.templates import PromptSet, prompt_set
from openvocab.prompts.wordnet.nouns import nouns
from openvocab.weights.manifest import embedded

__all__ = ["MAX_COSINE", "label_findings"]

Floats = NDArray[np.float32]

MAX_COSINE = 0.97
"""Two labels nearly coincide from this cosine on. No published figure is known: it lies above what the embedded tagger
has for any two of its labels, of which the nearest, apple and peach, have 0.77."""

_EMBEDDED_SET = "pocket"
_BLOCK = 1024


def label_findings(
    labels: str | Sequence[str] | Path | LabelSet,
    tagger: Tagger | None = None,
    template: str | Sequence[str] | PromptSet | None = None,
    max_cosine: float = MAX_COSINE,
) -> tuple[LabelFinding, ...]:
    """Return what is wrong with a list of labels, in the order of the kinds of LabelFinding.

    Args:
        labels: As for read_label_set, and also labels that it refuses.
        tagger: Also find labels that it reads only in part, that it does not know, or that are nearly the same to it.
        template: Its templates; those of prompt_set where not given.
        max_cosine: Two labels are nearly the same if the cosine of their embeddings is this or more.

    Raises:
        BadInput: a file, a template or max_cosine cannot be used, or there are no labels.
        UnknownName: there is no label set or prompt set of that name.
        BadOutput: the tagger's answer is not finite.
    """
    least = check_threshold("max_cosine", max_cosine)
    entries = label_entries(labels)
    given, shared = unshared(entries)
    if not given:
        raise BadInput("there are no labels; give at least one, for example ['cat', 'dog']")
    names, unusable = usable(given)
    found = check_words(names)
    if tagger is not None and names:
        found += _of_tagger(tagger, names, prompt_set(template), least)
    found = [*shared, *unusable, *(each for each in found if not intended(entries, each.labels))]
    return tuple(sorted(found, key=lambda finding: KINDS.index(finding.kind)))


def _of_tagger(tagger: Tagger, names: tuple[str, ...], prompts: PromptSet, max_cosine: float) -> Iterator[LabelFinding]:
    """Yield findings; a label that is too long or unknown is not compared with others."""
    outside = list(_too_long(tagger, names, prompts) if isinstance(tagger, TokenLimited) else ())
    if tagger.record.spec in embedded():
        outside += _unknown_to_embedded(names)
    yield from outside
    bad = {label for finding in outside for label in finding.labels}
    rest = tuple(label for label in names if label not in bad)
    encoded, refused = _encoded(lambda some: tagger.encode_labels(some, prompts), rest)
    yield from refused
    if encoded is not None:
        yield from _coinciding(encoded.labels, encoded.embeddings, max_cosine)


def _too_long(tagger: TokenLimited, names: Sequence[str], prompts: PromptSet) -> Iterator[LabelFinding]:
    for label, count in zip(names, tagger.token_counts(names, prompts), strict=True):
        if count > tagger.context:
            cause = f"{label!r} makes {count} tokens, and the tagger reads {tagger.context}, so its end is cut off"
            yield LabelFinding("length", (label,), cause, "shorten it")


def _unknown_to_embedded(names: Sequence[str]) -> Iterator[LabelFinding]:
    """Yield the labels that the embedded models were not trained on; a synonym of one that they were on is named."""
    known = label_set(_EMBEDDED_SET)
    spelled = {label.casefold(): label for label in known}
    meaning = {synset: label for label in known if (synset := nouns().find(label)) is not None}
    for name in names:
        if name.casefold() in spelled:
            continue
        synset = nouns().find(name)
        near = spelled.get(name.replace("-", " ").casefold()) or (None if synset is None else meaning.get(synset))
        cause = f"{name!r} is not in the vocabulary of the embedded models, so its score means nothing"
        remedy = f"write {near!r}" if near else "choose other models, or a label of: openvocab labels show pocket"
        yield LabelFinding("vocabulary", (name,), cause, remedy)


def _encoded(
    encode: Callable[[Sequence[str]], TextEmbeddings], names: tuple[str, ...]
) -> tuple[TextEmbeddings | None, list[LabelFinding]]:
    """Return the labels that a tagger takes, encoded, and findings about those that it refuses alone."""
    if not names:
        return None, []
    try:
        return encode(names), []
    except BadInput:
        refused = [finding for name in names for finding in _refused(encode, name)]
    bad = {label for finding in refused for label in finding.labels}
    taken = [name for name in names if name not in bad]
    return (encode(taken) if taken and refused else None), refused


def _refused(encode: Callable[[Sequence[str]], TextEmbeddings], name: str) -> Iterator[LabelFinding]:
    try:
        encode([name])
    except BadInput as error:
        cause, _, remedy = str(error).partition("; ")
        yield LabelFinding("vocabulary", (name,), cause, remedy)


def _coinciding(labels: Sequence[str], embeddings: NDArray[Any], max_cosine: float) -> Iterator[LabelFinding]:
    """Yield each label with its nearest other one, a pair once, if their cosine is max_cosine or more."""
    rows = np.asarray(embeddings, np.float32)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    seen = set[tuple[int, int]]()
    for start in range(0, len(rows) if len(rows) > 1 else 0, _BLOCK):
        cosines = rows[start : start + _BLOCK] @ rows.T
        own = np.arange(len(cosines))
        cosines[own, own + start] = -1
        nearest = cosines.argmax(axis=1)
        for row, other, cosine in zip(own + start, nearest, cosines[own, nearest], strict=True):
            pair = min(row, other), max(row, other)
            if cosine >= max_cosine and pair not in seen:
                seen.add(pair)
                one, two = (labels[each] for each in pair)
                cause = f"{one!r} and {two!r} are nearly the same to the tagger (cosine {cosine:.3f})"
                yield LabelFinding("embedding", (one, two), cause, "reword one or drop it, or chance decides")
