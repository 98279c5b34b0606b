"""Read and validate labels."""

from __future__ import annotations

import json
import math
import re
import tomllib
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from numbers import Real
from pathlib import Path
from types import MappingProxyType

from openvocab.errors import BadInput, OpenVocabWarning, UnknownName, unknown
from openvocab.prompts.files import is_file, read_lines
from openvocab.prompts.set_files import SUFFIXES, read_entries, split_file
from openvocab.prompts.wordnet.nouns import nouns

__all__ = [
    "check_context",
    "check_labels",
    "check_threshold",
    "json_list",
    "label_set",
    "label_sets",
    "labels_outside",
    "raw_labels",
    "read_labels",
    "set_synonyms",
]

_LONGEST = 1000
_NEAR = 0.9
"""difflib's ratio from which a word is nearly the name of a label set: "poket" is, and "cocoa" is not."""
_ODD_COMMAS = (";", "|", "，", "；", "、", "،", "؛")
"""What separates words elsewhere, in Chinese, Japanese and Arabic too, and may be part of a label here."""
_READ = (".txt", *SUFFIXES)
_LIKE_A_FILE = (*_READ, ".csv", ".tsv", ".toml", ".names", ".md", ".xml")


def _short(text: str, most: int = 60) -> str:
    """Return text in quotes, escaped, cut at most characters."""
    return repr(text if len(text) <= most else text[: most - 3] + "...")


# --- what a label may be


def check_labels(labels: Sequence[str] | str) -> tuple[str, ...]:
    """Return the labels trimmed, with single spaces inside, in Unicode's composed form (NFC).

    Args:
        labels: C labels. A bare string is refused: read_labels takes those.

    Raises:
        BadInput: there is no label, or one is blank, no string, over 1,000 characters, holds a control character
            or half a surrogate pair, or is the same as another one but for case, spaces and composition.
    """
    if isinstance(labels, str | bytes | Set | Mapping) or not isinstance(labels, Iterable):
        raise BadInput(f"labels must be a list of strings, got {type(labels).__name__}; write ['cat', 'dog']")
    checked = tuple(_label(label, position) for position, label in enumerate(labels, 1))
    if not checked:
        raise BadInput("there are no labels; give at least one")
    _refuse_twins(checked)
    return checked


