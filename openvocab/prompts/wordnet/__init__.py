"""What stands above ImageNet-1k's classes in WordNet: its names, each with the classes that it means."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

__all__ = ["ImageNetNames", "imagenet"]


@dataclass(frozen=True, slots=True)
class ImageNetNames:
    """Names in lower case.

    classes  name -> indices of the classes that it means, ascending; the 1,000 classes are in ImageNet's usual order.
    plurals  irregular plural -> singular.
    rare     names that usually mean something else, which no class shows: "bank" is a piggy bank.
    """

    classes: Mapping[str, tuple[int, ...]]
    plurals: Mapping[str, str]
    rare: frozenset[str]


@cache
def imagenet() -> ImageNetNames:
    """Read imagenet.toml; build.py says what a name means there that has several senses."""
    data = tomllib.loads(Path(__file__).with_name("imagenet.toml").read_text("utf-8"))
    classes: dict[str, set[int]] = {}
    for synset in data["synsets"].values():
        for name in synset["names"]:
            classes.setdefault(name.lower(), set()).update(_indices(synset["classes"]))
    sorted_classes = {name: tuple(sorted(rows)) for name, rows in classes.items()}
    return ImageNetNames(MappingProxyType(sorted_classes), MappingProxyType(data["plurals"]), frozenset(data["rare"]))


def _indices(ranges: str) -> Iterator[int]:
    """Yield the indices that "3,5-9" means."""
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
