"""Embeddings on disk, so that a picture or a sentence goes through the tagger once.

One SQLite file in a folder, in write-ahead mode: several processes of one machine may use it together. A picture is
named by the sha256 of its file, a text by label and templates; both by the tagger: the sha256 of its weights, its
precision, its architecture and how it prepares what it reads. Windows and scaled decoding are part of a picture's key.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, CannotWrite
from openvocab.pipeline.batch.decode import read_item
from openvocab.pipeline.batch.sources import Item
from openvocab.pipeline.images import Decoded
from openvocab.pipeline.stages import NO_PIXELS, TextEmbeddings
from openvocab.prompts.templates import PromptSet

if TYPE_CHECKING:
    from openvocab.pipeline.stages import Tagger

__all__ = ["CacheFailed", "EmbeddingCache", "Kept", "Recall", "Recalled", "cached_labels", "open_cache"]

Floats = NDArray[np.float32]

_FILE = "embeddings.sqlite"
_FORMAT = 1
"""Part of every key: raised where this package comes to embed the same thing in another way."""
_PATIENCE = 60.0
"""Seconds to wait while another process writes."""
_TOGETHER = 500
_TABLE = """create table if not exists embeddings (
    key blob primary key, width integer, height integer, frames integer, count integer, check_sum integer, data blob
)"""


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """What is kept of a picture, or of a text, whose size and frames are 0.

    width, height, frames   as in images.Decoded.
    rows                    (V, D) float32: the whole picture's embedding first, then those of its windows.
    """

    width: int
    height: int
    frames: int
    rows: Floats


class EmbeddingCache:
    """Embeddings by key; open_cache makes it. Safe for threads and for processes."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self._folder, self._connection = folder, connection
        self._lock = threading.Lock()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """Return what there is of those keys.

        Raises:
            BadInput: the file is damaged.
            CannotWrite: it cannot be read.
        """
        found: dict[bytes, Kept] = {}
        with self._lock, _told(self._folder):
            for at in range(0, len(keys), _TOGETHER):
                some = keys[at : at + _TOGETHER]
                asked = f"select * from embeddings where key in ({','.join('?' * len(some))})"
                for key, width, height, frames, count, check, data in self._connection.execute(asked, some):
                    if zlib.crc32(data) != check:
                        raise sqlite3.DatabaseError("an embedding does not match its checksum")
                    found[key] = Kept(width, height, frames, np.frombuffer(data, np.float32).reshape(count, -1))
        return found

    def add(self, entries: Iterable[tuple[bytes, Kept]]) -> None:
        """Keep embeddings; of what is there already the first is left.

        Raises:
            BadInput: the file is damaged.
            CannotWrite: the disk is full, or the folder read-only.
        """
        plain = []
        for key, kept in entries:
            data = np.ascontiguousarray(kept.rows, np.float32).tobytes()
            plain.append((key, kept.width, kept.height, kept.frames, len(kept.rows), zlib.crc32(data), data))
        with self._lock, _told(self._folder), self._connection:
            self._connection.executemany("insert or ignore into embeddings values (?, ?, ?, ?, ?, ?, ?)", plain)

    def close(self) -> None:
        """Close the file once no thread reads from it; a thread that still comes after is told that it is closed.

        A run that ends early leaves its readers to finish what they have in hand, and SQLite does not survive a
        connection that is closed under a query.
        """
        with self._lock:
            self._connection.close()


