"""The pictures that the ids of a run mean, found again: files, members of shards, rows of datasets, their frames."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO

from PIL import Image

from openvocab.errors import ImageError
from openvocab.pipeline.batch.decode import decode_item, read_item
from openvocab.pipeline.batch.frames import split_frame
from openvocab.pipeline.batch.rows import Row, text_of
from openvocab.pipeline.batch.sources import SHARDS, Item, is_like_member

__all__ = ["Original", "Originals"]

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass(frozen=True, slots=True)
class Original:
    """A picture as it can be put elsewhere.

    path    the file that holds it and nothing else, where its bytes were not asked for; else None.
    data    its bytes, those of a frame as PNG; None where there is a path.
    suffix  for the name of a file, in lower case with the dot; "" where none is known.
    """

    path: str | None
    data: bytes | None
    suffix: str


class Originals:
    """Finds pictures by their rows; a shard or dataset stays open and is read once, while rows come in its order."""

    def __init__(self) -> None:
        self._source: _Source | None = None

    def close(self) -> None:
        """Close what is open."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def find(self, row: Row, *, read: bool = True) -> Original:
        """Return the picture of a row.

        Args:
            read: return the bytes of a file too.

        Raises:
            ImageError: it is not there, cannot be read, or is another by now.
        """
        error: ImageError | None = None
        for name, frame in _meant(row):
            try:
                return self._original(row, name, frame, read)
            except ImageError as raised:
                error = error or raised
        raise error or ImageError("missing", f"{text_of(row.id)!r} is no picture on this machine; put it back")

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
        """Return the file or the bytes that an id without a frame means.

        Raises:
            ImageError: there is none.
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
        if os.path.isfile(name):  # a Result, or a run of an earlier version, names the file so
            return Item(name, name)
        raise ImageError("missing", f"{text_of(name)!r} is no picture on this machine; put it back, or do without it")


def _meant(row: Row) -> list[tuple[str, int | None]]:
    """Return what an id can mean, likeliest first: a name, and the frame of it; None means the whole file.

    A Result, and a run of an earlier version, may name a file whose own name ends in #frame=N.
    """
    name, frame = split_frame(row.id)
    if frame is None:
        return [(row.id, None)]
    marked: tuple[str, int | None] = (name, None if row.frames == 1 else frame)
    if not os.path.isfile(row.id):
        return [marked]
    return [(row.id, None)] if row.sha256 is None else [marked, (row.id, None)]


def _same(data: bytes, row: Row) -> bytes:
    """Return the bytes if they are those that were answered.

    Raises:
        ImageError: they are others by now.
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
    """Return the suffix for what Pillow takes the bytes for."""
    try:
        with Image.open(BytesIO(data)) as picture:
            return mimetypes.guess_extension(Image.MIME.get(picture.format or "", "")) or ""
    except Exception:  # it was answered, so it can be decoded; a name is not worth an error
        return ""


def _sources(name: str) -> Iterator[str]:
    """Yield the shards and datasets that an id SOURCE::REST can come from."""
    from openvocab.pipeline.batch.datasets_on_disk import is_dataset

    for at in re.finditer("::", name):
        path = name[: at.start()]
        if path.lower().endswith(SHARDS) and os.path.isfile(path):
            yield path
        yield from (folder for folder in (path, os.path.dirname(path)) if is_dataset(folder))


class _Source:
    """A shard or dataset that is gone through forwards, and again from its start for what comes out of order."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._wanted = ""
        self._found: Item | None = None
        self._whole = True
        self._items = self._open()

    def close(self) -> None:
        self._items.close()  # type: ignore[attr-defined]  # a generator

    def find(self, name: str) -> Item | None:
        """Return the item of that id; None where there is none, after which the source is not begun again."""
        if self._found is not None and self._found.id == name:  # the next frame of the same picture
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
        from openvocab.pipeline.batch import datasets_on_disk, shards

        rows = datasets_on_disk.rows if os.path.isdir(self.path) else shards.members
        return rows(self.path, lambda name: name != self._wanted)
