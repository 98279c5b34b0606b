"""Finding the original image of a row: a file, a member of a shard or a row of a dataset, and its frame."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO

from PIL import Image

from openvocab.batch.rows import Row, text_of
from openvocab.errors import ImageError
from openvocab.images.decode import decode_item, read_item
from openvocab.images.frames import split_frame
from openvocab.images.items import Item
from openvocab.images.sources import SHARDS, is_like_member

__all__ = ["Original", "Originals"]

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass(frozen=True, slots=True)
class Original:
    """The original image of a row, to be linked or copied.

    Attributes:
        path: The file that contains only this image, if its bytes were not requested.
        data: The bytes of the image, or of a frame as PNG, if there is no path.
        suffix: The lower-case suffix with the dot, or "" if it is not known.
    """

    path: str | None
    data: bytes | None
    suffix: str


class Originals:
    """Finds images by their rows; a shard or dataset stays open and is read once for rows in its order."""

    def __init__(self) -> None:
        self._source: _Source | None = None

    def close(self) -> None:
        """Close the open shard or dataset."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def find(self, row: Row, *, read: bool = True) -> Original:
        """Return the original image of a row.

        Args:
            row: The row.
            read: Whether the bytes of a file are returned.

        Raises:
            ImageError: The image is missing, cannot be read, or has changed.
        """
        error: ImageError | None = None
        for name, frame in _meant(row):
            try:
                return self._original(row, name, frame, read)
            except ImageError as raised:
                error = error or raised
        raise error or ImageError("missing", f"{text_of(row.id)!r} is not an image on this machine; restore it")

    def _original(self, row: Row, name: str, frame: int | None, read: bool) -> Original:
        item = self._item(name)
        ending = os.path.splitext(name)[1]
        suffix = ending.lower() if _SUFFIX.fullmatch(ending) else ""
        if item.path is not None and frame is None and not read:
            if row.sha256 is not None:
                _same(read_item(item), row)
            return Original(item.path, None, suffix)
        return _read(item, row, frame, suffix)

    def _item(self, name: str) -> Item:
        """Return the item of an id without a frame.

        Raises:
            ImageError: There is none.
        """
        if os.path.isfile(name) and not is_like_member(name):
            return Item(name, name)
        for place in _sources(name):
            if self._source is None or self._source.path != place:
                self.close()
                self._source = _Source(place)
            found = self._source.find(name)
            if found is not None:
                return found
        if os.path.isfile(name):  # as a Result, or a run of an earlier version, names the file
            return Item(name, name)
        raise ImageError("missing", f"{text_of(name)!r} is not an image on this machine; restore it")


def _meant(row: Row) -> list[tuple[str, int | None]]:
    """Return the possible meanings of an id, most likely first: a name, and a frame or None for the whole file.

    A Result, or a run of an earlier version, may name a file whose own name ends in #frame=N.
    """
    name, frame = split_frame(row.id)
    if frame is None:
        return [(row.id, None)]
    marked: tuple[str, int | None] = (name, None if row.frames == 1 else frame)
    if not os.path.isfile(row.id):
        return [marked]
    return [(row.id, None)] if row.sha256 is None else [marked, (row.id, None)]


def _same(data: bytes, row: Row) -> bytes:
    """Return the bytes if their digest is that of the row.

    Raises:
        ImageError: The image has changed.
    """
    if row.sha256 is not None and hashlib.sha256(data).hexdigest() != row.sha256:
        raise ImageError("vanished", f"{text_of(row.id)!r} has changed since it was answered; run it again")
    return data


def _read(item: Item, row: Row, frame: int | None, suffix: str) -> Original:
    data = _same(read_item(item), row)
    if frame is None:
        return Original(None, data, suffix or _suffix(data))
    pixels = decode_item(replace(item, data=data, path=None, frame=frame)).pixels
    with BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return Original(None, file.getvalue(), ".png")


def _suffix(data: bytes) -> str:
    """Return the suffix of the format that Pillow detects."""
    try:
        with Image.open(BytesIO(data)) as image:
            return mimetypes.guess_extension(Image.MIME.get(image.format or "", "")) or ""
    except Exception:  # it was decoded before; a missing suffix is not worth an error
        return ""


def _sources(name: str) -> Iterator[str]:
    """Yield the shards and datasets that an id SOURCE::REST can belong to."""
    from openvocab.images.datasets_on_disk import is_dataset

    for at in re.finditer("::", name):
        path = name[: at.start()]
        if path.lower().endswith(SHARDS) and os.path.isfile(path):
            yield path
        yield from (folder for folder in (path, os.path.dirname(path)) if is_dataset(folder))


class _Source:
    """A shard or dataset that is read forwards, and again from its start for an id that is out of order."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._wanted = ""
        self._found: Item | None = None
        self._whole = True
        self._items = self._open()

    def close(self) -> None:
        self._items.close()  # type: ignore[attr-defined]  # a generator

    def find(self, name: str) -> Item | None:
        """Return the item of an id, or None; after the first missing id the source is not restarted."""
        if self._found is not None and self._found.id == name:  # the next frame of the same image
            return self._found
        self._wanted = name
        self._found = self._next()
        if self._found is None and self._whole:
            self.close()
            self._items = self._open()
            self._found = self._next()
            self._whole = self._found is not None
        return self._found

    def _next(self) -> Item | None:
        return next((item for item in self._items if item.id == self._wanted), None)

    def _open(self) -> Iterator[Item]:
        from openvocab.images import datasets_on_disk, shards

        rows = datasets_on_disk.rows if os.path.isdir(self.path) else shards.members
        return rows(self.path, lambda name: name != self._wanted)
