"""Embeddings on disk, so that an image or a sentence goes through the tagger once.

One SQLite file in a folder, in write-ahead mode: several processes of one machine may use it together. An image is
named by the sha256 of its file, a text by label and templates; both by the tagger: the sha256 of its weights, its
precision, its architecture and how it prepares what it reads. Windows and scaled decoding are part of an image's key.

Every entry has a checksum over its key and all its columns, which is verified when it is read: a damaged entry is not
found, so it is made anew and replaced. A damaged file is set aside, and a new one begun.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, CannotWrite
from openvocab.images.decode import read_item
from openvocab.images.items import Item
from openvocab.images.read import Decoded
from openvocab.pipeline.protocols import NO_PIXELS, TextEmbeddings
from openvocab.prompts.templates import PromptSet

if TYPE_CHECKING:
    from openvocab.pipeline.protocols import Tagger

__all__ = ["CacheFailed", "EmbeddingCache", "Kept", "Recall", "Recalled", "cached_labels", "open_cache"]

Floats = NDArray[np.float32]
T = TypeVar("T")

_LOG = logging.getLogger("openvocab")

_FILE = "embeddings.sqlite"
_FORMAT = 1
"""Part of every key: raised where this package comes to embed the same thing in another way."""
_PATIENCE = 60.0
"""Seconds to wait while another process writes."""
_TOGETHER = 500
_TABLE = """create table if not exists embeddings (
    key blob primary key, width integer, height integer, frames integer, count integer, check_sum integer, data blob
)"""
_COLUMNS = "key, width, height, frames, count, check_sum, data"
"""Named in each query: a damaged table definition that lacks one of them is an error of SQLite's."""
_REFUSED = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
}
"""The primary result codes (https://www.sqlite.org/rescode.html) that disk, permissions or other processes cause."""


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """What is kept of an image, or of a text, whose size and frames are 0.

    width, height, frames   as in images.Decoded.
    rows                    (V, D) float32: the whole image's embedding first, then those of its windows.
    """

    width: int
    height: int
    frames: int
    rows: Floats


class EmbeddingCache:
    """Embeddings by key; open_cache makes it. Safe for threads and for processes."""

    def __init__(self, folder: Path) -> None:
        """Open or make the file; see open_cache."""
        self._file = folder / _FILE
        self._lock = threading.Lock()
        with _told(self._file):
            self._connection, self._opened = _connected(self._file)
        try:
            self._do(_set_up)
        except Exception:
            self.close()
            raise

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """Return the entries of those keys; one that does not match its checksum is left out.

        Raises:
            BadInput: the cache is closed, or a new file in place of a damaged one is damaged too.
            CannotWrite: the file cannot be read, or a damaged one cannot be set aside.
        """
        return self._do(lambda connection: _found(connection, keys))

    def add(self, entries: Iterable[tuple[bytes, Kept]]) -> None:
        """Keep embeddings, each in place of what there is under its key.

        Raises:
            BadInput: as find.
            CannotWrite: the disk is full, the folder read-only, or a damaged file cannot be set aside.
        """
        plain: list[tuple[Any, ...]] = []
        for key, kept in entries:
            data = np.ascontiguousarray(kept.rows, np.float32).tobytes()
            size = (kept.width, kept.height, kept.frames, len(kept.rows))
            plain.append((key, *size, _checksum(key, *size, data), data))
        keys = list({key: None for key, *_ in plain})

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                told = f"insert or replace into embeddings ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)"
                connection.executemany(told, plain)
                if len(_found(connection, keys)) < len(keys):
                    raise sqlite3.DatabaseError("entries are not found after they were written")

        self._do(write)

    def close(self) -> None:
        """Close the file once no thread reads from it; a thread that still comes after is told that it is closed.

        A run that ends early leaves its readers to finish what they have in hand, and SQLite does not survive a
        connection that is closed under a query.
        """
        with self._lock:
            self._connection.close()

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what work makes of the file, or of a new file where that one is found to be damaged.

        Raises:
            BadInput, CannotWrite: as find.
        """
        with self._lock, _told(self._file):
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                if isinstance(error, sqlite3.ProgrammingError) or not (self._moved() or _is_damage(error, self._file)):
                    raise
                self._renew(error)
            return work(self._connection)

    def _moved(self) -> bool:
        """Whether another process has set this file aside."""
        return _identity_of(self._file) != self._opened

    def _renew(self, error: sqlite3.Error) -> None:
        """Set the damaged file aside, unless another process did, and open the one in its place.

        What is said of it is logged and no warning of Python's, which a filter may turn into an exception; in a thread
        that reads images that would become an image's error.
        """
        from filelock import FileLock

        aside = self._file.with_name(f"{_FILE}.damaged")
        self._connection.close()
        with FileLock(f"{self._file}.lock", timeout=_PATIENCE):
            if not self._moved() and self._opened is not None:
                for suffix in ("", "-wal", "-shm"):  # what other processes have open goes along
                    part = self._file.with_name(_FILE + suffix)
                    if part.exists():
                        part.replace(f"{aside}{suffix}")
                said = "warning: %s is damaged (%s); it is set aside as %s, and images are embedded anew"
                _LOG.warning(said, self._file, error, aside.name)
            self._connection, self._opened = _connected(self._file)
            _set_up(self._connection)


@contextmanager
def open_cache(folder: str | os.PathLike[str]) -> Iterator[EmbeddingCache]:
    """Open or make the cache in a folder; a damaged file is set aside, which is logged as a warning.

    Raises:
        BadInput: as EmbeddingCache.find.
        CannotWrite: the folder cannot be written.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"--cache {str(place)!r} cannot be made a folder ({error.strerror}); name another") from error
    cache = EmbeddingCache(place)
    try:
        yield cache
    finally:
        cache.close()


