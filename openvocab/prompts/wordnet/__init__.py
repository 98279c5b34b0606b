"""WordNet's names above the classes of ImageNet-1k, each with the classes below it."""

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

    Attributes:
        classes: Name -> indices of the classes that it means, ascending; the 1,000 classes are in ImageNet's usual
            order.
        plurals: Irregular plural -> singular.
        rare: Names that usually mean something else, which no class shows: "bank" is a piggy bank.
    """

    classes: Mapping[str, tuple[int, ...]]
    plurals: Mapping[str, str]
    rare: frozenset[str]


@cache
def imagenet() -> ImageNetNames:
    """Read imagenet.toml; build.py documents how names with several senses are resolved."""
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
