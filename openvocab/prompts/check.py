"""Check a list of labels by its words: labels that cannot be used, and labels that compete with each other."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from openvocab.errors import BadInput
from openvocab.prompts.labels import check_labels
from openvocab.prompts.phrases import word_forms
from openvocab.prompts.set_files import LabelEntries
from openvocab.prompts.wordnet.nouns import Nouns, nouns

__all__ = ["KINDS", "LabelFinding", "LabelFindingKind", "check_words", "intended", "unshared", "usable"]

LabelFindingKind = Literal["invalid", "duplicate", "plural", "synonym", "parent", "length", "embedding", "vocabulary"]

KINDS: tuple[LabelFindingKind, ...] = get_args(LabelFindingKind)
"""The kinds of findings, in the order in which they are listed."""


@dataclass(frozen=True, slots=True)
class LabelFinding:
    """One thing to change in a list of labels.

    Attributes:
        kind: What is wrong: `invalid`, `duplicate`, `plural`, `synonym`, `parent`, `length`, `embedding` or
            `vocabulary`.
        labels: The labels that it is about; of a `parent` the parent comes first.
        cause: What is wrong, in words.
        remedy: What to do.
    """

    kind: LabelFindingKind
    labels: tuple[str, ...]
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}"


def usable(labels: Sequence[str]) -> tuple[tuple[str, ...], list[LabelFinding]]:
    """Return the labels that can be used, each once, and findings about the others: `invalid` and `duplicate`.

    Args:
        labels: C labels as they were written.
    """
    valid: list[str] = []
    found: list[LabelFinding] = []
    for label in labels:
        try:
            valid += check_labels([label])
        except BadInput as error:
            cause, _, remedy = str(error).partition("; ")
            found.append(LabelFinding("invalid", (label,), cause.replace("label 1", "the label", 1), remedy))
    groups: dict[str, list[str]] = defaultdict(list)
    for label in valid:
        groups[_spelling(label)].append(label)
    found += [_duplicate(group) for group in groups.values() if len(group) > 1]
    return tuple(group[0] for group in groups.values()), found


def _spelling(label: str) -> str:
    """Return a label without case, spaces and punctuation."""
    plain = unicodedata.normalize("NFKC", label).casefold()
    return re.sub(r"[\W_]+", "", plain) or plain


def _duplicate(group: Sequence[str]) -> LabelFinding:
    names = tuple(dict.fromkeys(group))
    cause = f"{_quoted(names)} are spellings of one label" if len(names) > 1 else f"{names[0]!r} is given twice"
    return LabelFinding("duplicate", names, cause, "keep one, or their scores are split")


def _quoted(labels: Sequence[str]) -> str:
    return " and ".join(map(repr, labels))


def unshared(entries: LabelEntries) -> tuple[list[Any], list[LabelFinding]]:
    """Return the phrases of a label set, and findings about each synonym that stands for two labels.

    Such a phrase is there once; labels that are given twice are left to usable.
    """
    named: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    for owner, phrase in entries.phrases():
        named[_spelling(str(phrase))].append((owner, phrase))
    phrases, found = list[Any](), list[LabelFinding]()
    for pairs in named.values():
        owners = tuple(dict.fromkeys(owner for owner, _ in pairs))
        if len(owners) > 1 and any(owner != phrase for owner, phrase in pairs):
            cause = f"{pairs[0][1]!r} stands for {' and for '.join(map(repr, owners))}"
            found.append(LabelFinding("synonym", owners, cause, "leave it out of one, or chance decides"))
            del pairs[1:]
        phrases += [phrase for _, phrase in pairs]
    return phrases, found


def intended(entries: LabelEntries, labels: Sequence[str]) -> bool:
    """Return whether labels that belong together are phrases of one label, or one is said to be below the other."""
    owners = {phrase: owner for owner, phrase in entries.phrases()}
    names = list(dict.fromkeys(owners.get(label, label) for label in labels))
    above = {child: parent for parent, given in entries.children.items() for child in given}
    related = len(names) == 2 and (names[0] in _chain(names[1], above) or names[1] in _chain(names[0], above))
    return len(labels) > 1 and (len(names) == 1 or related)


def _chain(label: str, above: Mapping[str, str]) -> list[str]:
    """Return what is above a label, the nearest first."""
    found = list[str]()
    while (label := above.get(label, "")) and label not in found:
        found.append(label)
    return found


def check_words(labels: Sequence[str]) -> list[LabelFinding]:
    """Return the plurals, synonyms and parents among labels that differ.

    Synonyms and parents are those of WordNet; a name has one sense, see prompts/wordnet/README.md. A label that is
    unknown there has none.

    Args:
        labels: C labels, as usable returns them.
    """
    senses = {label: synset for label in labels if (synset := nouns().find(label)) is not None}
    plurals = list(_plurals(labels))
    pairs = {each.labels for each in plurals}
    return [*plurals, *_synonyms(senses, pairs), *_parents(senses, nouns())]


def _plurals(labels: Sequence[str]) -> Iterator[LabelFinding]:
    known = {" ".join(label.casefold().split()): label for label in labels}
    for plain, label in known.items():
        start, space, last = plain.rpartition(" ")
        forms = {start + space + form for form in word_forms(last)} | {nouns().plurals.get(plain, "")}
        for singular in sorted((forms - {plain}) & known.keys()):
            cause = f"{label!r} is the plural of {known[singular]!r}, so both name the same objects"
            yield LabelFinding("plural", (known[singular], label), cause, "keep the singular, which models know best")


def _synonyms(senses: Mapping[str, int], plurals: set[tuple[str, ...]]) -> Iterator[LabelFinding]:
    groups: dict[int, list[str]] = defaultdict(list)
    for label, synset in senses.items():
        groups[synset].append(label)
    for group in map(tuple, groups.values()):
        if len(group) > 1 and not {group, group[::-1]} & plurals:
            yield LabelFinding("synonym", group, f"{_quoted(group)} mean the same in WordNet", "keep one")


def _parents(senses: Mapping[str, int], words: Nouns) -> Iterator[LabelFinding]:
    """Yield the nearest label above each label."""
    by_synset: dict[int, str] = {}
    for label, synset in senses.items():
        by_synset.setdefault(synset, label)
    for label, synset in senses.items():
        parent = next((by_synset[above] for above in words.ancestors(synset) if above in by_synset), None)
        if parent is not None:
            cause = f"{parent!r} stands above {label!r} in WordNet, so both are right for one object"
            yield LabelFinding("parent", (parent, label), cause, "keep labels of one level, or expect either of them")