@contextmanager
def open_cache(folder: str | os.PathLike[str]) -> Iterator[EmbeddingCache]:
    """Open or make the cache in a folder.

    Raises:
        BadInput: its file is no cache, or damaged.
        CannotWrite: the folder cannot be written.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"--cache {str(place)!r} cannot be made a folder ({error.strerror}); name another") from error
    with _told(place):
        connection = sqlite3.connect(place / _FILE, timeout=_PATIENCE, check_same_thread=False)
    cache = EmbeddingCache(place, connection)
    try:
        with _told(place):
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            with connection:
                connection.execute(_TABLE)
        yield cache
    finally:
        cache.close()


@dataclass(frozen=True, eq=False, slots=True)
class Recalled:
    """A picture that was embedded before: what is known of its file, and the rows of Kept.

    decoded has no pixels (0 x 0), unless they are wanted.
    """

    decoded: Decoded
    rows: Floats


class Recall:
    """One tagger's pictures in a cache."""

    def __init__(self, cache: EmbeddingCache, tagger: Tagger, windows: int, decode_size: int | None) -> None:
        """Set up.

        Raises:
            BadInput: the digest of the tagger's weights is not known.
        """
        self._cache = cache
        self._start = _digest("picture", *_identity(tagger), windows, decode_size)

    def read(
        self, item: Item, decoder: Callable[[Item], Decoded], max_pixels: int, *, pixels: bool
    ) -> Decoded | Recalled | CacheFailed:
        """Read the bytes of an item, and decode them only where they are not known, or pixels are wanted.

        Raises:
            ImageError: as decode.decode_item.
        """
        data = read_item(item, max_pixels)
        digest = hashlib.sha256(data).digest()
        held = replace(item, data=data, path=None, url=None)
        try:
            key = self._key(digest, item.frame)
            kept = self._cache.find([key]).get(key)
        except (BadInput, CannotWrite) as error:
            return CacheFailed(error.with_traceback(None))
        if kept is None or kept.width * kept.height > max_pixels:
            return decoder(held)
        if pixels:
            return Recalled(decoder(held), kept.rows)
        return Recalled(Decoded(NO_PIXELS, digest.hex(), kept.width, kept.height, kept.frames), kept.rows)

    def keep(self, seen: Iterable[tuple[int, Decoded, Floats]]) -> None:
        """Keep pictures, each with which frame of its file it is and the (V, D) embeddings of its views.

        Raises:
            BadInput, CannotWrite: as EmbeddingCache.add.
        """
        self._cache.add(
            (self._key(bytes.fromhex(one.sha256), frame), Kept(one.width, one.height, one.frames, rows))
            for frame, one, rows in seen
        )

    def _key(self, digest: bytes, frame: int) -> bytes:
        return self._start + digest + (frame.to_bytes(4, "big") if frame else b"")


@dataclass(frozen=True, slots=True)
class CacheFailed:
    """Why a cache could not be looked into: not the picture's error, but the run's."""

    error: BadInput | CannotWrite


def cached_labels(
    folder: str | os.PathLike[str], tagger: Tagger, labels: Sequence[str], prompts: PromptSet
) -> TextEmbeddings:
    """Return tagger.encode_labels(labels, prompts), with only new labels through its text tower.

    A classifier, which has no text tower, is simply asked.

    Raises:
        BadInput, BadOutput: as the tagger does; as the cache does.
        CannotWrite: as the cache does.
    """
    from openvocab.pipeline.taggers.dual_encoder import DualEncoder

    if not isinstance(tagger, DualEncoder):
        return tagger.encode_labels(labels, prompts)
    names = tagger.check_labels(labels, prompts)
    start = _digest("text", *_identity(tagger), tagger.text_preparation, prompts.templates)
    keys = {name: start + _digest(name) for name in names}
    with open_cache(folder) as cache:
        found = cache.find(list(keys.values()))
        missing = [name for name in names if keys[name] not in found]
        if missing:
            rows = tagger.embed(missing, prompts)
            new = {keys[name]: Kept(0, 0, 0, row[None]) for name, row in zip(missing, rows, strict=True)}
            cache.add(new.items())
            found |= new
    return TextEmbeddings(names, prompts, np.concatenate([found[keys[name]].rows for name in names]))


def _identity(tagger: Tagger) -> tuple[Any, ...]:
    if tagger.record.sha256 is None:
        raise BadInput(f"the sha256 of {tagger.record.spec}'s weights is not known; leave out the cache")
    return tagger.record.sha256, tagger.record.dtype, tagger.preparation


def _digest(*parts: Any) -> bytes:
    return hashlib.sha256(json.dumps([_FORMAT, *parts]).encode()).digest()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Raise BadInput for a damaged file and CannotWrite for what the disk or its permissions refuse."""
    try:
        yield
    except sqlite3.ProgrammingError as error:  # a DatabaseError too, but the file is sound
        raise BadInput(f"the cache {folder / _FILE} is closed; open it again") from error
    except sqlite3.OperationalError as error:
        message = (
            f"{folder / _FILE} cannot be used ({error}); check the disk and the permissions, or name another --cache"
        )
        raise CannotWrite(message) from error
    except sqlite3.DatabaseError as error:
        raise BadInput(f"{folder / _FILE} is damaged ({error}); delete it, and pictures are embedded anew") from error
