"""An item: one input of a run, and where its bytes are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openvocab.errors import ImageError

__all__ = ["Item", "Skip"]

Skip = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Item:
    """One input.

    id      unique within its source and the same on every run: the path as given, SHARD::MEMBER, DATASET::ROW, a URL.
            A path that looks like SHARD::MEMBER or DATASET::ROW itself has ".//" before that part, as in
            photos/.//s.tar::a.jpg.
    path    the file to read; None where the bytes are here.
    data    the bytes of the file; None where there is a path.
    image   a Pillow image or an array in place of a file.
    url     the web address to fetch.
    frame   which of its frames or pages is meant, from 0.
    listed  the file was seen in its folder, so that its absence means that it vanished.
    error   why there is nothing to read.

    An item that is to be skipped has neither path, data, image, url nor error.
    """

    id: str
    path: str | None = None
    data: bytes | None = None
    image: Any = None
    url: str | None = None
    listed: bool = False
    error: ImageError | None = None
    frame: int = 0

    @property
    def skipped(self) -> bool:
        """Whether there is nothing to do for it."""
        return all(each is None for each in (self.path, self.data, self.image, self.url, self.error))
