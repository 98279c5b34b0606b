"""Write imagenet.toml from WordNet's database files: python -m openvocab.prompts.wordnet.build FOLDER.

FOLDER holds data.noun, index.noun, noun.exc and cntlist.rev of WordNet 3.0, which Debian's package wordnet-base puts
into /usr/share/wordnet; wndb(5WN) and cntlist(5WN) describe them. timm lists the synsets of the classes.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["WordNetNouns", "build", "read_nouns"]

NOT_UNDER = {"n04490091": ("n03770679",)}
"""Synset -> what WordNet puts below it against its own gloss: minivans, made for families, are no trucks."""

ALSO_UNDER = {"n04524313": ("n04019101",), "n03791235": ("n02924116",)}
"""Synset -> what WordNet leaves out: public transport is vehicles, buses are motor vehicles."""

LEAST_SHARE = 0.2
"""A sense counts if it is used more than this share as often as the word's most frequent sense with classes."""

RARE_SHARE, RARE_FROM = 0.1, 10
"""A word usually means something else where senses with classes make less than this share of at least so many uses."""

_HEADER = """\
# The names of ImageNet-1k's classes and of all that stands above them, written by build.py from WordNet 3.0.
# WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. Its license is in LICENSE beside this file.
# classes are indices in ImageNet's usual order, which is that of the synsets' ids.
"""


@dataclass(frozen=True, slots=True)
class WordNetNouns:
    """WordNet's nouns.

    Attributes:
        names: Synset -> its names.
        above: Synset -> its hypernyms.
        senses: Word in lower case -> its synsets, the most usual first.
        uses: (word in lower case, synset) -> how often the sense was met in WordNet's tagged texts.
        plurals: Irregular plural -> singulars.
        instances: The synsets of single things, such as Paris.
    """

    names: Mapping[str, tuple[str, ...]]
    above: Mapping[str, tuple[str, ...]]
    senses: Mapping[str, tuple[str, ...]]
    uses: Mapping[tuple[str, str], int]
    plurals: Mapping[str, tuple[str, ...]]
    instances: frozenset[str]


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a database file below its license."""
    yield from (line for line in path.read_text("utf-8").splitlines() if not line.startswith("  "))


def _spaced(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in words)


def read_nouns(folder: Path) -> WordNetNouns:
    """Return the nouns of WordNet's database files in a folder."""
    names, above = {}, {}
    instances = set()
    for line in _lines(folder / "data.noun"):
        parts = line.partition("|")[0].split()
        synset, count = f"n{parts[0]}", int(parts[3], 16)
        names[synset] = _spaced(parts[4 : 4 + 2 * count : 2])
        links = parts[5 + 2 * count :]
        above[synset] = tuple(f"n{links[at + 1]}" for at, link in enumerate(links) if link in ("@", "@i"))
        if "@i" in links:
            instances.add(synset)
    index = [line.split() for line in _lines(folder / "index.noun")]
    senses = {_spaced(parts[:1])[0]: tuple(f"n{each}" for each in parts[-int(parts[2]) :]) for parts in index}
    uses = {}
    for line in _lines(folder / "cntlist.rev"):
        key, sense, count_text = line.split()
        word = key.partition("%")[0].replace("_", " ")
        if "%1:" in key and int(sense) <= len(senses.get(word, ())):
            uses[word, senses[word][int(sense) - 1]] = int(count_text)
    plurals = {parts[0]: parts[1:] for parts in (_spaced(line.split()) for line in _lines(folder / "noun.exc"))}
    return WordNetNouns(names, above, senses, uses, plurals, frozenset(instances))


def _classes_below(nouns: WordNetNouns, classes: Iterable[str]) -> dict[str, set[int]]:
    """Return synset -> the indices of the classes at or below it."""
    below: dict[str, set[int]] = defaultdict(set)
    for row, leaf in enumerate(classes):
        todo, seen = [leaf], {leaf}
        while todo:
            synset = todo.pop()
            below[synset].add(row)
            todo += [each for each in nouns.above[synset] if each not in seen]
            seen.update(nouns.above[synset])
    for synset, strange in NOT_UNDER.items():
        below[synset] -= set().union(*(below[each] for each in strange))
    for synset, missing in ALSO_UNDER.items():
        below[synset] |= set().union(*(below[each] for each in missing))
    return below


def _meant(
    word: str, below: Mapping[str, set[int]], leaves: frozenset[str], nouns: WordNetNouns
) -> tuple[tuple[str, ...], bool]:
    """Return the synsets that a word means, and whether it names no class and usually means something else."""
    senses = [each for each in nouns.senses[word] if each in below]
    uses = [nouns.uses.get((word, each), 0) for each in senses]
    most = max(nouns.uses.get((word, each), 0) for each in nouns.senses[word])
    kept = tuple(each for each, count in zip(senses, uses, strict=True) if count + 1 > LEAST_SHARE * (max(uses) + 1))
    return kept, most >= RARE_FROM and sum(uses) < RARE_SHARE * most and leaves.isdisjoint(senses)


def _ranges(rows: Iterable[int]) -> str:
    """Write indices as "3,5-9"."""
    ordered = sorted(rows)
    starts = [ordered[0], *(new for old, new in pairwise(ordered) if new > old + 1)]
    ends = [*(old for old, new in pairwise(ordered) if new > old + 1), ordered[-1]]
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True))


def build(folder: Path, classes: Sequence[str]) -> str:
    """Return the text of imagenet.toml.

    Args:
        folder: holds WordNet's database files.
        classes: the 1,000 synsets of ImageNet-1k in their usual order, e.g. "n01440764".
    """
    nouns = read_nouns(folder)
    below = _classes_below(nouns, classes)
    words = sorted({name.lower() for synset in below for name in nouns.names[synset]})
    meant = {word: _meant(word, below, frozenset(classes), nouns) for word in words}
    rows = []
    for synset in sorted(below):
        names = list(dict.fromkeys(word for word in nouns.names[synset] if synset in meant[word.lower()][0]))
        if names:
            written = json.dumps(names, ensure_ascii=False)
            rows.append(f'{synset} = {{ names = {written}, classes = "{_ranges(below[synset])}" }}')
    rare = [f"    {json.dumps(word)}," for word in words if meant[word][1]]
    plurals = [f"{json.dumps(plural)} = {json.dumps(single)}" for plural, single in _plurals(nouns, meant)]
    explained = "# Words that usually mean something else, which no class shows."
    return "\n".join(
        [_HEADER, explained, "rare = [", *rare, "]", "", "[plurals]", *plurals, "", "[synsets]", *rows, ""]
    )


def _plurals(nouns: WordNetNouns, known: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the irregular plurals of known words that are no words of their own, each with its singular."""
    found = {plural: [each for each in singles if each in known] for plural, singles in nouns.plurals.items()}
    return sorted((plural, singles[0]) for plural, singles in found.items() if singles and plural not in known)


def main(folder: str) -> None:
    """Write the file beside this one."""
    from timm.data import ImageNetInfo

    info: Any = ImageNetInfo()
    text = build(Path(folder), info.label_names())
    Path(__file__).with_name("imagenet.toml").write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
