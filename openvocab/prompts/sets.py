"""LabelSet: labels with synonyms, labels below others, and negatives; checked once, in rows that models score."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.prompts.files import is_file
from openvocab.prompts.labels import check_labels, raw_labels, read_labels
from openvocab.prompts.set_files import SUFFIXES, LabelEntries, read_entries, split_file

__all__ = ["LabelSet", "label_entries", "read_label_set"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels with synonyms, parents and negatives. Give it wherever labels go.

    Models score R phrases: the first label, its synonyms, the next label, ..., the negatives. A label's score is the
    best of its phrases; a negative competes with the labels and is never reported.

    Attributes:
        labels: C labels; results have these, and class ids count in this order.
        synonyms: Label -> other phrases for it.
        children: Label -> the labels below it; each has one parent at most.
        negatives: N phrases that compete with the labels.
        phrases: R phrases.
        starts: (C + N,) int64, the first phrase of each label, then the place of each negative.
    """

    labels: Sequence[str]
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    children: Mapping[str, Sequence[str]] = field(default_factory=dict)
    negatives: Sequence[str] = ()
    phrases: tuple[str, ...] = field(init=False, repr=False, compare=False)
    starts: NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _upward: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check everything, and set up the rows.

        Raises:
            BadInput: a phrase cannot be used or stands for two labels, a synonym or child is of no label, a label has
                two parents, or it is below itself.
        """
        labels = check_labels(self.labels)
        negatives = check_labels(self.negatives) if len(self.negatives) else ()
        synonyms = {label: check_labels(given) for label, given in _of_labels(self.synonyms, labels, "synonyms")}
        children = {label: check_labels(given) for label, given in _of_labels(self.children, labels, "children")}
        refuse_shared(labels, synonyms, negatives)
        upward = _upward(labels, children)
        groups = [*((label, *synonyms.get(label, ())) for label in labels), *((each,) for each in negatives)]
        starts = np.array([0, *accumulate(map(len, groups[:-1]))], np.intp)
        given = {"labels": labels, "synonyms": synonyms, "children": children, "negatives": negatives}
        made = {"phrases": tuple(phrase for group in groups for phrase in group), "starts": starts, "_upward": upward}
        for name, value in (given | made).items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, plain: Any, where: str = "the label set") -> LabelSet:
        """Return the set of plain types, as a label file holds them.

        Args:
            plain: {"tent": ["camping tent"], "vehicle": {"children": ["car"]}, "negatives": ["sky"]}, or a list.
            where: Names it in messages.

        Raises:
            BadInput: it has another form, or a LabelSet refuses it.
        """
        return _checked(LabelEntries.of(plain, where), where)

    @property
    def columns(self) -> tuple[str, ...]:
        """The C labels, then the N negatives: what a score of best is for."""
        return (*self.labels, *self.negatives)

    @property
    def is_plain(self) -> bool:
        """Whether it says no more than its labels do."""
        return not (self.synonyms or self.children or self.negatives)

    @property
    def digest(self) -> str:
        """The sha256 of everything in it; empty if it is plain. The order of synonyms and negatives is no part."""
        if self.is_plain:
            return ""
        parts = [{label: sorted(given) for label, given in each.items()} for each in (self.synonyms, self.children)]
        text = json.dumps([list(self.labels), *parts, sorted(self.negatives)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def best(self, rows: Floats) -> Floats:
        """Return (..., C + N), the best of each label's phrases, for (..., R) scores or logits."""
        return np.asarray(np.maximum.reduceat(rows, self.starts, axis=-1), np.float32)

    def reported(self, values: Floats) -> Floats:
        """Return (..., C) of (..., C + N) scores: no negatives, and a label has that of its best child at least."""
        made = values[..., : len(self.labels)].copy()
        for child, parent in self._upward:
            made[..., parent] = np.maximum(made[..., parent], made[..., child])
        return made

    def rows_of(self, labels: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows of the phrases of labels, given by index, and of all negatives, ascending."""
        wanted = np.zeros(len(self.starts), np.bool_)
        wanted[labels], wanted[len(self.labels) :] = True, True
        return np.flatnonzero(np.repeat(wanted, np.diff(self.starts, append=len(self.phrases))))

    def only(self, *labels: str) -> LabelSet:
        """Return the set with these labels alone, in its own order.

        A label that is left out becomes a phrase of the nearest label above it that stays: what is found by it is
        reported as that. Negatives stay.

        Raises:
            BadInput: one is no label of the set.
        """
        wanted = check_labels(labels)
        for label in wanted:
            if label not in self.labels:
                raise BadInput(f"{label!r} is no label of the set; it has {', '.join(self.labels)[:200]}")
        above = {self.labels[child]: self.labels[parent] for child, parent in self._upward}

        def owner(label: str | None) -> str | None:
            while label is not None and label not in wanted:
                label = above.get(label)
            return label

        synonyms: dict[str, list[str]] = {}
        children: dict[str, list[str]] = {}
        for label in self.labels:
            if (kept := owner(label)) is None:
                continue
            own = [] if kept == label else [label]
            synonyms.setdefault(kept, []).extend([*own, *self.synonyms.get(label, ())])
            if kept == label and (parent := owner(above.get(label))):
                children.setdefault(parent, []).append(label)
        return LabelSet([label for label in self.labels if label in wanted], synonyms, children, self.negatives)


def read_label_set(spec: str | Sequence[str] | Path | LabelSet) -> LabelSet:
    """Read labels, with synonyms, children and negatives where the spec has them.

    Args:
        spec: A LabelSet; a .yaml or .json file of one; FILE:LABEL,LABEL, which are labels of such a file (see
            LabelSet.only); or what read_labels takes.

    Raises:
        BadInput: as read_labels and LabelSet do.
        UnknownName: as read_labels.
    """
    if isinstance(spec, LabelSet):
        return spec
    found = _named_file(spec)
    if found is None:
        return LabelSet(read_labels(spec))
    path, wanted = found
    made = _checked(read_entries(path), f"label file {path!r}")
    return made.only(*wanted) if wanted else made


def label_entries(spec: str | Sequence[str] | Path | LabelSet) -> LabelEntries:
    """Return what read_label_set would read as it is written, of which some may be no labels or stand for two.

    Raises:
        BadInput: a file cannot be read, or labels of a file are named that it does not have.
        UnknownName: as read_labels.
    """
    found = _named_file(spec)
    if found and not found[1]:
        return read_entries(found[0])
    if not found and not isinstance(spec, LabelSet):
        return LabelEntries(list(raw_labels(spec)))
    made = read_label_set(spec)
    synonyms, children = ({label: [*some] for label, some in each.items()} for each in (made.synonyms, made.children))
    return LabelEntries([*made.labels], synonyms, children, [*made.negatives])


def _named_file(spec: object) -> tuple[str, list[str]] | None:
    """Return the .yaml or .json file that a spec names, and the labels of it that it names."""
    text = str(spec).strip() if isinstance(spec, str | Path) else ""
    path, wanted = split_file(text) or (text, [])
    return (path, wanted) if path.lower().endswith(SUFFIXES) and (wanted or is_file(path)) else None


def _checked(entries: LabelEntries, where: str) -> LabelSet:
    """Return the set of entries.

    Raises:
        BadInput: LabelSet refuses them; the message names where they are from.
    """
    try:
        return LabelSet(entries.labels, entries.synonyms, entries.children, entries.negatives)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


def _of_labels(
    given: Mapping[str, Sequence[str]], labels: Sequence[str], what: str
) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each label that has some, in its normal form.

    Raises:
        BadInput: it is no label.
    """
    for each, some in given.items():
        (label,) = check_labels([each])
        if label not in labels:
            raise BadInput(f"{each!r} has {what} and is no label; add it to the labels")
        if isinstance(some, str) or len(some):
            yield label, some


def refuse_shared(labels: Sequence[str], synonyms: Mapping[str, Sequence[str]], negatives: Sequence[str]) -> None:
    """Refuse a phrase that stands for two labels, or twice for one.

    Raises:
        BadInput: there is one; the message names it and the labels.
    """
    owners = {_plain(label): f"the label {label!r}" for label in labels}
    more = [(phrase, f"the label {label!r}") for label, given in synonyms.items() for phrase in given]
    for phrase, owner in [*more, *((phrase, "the negatives") for phrase in negatives)]:
        first = owners.get(_plain(phrase))
        if first is not None:
            both = f"twice for {owner}" if first == owner else f"for {first} and for {owner}"
            raise BadInput(f"{phrase!r} stands {both}; leave it out of one")
        owners[_plain(phrase)] = owner


def _plain(phrase: str) -> str:
    return unicodedata.normalize("NFC", phrase.casefold())


def _upward(labels: Sequence[str], children: Mapping[str, Sequence[str]]) -> tuple[tuple[int, int], ...]:
    """Return child and parent, as indices of labels, the deepest first.

    Raises:
        BadInput: a child is no label, has two parents, or is below itself.
    """
    above: dict[str, str] = {}
    for parent, given in children.items():
        for child in given:
            if child not in labels:
                raise BadInput(f"{child!r} is below {parent!r} and is no label; add it to the labels")
            if above.setdefault(child, parent) != parent:
                raise BadInput(f"{child!r} is below {above[child]!r} and below {parent!r}; leave it out of one")
    depths = {child: _depth(child, above) for child in above}
    places = {label: place for place, label in enumerate(labels)}
    deepest = sorted(above, key=lambda child: -depths[child])
    return tuple((places[child], places[above[child]]) for child in deepest)


def _depth(label: str, above: Mapping[str, str]) -> int:
    """Return how many labels are above a label.

    Raises:
        BadInput: one is the label itself.
    """
    depth, one = 0, label
    while (one := above.get(one, "")) and depth <= len(above):
        depth += 1
    if depth > len(above):
        raise BadInput(f"{label!r} is above a label that is above it; leave out one of the children")
    return depth
