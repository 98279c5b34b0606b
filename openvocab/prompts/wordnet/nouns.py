"""WordNet's nouns for things that an image can show: which names mean the same, and which stand above which."""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from openvocab.prompts.phrases import word_forms

__all__ = ["Nouns", "nouns"]


@dataclass(frozen=True, slots=True)
class Nouns:
    """Names in lower case, each with one synset: its first sense among those of things that an image can show.

    Attributes:
        synsets: Name -> its synset.
        above: Synset -> the synsets directly above it.
        plurals: Irregular plural -> singular.
    """

    synsets: Mapping[str, int]
    above: tuple[tuple[int, ...], ...]
    plurals: Mapping[str, str]

    def find(self, label: str) -> int | None:
        """Return the synset of a label, which may be a plural or have hyphens; None if it is not among the names."""
        plain = " ".join(label.casefold().replace("-", " ").replace("_", " ").split())
        start, space, last = plain.rpartition(" ")
        singulars = (start + space + form for form in sorted(word_forms(last)))
        names = (label.casefold(), plain, self.plurals.get(plain, ""), *singulars)
        return next((self.synsets[name] for name in names if name in self.synsets), None)

    def ancestors(self, synset: int) -> Iterator[int]:
        """Yield the synsets above one, the nearest first."""
        level, seen = self.above[synset], set[int]()
        while level:
            new = [each for each in dict.fromkeys(level) if each not in seen]
            yield from new
            seen.update(new)
            level = tuple(parent for each in new for parent in self.above[each])


@cache
def nouns() -> Nouns:
    """Read nouns.txt.xz; build_nouns.py documents its lines."""
    text = lzma.decompress(Path(__file__).with_name("nouns.txt.xz").read_bytes()).decode()
    table, _, plurals = text.partition("\n\n")
    synsets: dict[str, int] = {}
    above: list[tuple[int, ...]] = []
    last: dict[int, int] = {}
    for line, row in enumerate(table.split("\n")):
        depth, names, *others = row.split("\t")
        parent = (last[int(depth) - 1],) if int(depth) else ()
        above.append((*parent, *map(int, others)))
        last[int(depth)] = line
        synsets.update({name: line for name in names.split(",") if name})
    singular_of = dict(row.split("\t", 1) for row in plurals.splitlines())
    return Nouns(MappingProxyType(synsets), tuple(above), MappingProxyType(singular_of))
