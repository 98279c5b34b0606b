"""One input of a run, and where its bytes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from openvocab.errors import ImageError

__all__ = ["Item", "Skip"]


class Skip(Protocol):
    """Tells a source whether an input is skipped."""

    def __call__(self, name: str, touched: float | None = None, /) -> bool:
        """Return whether an id is skipped.

        Args:
            name: The id.
            touched: See files.touched, of a source that has looked at the file.
        """
        ...


@dataclass(frozen=True, slots=True)
class Item:
    """One input of a run.

    An item with no path, data, image, url or error is skipped.

    Attributes:
        id: The name of the input, unique within its source and the same in every run: the path as given,
            SHARD::MEMBER, DATASET::ROW, or a URL. A path that itself looks like SHARD::MEMBER or DATASET::ROW has
            ".//" before that part, as in photos/.//s.tar::a.jpg.
        path: The file to read.
        data: The bytes of the file.
        image: A Pillow image or an array in place of a file.
        url: The web address to fetch.
        listed: Whether the file was listed in its folder; a missing file has then vanished.
        error: Why the input cannot be read.
        frame: The index of the frame or page to decode.
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
        """Whether the item is skipped."""
        read = self.path is not None or self.data is not None or self.url is not None
        return not read and self.image is None and self.error is None