@dataclass(frozen=True, eq=False, slots=True)
class Recalled:
    """An image that was embedded before: what is known of its file, and the rows of Kept.

    decoded has no pixels (0 x 0), unless they are wanted.
    """

    decoded: Decoded
    rows: Floats


class Recall:
    """One tagger's images in a cache."""

    def __init__(self, cache: EmbeddingCache, tagger: Tagger, windows: int, decode_size: int | None) -> None:
        """Set up.

        Raises:
            BadInput: the digest of the tagger's weights is not known.
        """
        self._cache = cache
        self._start = _digest("image", *_identity(tagger), windows, decode_size)

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
        """Keep images, each with which frame of its file it is and the (V, D) embeddings of its views.

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
    """Why a cache could not be looked into: not the image's error, but the run's."""

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
    from openvocab.models.taggers.dual_encoder import DualEncoder

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


def _connected(file: Path) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
    """Return a connection and which file it is of."""
    connection = sqlite3.connect(file, timeout=_PATIENCE, check_same_thread=False)
    connection.text_factory = bytes  # a damaged type may make text of a blob
    return connection, _identity_of(file)


def _identity_of(file: Path) -> tuple[int, int] | None:
    """Return (device, inode), by which a file and another of the same name are told apart; None where there is none."""
    try:
        known = file.stat()
    except FileNotFoundError:
        return None
    return known.st_dev, known.st_ino


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    with connection:
        connection.execute(_TABLE)


def _found(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Kept]:
    """Return the sound entries of those keys."""
    found: dict[bytes, Kept] = {}
    for at in range(0, len(keys), _TOGETHER):
        some = keys[at : at + _TOGETHER]
        asked = f"select {_COLUMNS} from embeddings where key in ({','.join('?' * len(some))})"
        for key, width, height, frames, count, check, data in connection.execute(asked, some):
            if isinstance(data, bytes) and _checksum(key, width, height, frames, count, data) == check:
                found[key] = Kept(width, height, frames, np.frombuffer(data, np.float32).reshape(count, -1))
    return found


def _checksum(key: Any, width: Any, height: Any, frames: Any, count: Any, data: bytes) -> int:
    """Return the CRC-32 of an entry; a damaged one's columns may be of any type."""
    return zlib.crc32(data, zlib.crc32(repr((key, width, height, frames, count)).encode()))


def _is_damage(error: sqlite3.Error, file: Path) -> bool:
    """Whether the file itself is at fault, not the disk, its permissions or another process.

    A file that calls itself read-only, though it may be written, has a damaged header.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code & 0xFF == sqlite3.SQLITE_READONLY:
        return code == sqlite3.SQLITE_READONLY and os.access(file, os.W_OK)
    return code & 0xFF not in _REFUSED


def _identity(tagger: Tagger) -> tuple[Any, ...]:
    if tagger.record.sha256 is None:
        raise BadInput(f"the sha256 of {tagger.record.spec}'s weights is not known; leave out the cache")
    return tagger.record.sha256, tagger.record.dtype, tagger.preparation


def _digest(*parts: Any) -> bytes:
    return hashlib.sha256(json.dumps([_FORMAT, *parts]).encode()).digest()


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Raise BadInput for a damaged file and CannotWrite for what the disk or its permissions refuse."""
    try:
        yield
    except sqlite3.ProgrammingError as error:  # a DatabaseError too, but the file is sound
        raise BadInput(f"the cache {file} is closed; open it again") from error
    except (sqlite3.OperationalError, OSError) as error:
        message = f"{file} cannot be used ({error}); check the disk and the permissions, or name another --cache"
        raise CannotWrite(message) from error
    except sqlite3.DatabaseError as error:
        raise BadInput(f"{file} is damaged ({error}); delete it, and images are embedded anew") from error
