"""Labels of a classifier: names of its classes, and for ImageNet-1k also WordNet names above them."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from openvocab.errors import BadInput, OpenVocabWarning, counted
from openvocab.prompts.wordnet import imagenet

__all__ = ["ClassNames"]

_IMAGENET, _WITH_BACKGROUND = 1000, 1001
_ALIKE = 0.9
"""Share of classes that must have one of ImageNet's names at its place; checkpoints spell a few in their own way."""

_SINGULARS = {
    "ches": "ch",
    "shes": "sh",
    "ses": "s",
    "xes": "x",
    "zes": "z",
    "ies": "y",
    "men": "man",
    "s": "",
}
"""WordNet's rules of detachment for nouns, morphy(7WN)."""


@dataclass(frozen=True, slots=True)
class ClassNames:
    """The K classes of a classifier and the labels that name them.

    Attributes:
        names: The K names, as the checkpoint has them; "tench, Tinca tinca" is one class with two names.
        rows: What a label may be, in lower case, with the indices of its classes.
    """

    names: tuple[str, ...]
    rows: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, names: Sequence[str]) -> ClassNames:
        """Return every way to name a class, or, for ImageNet-1k, a synset above classes.

        A whole name goes before WordNet's meaning of the word, and that before a part of a name.
        """
        parts: dict[str, list[int]] = {}
        wholes: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            wholes.setdefault(_plain(name), []).append(row)
            for part in _parts(name):
                parts.setdefault(part, []).append(row)
        own = {name: tuple(rows) for name, rows in (parts | wholes).items()}
        whole_names = {name: own[name] for name in wholes}
        return cls(tuple(names), MappingProxyType(own | _above(names) | whole_names))

    def find(self, label: str) -> tuple[int, ...]:
        """Return the indices of a label's classes; a plural is its singular, and two words are tried as one.

        Raises:
            BadInput: no class stands for it; the nearest names are given.
        """
        known = next((name for name in _spellings(_plain(label)) if name in self.rows), None)
        if known is None:
            raise self._unknown(label)
        if known in imagenet().rare and _above(self.names):
            shown = "; ".join(self.names[row] for row in self.rows[known][:3])
            message = f"label {label!r} usually means something that no class shows; here it means: {shown}"
            warnings.warn(message, OpenVocabWarning, stacklevel=4)
        return self.rows[known]

    def _unknown(self, label: str) -> BadInput:
        near = get_close_matches(_plain(label), self.rows, n=3, cutoff=0.5) or sorted(self.rows)[:3]
        above = " and no name above them" if _above(self.names) else ""
        return BadInput(
            f"label {label!r} is none of the {counted(len(self.names), 'class', 'classes')} of this classifier{above}; "
            f"nearest: {', '.join(map(repr, near))}; remove it, or name an open-vocabulary tagger"
        )


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.replace("_", " ").split()).casefold())


def _parts(name: str) -> set[str]:
    return {_plain(part) for part in name.split(",")} - {""}


def _spellings(word: str) -> Iterator[str]:
    """Yield a word, what it may be the plural of, and these written as one word: "cell phones" is "cellphone"."""
    joined = word.replace(" ", "").replace("-", "")
    for form in dict.fromkeys((word, joined)):
        yield form
        if form in imagenet().plurals:
            yield imagenet().plurals[form]
        yield from (form.removesuffix(end) + single for end, single in _SINGULARS.items() if form.endswith(end))


def _above(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return WordNet's names with the classes below each, where these are the names of ImageNet-1k; else nothing.

    Classes may come after one for the background, as those of the TensorFlow models do.
    """
    if len(names) not in (_IMAGENET, _WITH_BACKGROUND):
        return {}
    shift, known = len(names) - _IMAGENET, imagenet().classes
    alike = sum(any(row in known.get(part, ()) for part in _parts(name)) for row, name in enumerate(names[shift:]))
    if alike < _ALIKE * _IMAGENET:
        return {}
    return {name: tuple(row + shift for row in rows) for name, rows in known.items()}
