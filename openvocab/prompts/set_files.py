"""Read files of labels: lists, and labels with synonyms, children and negatives, as YAML or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from openvocab.errors import BadInput
from openvocab.prompts.files import read_text

__all__ = ["NEGATIVES", "SUFFIXES", "LabelEntries", "read_entries", "split_file"]

NEGATIVES = "negatives"
"""The key of a file whose value is a list of negatives, not a label."""
SUFFIXES = (".json", ".yaml", ".yml")

_PARTS = ("children", "synonyms")
_PART_OF_FILE = re.compile(r"([^,\n\r]+\.(?:json|ya?ml)):([^\n\r]+)", re.IGNORECASE)
_REMEDY = "write a list of labels, or one 'label: [synonym, synonym]' a line"


@dataclass(slots=True)
class LabelEntries:
    """What a file of labels holds, as it is written; LabelSet checks it.

    Attributes:
        labels: The labels in the order in which they are first named; a child that is not named before its parent
            stands behind it.
        synonyms: Label -> synonyms.
        children: Label -> the labels below it.
        negatives: What competes with the labels and is not reported.
    """

    labels: list[Any] = field(default_factory=list)
    synonyms: dict[str, list[Any]] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    negatives: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, plain: Any, where: str) -> LabelEntries:
        """Return the entries of plain types: a list of labels, or a mapping as docs/guides/label-sets.md shows it.

        Args:
            plain: Lists, mappings and strings.
            where: Names them in messages.

        Raises:
            BadInput: they are neither, or an entry of a label is unknown.
        """
        if isinstance(plain, list):
            return cls(list(plain))
        if not isinstance(plain, Mapping):
            raise BadInput(f"{where} does not hold a list or a mapping of labels; {_REMEDY}")
        found = cls(negatives=_listed(plain.get(NEGATIVES), f"{NEGATIVES} of {where}"))
        for label, value in plain.items():
            if label != NEGATIVES:
                found._add(label, value, where)
        return found

    def _add(self, label: str, value: Any, where: str) -> None:
        """Add a label, its synonyms and its children."""
        if label not in self.labels:
            self.labels.append(label)
        what = f"{label!r} in {where}"
        parts = value if isinstance(value, Mapping) else {"synonyms": value}
        for name in parts:
            if name not in _PARTS:
                raise BadInput(f"{what} has the unknown entry {name!r}; known: {', '.join(_PARTS)}")
        if synonyms := _listed(parts.get("synonyms"), f"synonyms of {what}"):
            self.synonyms.setdefault(label, []).extend(synonyms)
        below = parts.get("children")
        named = below if isinstance(below, Mapping) else dict.fromkeys(_listed(below, f"children of {what}"))
        if named:
            self.children.setdefault(label, []).extend(named)
        for child, more in named.items():
            self._add(child, more, where)

    def phrases(self) -> Iterator[tuple[Any, Any]]:
        """Yield each phrase with its label; a negative is its own."""
        for label in self.labels:
            yield from ((label, phrase) for phrase in (label, *self.synonyms.get(label, ())))
        yield from zip(self.negatives, self.negatives, strict=True)


def _listed(value: Any, what: str) -> list[Any]:
    """Return a list of strings, a string as a list of one; an absent or empty value is no list.

    Raises:
        BadInput: it is something else.
    """
    made = [] if value in (None, "") else [value] if isinstance(value, str) else value
    if not isinstance(made, list) or not all(isinstance(each, str) for each in made):
        raise BadInput(f"{what} must be a list of words; write [camping tent, wigwam]")
    return made


def split_file(text: str) -> tuple[str, list[str]] | None:
    """Return the file and the labels of FILE:LABEL,LABEL; None for another text."""
    found = _PART_OF_FILE.fullmatch(text.strip())
    return found and (found[1], found[2].split(","))


def read_entries(path: str | Path) -> LabelEntries:
    """Read a .json, .yaml or .yml file of labels.

    Raises:
        BadInput: it cannot be read, is not JSON or YAML, uses aliases, gives a key twice, or holds something else.
    """
    where, text = f"label file {str(path)!r}", read_text(path)
    kind = "JSON" if Path(path).suffix.lower() == ".json" else "YAML"
    once = partial(_once, where)
    try:
        plain = json.loads(text, object_pairs_hook=once) if kind == "JSON" else _from_yaml(text, where)
        return LabelEntries.of(plain, where)
    except BadInput:
        raise
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} is not valid {kind}; {_REMEDY}") from error


def _from_yaml(text: str, where: str) -> Any:
    """Return lists, mappings and strings; numbers and words such as `no` stay strings.

    Raises:
        BadInput: it uses an alias, or gives a key twice.
        ValueError: it is not YAML.
    """
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=loader)):
            raise BadInput(f"{where} uses an alias (*); write it out plainly")
        return _plain(yaml.compose(text, Loader=loader), where)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _plain(node: Any, where: str) -> Any:
    """Return what a node of YAML holds."""
    if node is None or isinstance(node.value, str):
        return node and node.value
    if node.id == "sequence":
        return [_plain(each, where) for each in node.value]
    return _once(where, [(_plain(key, where), _plain(value, where)) for key, value in node.value])


def _once(where: str, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Return a mapping.

    Raises:
        BadInput: a key is given twice, or is no text.
    """
    made: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise BadInput(f"{where} has a key that is no text: {key!r:.60}; put it in quotes")
        if key in made:
            raise BadInput(f"{where} has {key!r:.60} twice; put what belongs to it into one entry")
        made[key] = value
    return made
