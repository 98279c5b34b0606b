"""A cache of features on disk, so that each image and each text is encoded once.

The cache is one SQLite file in write-ahead mode, which several processes of one machine can share. The key of an image
is the sha256 of its file, the windows and the decode size; that of a text is its label and templates. Both include the
tagger: the sha256 of its weights, its precision, its architecture and its preprocessing.

Every entry has a checksum over its key and columns, verified on reading: a damaged entry counts as missing and is
computed again. A damaged file is renamed, and a new one is started.
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

__all__ = ["CacheEntry", "CacheFailed", "CachedImage", "FeatureCache", "ImageCache", "cached_labels", "open_cache"]

Floats = NDArray[np.float32]
T = TypeVar("T")

_LOG = logging.getLogger("openvocab")

_FILE = "features.sqlite"
_FORMAT = 1
"""Part of every key; incremented when this package changes how it embeds."""
_PATIENCE = 60.0
"""The number of seconds to wait while another process writes."""
_TOGETHER = 500
_TABLE = """create table if not exists features (
    key blob primary key, width integer, height integer, frames integer, count integer, check_sum integer, data blob
)"""
_COLUMNS = "key, width, height, frames, count, check_sum, data"
"""Named in each query, so that SQLite reports a damaged table definition that lacks one."""
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
"""Primary result codes (https://www.sqlite.org/rescode.html) caused by the disk, permissions or other processes."""


@dataclass(frozen=True, eq=False, slots=True)
class CacheEntry:
    """The cached features of an image or a text.

    Attributes:
        width: The width in pixels of the upright image; 0 for a text.
        height: The height in pixels of the upright image; 0 for a text.
        frames: The number of frames in the file; 0 for a text.
        rows: (V, D) float32: the features of the whole image, then those of its windows.
    """

    width: int
    height: int
    frames: int
    rows: Floats


class FeatureCache:
    """Features by key, safe for threads and processes; see open_cache."""

    def __init__(self, folder: Path) -> None:
        """Open or make the file; see open_cache."""
        self._file = folder / _FILE
        self._lock = threading.Lock()
        with _cache_errors(self._file):
            self._connection, self._opened = _connected(self._file)
        try:
            self._do(_set_up)
        except Exception:
            self.close()
            raise

    def find(self, keys: Sequence[bytes]) -> dict[bytes, CacheEntry]:
        """Return the entries of keys, without those that do not match their checksum.

        Raises:
            BadInput: The cache is closed, or the new file in place of a damaged one is damaged too.
            CannotWrite: The file cannot be read, or a damaged file cannot be renamed.
        """
        return self._do(lambda connection: _found(connection, keys))

    def add(self, entries: Iterable[tuple[bytes, CacheEntry]]) -> None:
        """Store entries by key, replacing existing ones.

        Raises:
            BadInput: As find.
            CannotWrite: The disk is full, the folder is read-only, or a damaged file cannot be renamed.
        """
        plain: list[tuple[Any, ...]] = []
        for key, kept in entries:
            data = np.ascontiguousarray(kept.rows, np.float32).tobytes()
            size = (kept.width, kept.height, kept.frames, len(kept.rows))
            plain.append((key, *size, _checksum(key, *size, data), data))
        keys = list({key: None for key, *_ in plain})

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                statement = f"insert or replace into features ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)"
                connection.executemany(statement, plain)
                if len(_found(connection, keys)) < len(keys):
                    raise sqlite3.DatabaseError("entries are not found after they were written")

        self._do(write)

    def close(self) -> None:
        """Close the file once no thread reads from it; later calls raise BadInput.

        Reader threads of a run that ends early finish their current item, and SQLite crashes if a connection is closed
        during a query.
        """
        with self._lock:
            self._connection.close()

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call work with the connection, or with that of a new file if this one turns out to be damaged.

        Raises:
            BadInput, CannotWrite: As find.
        """
        with self._lock, _cache_errors(self._file):
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                if isinstance(error, sqlite3.ProgrammingError) or not (self._moved() or _is_damage(error, self._file)):
                    raise
                self._renew(error)
            return work(self._connection)

    def _moved(self) -> bool:
        """Return whether another process has renamed this file."""
        return _identity_of(self._file) != self._opened

    def _renew(self, error: sqlite3.Error) -> None:
        """Rename the damaged file, unless another process did, and open a new one.

        This is logged, not warned with Python's warnings: a filter may turn a warning into an exception, which would
        become an image's error in a reader thread.
        """
        from filelock import FileLock

        aside = self._file.with_name(f"{_FILE}.damaged")
        self._connection.close()
        with FileLock(f"{self._file}.lock", timeout=_PATIENCE):
            if not self._moved() and self._opened is not None:
                for suffix in ("", "-wal", "-shm"):  # files that other processes have open move too
                    part = self._file.with_name(_FILE + suffix)
                    if part.exists():
                        part.replace(f"{aside}{suffix}")
                message = "warning: %s is damaged (%s); it is renamed to %s, and images are embedded again"
                _LOG.warning(message, self._file, error, aside.name)
            self._connection, self._opened = _connected(self._file)
            _set_up(self._connection)


@contextmanager
def open_cache(folder: str | os.PathLike[str]) -> Iterator[FeatureCache]:
    """Open or create the cache in a folder; a damaged file is renamed, and a warning is logged.

    Raises:
        BadInput: As FeatureCache.find.
        CannotWrite: The folder cannot be written.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cache {str(place)!r} cannot be made a folder ({error.strerror}); give another") from error
    cache = FeatureCache(place)
    try:
        yield cache
    finally:
        cache.close()


@dataclass(frozen=True, eq=False, slots=True)
class CachedImage:
    """An image whose features are cached.

    Attributes:
        decoded: The image's file; without pixels (0 x 0) unless they were requested.
        rows: (V, D) float32 features of the image and its windows.
    """

    decoded: Decoded
    rows: Floats


class ImageCache:
    """The images of one tagger in a cache."""

    def __init__(self, cache: FeatureCache, tagger: Tagger, views: Sequence[object], decode_size: int | None) -> None:
        """Compute the part of the keys that all images share.

        Args:
            cache: The cache.
            tagger: The tagger.
            views: What decides the windows and tiles of an image; see chain.views_key.
            decode_size: See Reading.

        Raises:
            BadInput: The sha256 of the tagger's weights is not known.
        """
        self._cache = cache
        self._start = _digest("image", *_identity(tagger), *views, decode_size)

    def read(
        self, item: Item, decoder: Callable[[Item], Decoded], max_pixels: int, *, pixels: bool
    ) -> Decoded | CachedImage | CacheFailed:
        """Read an item, and decode it only if its features are not cached or pixels are requested.

        Raises:
            ImageError: As decode.decode_item.
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
            return CachedImage(decoder(held), kept.rows)
        return CachedImage(Decoded(NO_PIXELS, digest.hex(), kept.width, kept.height, kept.frames), kept.rows)

    def store(self, images: Iterable[tuple[int, Decoded, Floats]]) -> None:
        """Store images: the frame index, the image, and the (V, D) features of its views.

        Raises:
            BadInput, CannotWrite: As FeatureCache.add.
        """
        self._cache.add(
            (self._key(bytes.fromhex(one.sha256), frame), CacheEntry(one.width, one.height, one.frames, rows))
            for frame, one, rows in images
        )

    def _key(self, digest: bytes, frame: int) -> bytes:
        return self._start + digest + (frame.to_bytes(4, "big") if frame else b"")


@dataclass(frozen=True, slots=True)
class CacheFailed:
    """An error of the cache itself, which ends the run and is not the image's."""

    error: BadInput | CannotWrite


def cached_labels(
    folder: str | os.PathLike[str], tagger: Tagger, labels: Sequence[str], prompts: PromptSet
) -> TextEmbeddings:
    """Return tagger.encode_labels(labels, prompts), and run the text tower only for labels that are not cached.

    A classifier has no text tower and is called directly.

    Raises:
        BadInput: As the tagger or the cache does.
        BadOutput: As the tagger does.
        CannotWrite: As the cache does.
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
            new = {keys[name]: CacheEntry(0, 0, 0, row[None]) for name, row in zip(missing, rows, strict=True)}
            cache.add(new.items())
            found |= new
    return TextEmbeddings(names, prompts, np.concatenate([found[keys[name]].rows for name in names]))


def _connected(file: Path) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
    """Return a connection and the identity of its file."""
    connection = sqlite3.connect(file, timeout=_PATIENCE, check_same_thread=False)
    connection.text_factory = bytes  # a damaged type may make text of a blob
    return connection, _identity_of(file)


def _identity_of(file: Path) -> tuple[int, int] | None:
    """Return (device, inode), which distinguishes files of the same name; None if there is no file."""
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


def _found(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, CacheEntry]:
    """Return the entries of keys whose checksums match."""
    found: dict[bytes, CacheEntry] = {}
    for at in range(0, len(keys), _TOGETHER):
        some = keys[at : at + _TOGETHER]
        query = f"select {_COLUMNS} from features where key in ({','.join('?' * len(some))})"
        for key, width, height, frames, count, check, data in connection.execute(query, some):
            if isinstance(data, bytes) and _checksum(key, width, height, frames, count, data) == check:
                found[key] = CacheEntry(width, height, frames, np.frombuffer(data, np.float32).reshape(count, -1))
    return found


def _checksum(key: Any, width: Any, height: Any, frames: Any, count: Any, data: bytes) -> int:
    """Return the CRC-32 of an entry; the columns of a damaged one may have any type."""
    return zlib.crc32(data, zlib.crc32(repr((key, width, height, frames, count)).encode()))


def _is_damage(error: sqlite3.Error, file: Path) -> bool:
    """Return whether an error means a damaged file, not a fault of the disk, permissions or another process.

    A writable file that SQLite reports as read-only has a damaged header.
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
def _cache_errors(file: Path) -> Iterator[None]:
    """Turn errors of SQLite into BadInput for a damaged file, and CannotWrite for disk and permissions."""
    try:
        yield
    except sqlite3.ProgrammingError as error:  # a DatabaseError too, but the file is sound
        raise BadInput(f"the cache {file} is closed; open it again") from error
    except (sqlite3.OperationalError, OSError) as error:
        message = f"{file} cannot be used ({error}); check the disk and the permissions, or give another folder"
        raise CannotWrite(message) from error
    except sqlite3.DatabaseError as error:
        raise BadInput(f"{file} is damaged ({error}); delete it; images are then embedded again") from error
