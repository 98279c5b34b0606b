"""Write nouns.txt.xz from WordNet's database files: python -m openvocab.prompts.wordnet.build_nouns FOLDER.

See build.py for FOLDER. The file holds WordNet's nouns for things that an image can show, each with its first sense.
A line is a synset: its depth, its names, and the lines of its other parents; its first parent is the nearest line above
that is less deep. After a blank line, each line is an irregular plural and its singular.
"""

from __future__ import annotations

import lzma
import sys
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from openvocab.prompts.wordnet.build import LEAST_SHARE, WordNetNouns, read_nouns

__all__ = ["ROOTS", "build_nouns"]

ROOTS = ("n00002684", "n00021265", "n07555863", "n05220461")
"""The synsets of physical objects, food, solid food and body parts: all that stands below them is written."""

LATER = ("n00007846", "n05220461", "n00017222")
"""Persons, body parts and plants: of senses that are used as often, another one comes first. "mug" is also a fool and a
face, and "peach" a tree."""

SHOWN = {"dolphin": "n02068974", "plant": "n00017222"}
"""Name -> the sense that images show, where WordNet has a fish or a factory first."""


def build_nouns(folder: Path, roots: Sequence[str] = ROOTS) -> str:
    """Return the text of nouns.txt.

    Args:
        folder: Holds WordNet's database files.
        roots: The synsets at the top.
    """
    nouns = read_nouns(folder)
    below: dict[str, list[str]] = defaultdict(list)
    for synset, parents in nouns.above.items():
        for parent in () if synset in nouns.instances else parents:
            below[parent].append(synset)
    ordered = _ordered(roots, below)
    line_of = {synset: line for line, synset in enumerate(ordered)}
    names = _names(nouns, ordered)
    lines = []
    for synset, (depth, parent) in ordered.items():
        others = [str(line_of[each]) for each in nouns.above[synset] if each in line_of and each != parent]
        lines.append("\t".join([str(depth), ",".join(names[synset]), *others]) + "\n")
    known = {name for each in names.values() for name in each}
    plurals = {plural: next((each for each in ones if each in known), "") for plural, ones in nouns.plurals.items()}
    rest = [f"{plural}\t{one}\n" for plural, one in sorted(plurals.items()) if one and plural not in known]
    return "".join([*lines, "\n", *rest])


def _ordered(roots: Sequence[str], below: Mapping[str, list[str]]) -> dict[str, tuple[int, str]]:
    """Return the synsets below the roots, each once and below a parent, with its depth and that parent."""
    found: dict[str, tuple[int, str]] = {}
    todo = [(root, 0, "") for root in reversed(roots)]
    while todo:
        synset, depth, parent = todo.pop()
        if synset not in found:
            found[synset] = depth, parent
            todo += [(each, depth + 1, synset) for each in sorted(below.get(synset, ()), reverse=True)]
    return found


def _names(nouns: WordNetNouns, found: Mapping[str, tuple[int, str]]) -> dict[str, list[str]]:
    """Return synset -> its names without capitals that mean it."""
    later = {synset for synset in found if _stands_below(synset, LATER, found)}
    meant = {word: _meant(word, nouns, found, later) for word in nouns.senses}
    return {
        synset: [name for name in nouns.names[synset] if name == name.lower() and meant[name] == synset]
        for synset in found
    }


def _stands_below(synset: str, tops: Container[str], found: Mapping[str, tuple[int, str]]) -> bool:
    while synset and synset not in tops:
        synset = found[synset][1]
    return bool(synset)


def _meant(word: str, nouns: WordNetNouns, found: Container[str], later: Container[str]) -> str:
    """Return the synset that a word means, or "" where it usually means something else."""
    uses = {synset: nouns.uses.get((word, synset), 0) for synset in nouns.senses[word]}
    shown = [synset for synset in uses if synset in found]
    best = max(shown, key=lambda synset: (uses[synset], synset not in later), default="")
    best = SHOWN.get(word, best)
    return best if best and uses[best] + 1 > LEAST_SHARE * (max(uses.values()) + 1) else ""


def main(folder: str) -> None:
    """Write the file beside this one."""
    packed = lzma.compress(build_nouns(Path(folder)).encode(), preset=9 | lzma.PRESET_EXTREME)
    Path(__file__).with_name("nouns.txt.xz").write_bytes(packed)


if __name__ == "__main__":
    main(sys.argv[1])