def _label(label: object, position: int) -> str:
    """Return one label in its normal form; position counts from 1.

    Raises:
        BadInput: it cannot be a label.
    """
    if not isinstance(label, str):
        raise BadInput(f"label {position} is of type {type(label).__name__}; write it as a string")
    if len(label) > _LONGEST:
        raise BadInput(f"label {position}, {_short(label)}, has {len(label)} characters; keep it to {_LONGEST}")
    bad = next((c for c in label if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r"), None)
    if bad is not None:
        raise BadInput(f"label {position}, {_short(label)}, holds the control character U+{ord(bad):04X}; remove it")
    if all(c.isspace() or unicodedata.category(c) == "Cf" for c in label):
        raise BadInput(f"label {position} is blank; remove it or write a word")
    return unicodedata.normalize("NFC", " ".join(label.split()))


def _refuse_twins(labels: Sequence[str]) -> None:
    """Raise BadInput if two labels differ in case only."""
    first: dict[str, int] = {}
    for position, label in enumerate(labels):
        twin = first.setdefault(unicodedata.normalize("NFC", label.casefold()), position)
        if twin != position:
            raise BadInput(
                f"labels {twin + 1} and {position + 1}, {_short(labels[twin])} and {_short(label)}, are the same; "
                "remove one, or their scores would be split"
            )


def check_threshold(name: str, value: float) -> float:
    """Return value as a float.

    Args:
        name: name of the threshold in the message.
        value: a number in 0 to 1.

    Raises:
        BadInput: it is no number, not finite, or outside 0 to 1.
    """
    given: object = value
    if isinstance(given, bool) or not isinstance(given, Real):
        raise BadInput(f"{name} must be a number from 0 to 1, got {_short(str(value))}; write for example 0.25")
    number = float(given)
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise BadInput(f"{name} must lie in 0 to 1, got {value}; write for example 0.25")
    return number


# --- where labels come from


@cache
def _sets() -> Mapping[str, tuple[str, ...]]:
    """Return the label sets; `pocket` is the vocabulary of the embedded models, in the order of its file."""
    package = files("openvocab")
    sets = tomllib.loads(package.joinpath("prompts/label_sets.toml").read_text("utf-8"))
    sets["pocket"] = list(tomllib.loads(package.joinpath("weights/pocket/labels.toml").read_text("utf-8"))["labels"])
    sets |= {name: list(synonyms) for name, synonyms in _large_sets().items()}
    return MappingProxyType({name: tuple(sets[name]) for name in sorted(sets)})


@cache
def _large_sets() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return the label sets that have a file: label -> synonyms."""
    made = {}
    for path in files("openvocab").joinpath("prompts/label_sets").iterdir():
        if path.name.endswith(".txt"):
            rows = (line.split("; ") for line in path.read_text("utf-8").splitlines())
            made[path.name.removesuffix(".txt")] = {label: tuple(synonyms) for label, *synonyms in rows}
    return made


def set_synonyms(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return label -> synonyms, for the labels of a set that have some in its data set.

    Raises:
        UnknownName: there is no label set of that name.
    """
    label_set(name)
    return {label: synonyms for label, synonyms in _large_sets().get(name, {}).items() if synonyms}


def label_sets() -> Mapping[str, int]:
    """Return the names of the label sets, each with its number of labels."""
    return {name: len(labels) for name, labels in _sets().items()}


def label_set(name: str) -> tuple[str, ...]:
    """Return the labels of a set, in the order of its data set.

    Raises:
        UnknownName: there is no label set of that name.
    """
    if name not in _sets():
        raise unknown("label set", name, _sets())
    return _sets()[name]


def labels_outside(labels: Iterable[str], name: str) -> list[str]:
    """Return the labels that a label set does not have, whatever their case.

    Raises:
        UnknownName: there is no label set of that name.
    """
    words = {label.casefold() for label in label_set(name)}
    return [label for label in labels if label.casefold() not in words]


def read_labels(spec: str | Sequence[str] | Path) -> tuple[str, ...]:
    """Read labels and check them.

    A text that means something else than it seems to, such as labels with semicolons between them, is an
    OpenVocabWarning.

    Args:
        spec: a list of labels; the name of a label set; the path of a .txt file (one label a line, '#' starts a
            comment line) or of a .json or .yaml file (a list of strings, or a LabelSet, of which these are the labels);
            or labels with commas or line ends between them, or as a JSON list.

    Raises:
        BadInput: a label is refused by check_labels, or the file is not there or not readable.
        UnknownName: spec is one word that is nearly the name of a label set.
    """
    if isinstance(spec, str) and spec.strip() in _sets():
        return label_set(spec.strip())
    return check_labels(raw_labels(spec))


def raw_labels(spec: str | Sequence[str] | Path) -> Sequence[str]:
    """Return the labels of a spec as they were written, of which some may be twins or no labels; see read_labels.

    Raises:
        BadInput: the file is not there or not readable.
        UnknownName: spec is one word that is nearly the name of a label set.
    """
    if isinstance(spec, Path):
        return _from_file(spec)
    if not isinstance(spec, str):
        return spec
    text = spec.strip()
    if text in _sets():
        return label_set(text)
    if _means_a_file(text):
        return _from_file(text)
    if part := split_file(text):
        return part[1]
    listed = json_list(text)
    if listed is not None:
        return listed
    labels = _from_text(text)
    _warn_of_odd(text, labels)
    return labels


def json_list(text: str) -> list[str] | None:
    """Return the labels of a text that is a JSON list, or None."""
    try:
        data = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, list) else None


def _warn_of_odd(text: str, labels: Sequence[str]) -> None:
    """Warn about a text that probably means something else."""
    near = get_close_matches(text.casefold(), _sets(), n=1, cutoff=_NEAR) if "," not in text else []
    for sign in _ODD_COMMAS:
        odd = next((label for label in labels if sign in label), None)
        if odd is not None:
            _warn(f"{_short(odd)} is taken as one label; write commas in place of {sign!r} to separate labels")
    if text.startswith("[") and text.endswith("]"):
        _warn(f"{_short(text)} is no JSON list, and its brackets are taken as parts of labels; put labels in quotes")
    if near:
        _warn(f"{_short(text)} is taken as a label; the label set is called {near[0]!r}")


def _warn(message: str) -> None:
    warnings.warn(message, OpenVocabWarning, stacklevel=5)


def _means_a_file(text: str) -> bool:
    """Return whether text is a path: it ends like a text file, and it exists or could be nothing but a path."""
    return text.lower().endswith(_LIKE_A_FILE) and (is_file(text) or not re.search(r"[,\n\r]", text))


def _from_file(path: str | Path) -> list[str]:
    """Read labels from a file.

    Raises:
        BadInput: it does not exist, has another suffix, or cannot be read.
    """
    if not is_file(path):
        raise BadInput(f"label file {str(path)!r} does not exist; check the path, or give the labels themselves")
    suffix = Path(path).suffix.lower()
    if suffix not in _READ:
        known = ".txt (one label a line), .json or .yaml"
        raise BadInput(f"label file {str(path)!r} must end in {known}; save it as one of them")
    return read_lines(path) if suffix == ".txt" else read_entries(path).labels


def _from_text(text: str) -> list[str]:
    """Split text at commas and line ends; one comma at the end of a line is tolerated.

    Raises:
        UnknownName: the text is one word that is nearly the name of a label set.
    """
    if re.search(r"[,\n\r]", text):
        lines = [line.strip().removesuffix(",") for line in re.split(r"[\n\r]", text) if line.strip()]
        return [label for line in lines for label in line.split(",")]
    near = [name for name in _sets() if _nearly(text[:40], name)]
    if near and (text.casefold() in near or nouns().find(text) is None):  # "arm" is no misspelled "ram"
        raise UnknownName(
            f"no label set named {_short(text)}; did you mean {near[0]!r}? known: {', '.join(_sets())}; "
            "a comma after the word makes it a label"
        )
    return [text] if text else []


def _nearly(word: str, name: str) -> bool:
    """Return whether word equals name but for case, punctuation, a final number, doubled or swapped letters."""
    one, two = (re.sub(r"[\W_]|\d+$", "", text.casefold()) for text in (word, name))
    return sorted(one) == sorted(two) or re.sub(r"(.)\1+", r"\1", one) == two


# --- what a text tower can read


def check_context(labels: Sequence[str], lengths: Sequence[int], limit: int, kept: Sequence[str], tower: str) -> None:
    """Warn of each label whose prompt is longer than the text tower reads.

    Args:
        labels: C labels.
        lengths: C token counts of the filled prompts, special tokens included.
        limit: maximum number of tokens of the tower.
        kept: C prompts after truncation.
        tower: name of the text tower in messages.

    Raises:
        BadInput: two labels are the same text after truncation.
    """
    first: dict[str, tuple[str, int]] = {}
    for label, length, text in zip(labels, lengths, kept, strict=True):
        twin, other = first.setdefault(text, (label, length))
        if twin != label:
            raise _same_text(twin, label, text, tower, limit if max(length, other) > limit else None)
    for label, length, text in zip(labels, lengths, kept, strict=True):
        if length > limit:
            message = f"label {_short(label)} makes {length} tokens but {tower} reads {limit}, so it is cut to"
            warnings.warn(f"{message} {_short(text, 200)}; shorten the label", OpenVocabWarning, stacklevel=3)


def _same_text(twin: str, label: str, text: str, tower: str, limit: int | None) -> BadInput:
    """Return the error for two labels of which a tower keeps the same text; limit is None where nothing was cut."""
    same = f"labels {_short(twin)} and {_short(label)} are the same text to {tower}, which"
    if limit is None:
        why = f"reads both as {_short(text, 200)}; choose other words, or a model that reads their language"
        return BadInput(f"{same} {why}")
    kept = f"reads {limit} tokens and keeps {_short(text, 200)}"
    return BadInput(f"{same} {kept}; shorten them or put what sets them apart first")
