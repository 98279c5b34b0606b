"""Sources: from what the user names to a stream of items, one an input, in a stable order.

A named path is, by what it is: a folder, searched to the bottom; a dataset of Hugging Face `datasets` saved to disk; a
list of paths (.txt, .csv, .parquet); a WebDataset shard (.tar, .tar.gz); a pattern with * ? [ ] or {a..b}, where there
is nothing of that very name; a web address, where they are allowed; else a file. Nothing is decoded here, and no file
is held in memory but the one member of a shard that is handed on.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from openvocab.errors import BadInput, ImageError

__all__ = [
    "Images",
    "Item",
    "Names",
    "find_images",
    "is_like_member",
    "is_marked_file",
    "items",
    "looks_like_picture",
    "refuse_images",
]

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".heic", ".heif", ".hif", ".jxl"),
)
SHARDS = (".tar", ".tar.gz", ".tgz")
LISTS = (".txt", ".csv", ".parquet")
_STRONG = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_LIKE_MEMBER = re.compile(r"[^/]*(?:\.(?:tar|tar\.gz|tgz)::|::[0-9]+$)", re.IGNORECASE)
_FILE_MARK = ".//"
_WEB = re.compile(r"https?://", re.IGNORECASE)

Names = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str] | ImageError]
"""What a caller names: one path, or several; or ids with the file of each, or why there is none."""

Images = Names | bytes | Image.Image | np.ndarray[Any, Any] | Sequence[Any]
"""Names, or images in memory, alone or among paths: bytes of files, Pillow images and arrays."""

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


def items(
    named: Images, *, allow_urls: bool = False, skip: Skip = lambda _: False, without: str | None = None
) -> Iterator[Item]:
    """Yield the inputs that paths mean, each once, in the order given; within a folder, in the order of names.

    Hidden files and folders within folders are passed over and links to folders are not followed. In a folder, files
    with the suffix of a picture count, and those of any other name whose first bytes are a picture's. What is named
    itself is kept whatever it is, so that reading it reports the error, and so is a folder that cannot be listed.
    Paths in lists are taken from the current folder.

    Args:
        named: one path, or several; or a mapping of ids to files, each taken as it is whatever it is called. An image
            in memory has its kind and its place among what was given as its id, such as array-0.
        allow_urls: fetch what begins with http:// or https://.
        skip: tells the ids whose bytes are not wanted; they are yielded with nothing to read.
        without: a folder that is passed over wherever it lies.

    Raises:
        BadInput: a web address that is not allowed, a pattern that fits nothing, or a list without a column of paths.
        MissingExtra: a dataset of `datasets`, and that package is not installed.
    """
    if isinstance(named, Mapping):
        yield from (Item(name) if skip(name) else _given(name, file) for name, file in named.items())
        return
    seen = _Seen(None if without is None else os.path.realpath(without))
    for place, one in enumerate(_given_list(named)):
        found = _named(os.fsdecode(one), seen, allow_urls, skip) if _is_name(one) else [_in_memory(one, place)]
        for item in found:
            yield Item(item.id) if skip(item.id) else item


def is_like_member(name: str) -> bool:
    """Tell whether an id is that of a member of a shard or a row of a dataset, not of a file that looks like one."""
    return _LIKE_MEMBER.search(name) is not None and not is_marked_file(name)


def is_marked_file(name: str) -> bool:
    """Tell whether an id is that of a file whose path looks like a member of a shard or a row of a dataset."""
    found = _LIKE_MEMBER.search(name)
    return found is not None and name[: found.start()].endswith(_FILE_MARK)


def _file_id(path: str) -> str:
    """Return the id of a file: its path, marked where it looks like a member; the mark leads to the same file."""
    found = _LIKE_MEMBER.search(path) if is_like_member(path) else None
    return path if found is None else f"{path[: found.start()]}{_FILE_MARK}{path[found.start() :]}"


def _unmarked(path: str) -> str:
    """Return the path of a shard or dataset without what marks files."""
    return re.sub(r"(^|/)\.//+", r"\1", path)


def refuse_images(images: Images) -> None:
    """Look at what a run folder is to be written of.

    Raises:
        BadInput: an image in memory, whose place is no name that the run could be resumed by.
    """
    odd = None if isinstance(images, Mapping) else next((one for one in _given_list(images) if not _is_name(one)), None)
    if odd is not None:
        kind = type(odd).__name__
        raise BadInput(f"a run folder knows images by their paths, got {kind}; save the images, or use pipe.run()")


def _given_list(given: Any) -> Sequence[Any]:
    one = isinstance(given, str | os.PathLike | bytes | Image.Image | np.ndarray)
    return [given] if one else list(given)


def _is_name(one: object) -> bool:
    return isinstance(one, str | os.PathLike)


def _in_memory(one: Any, place: int) -> Item:
    if isinstance(one, bytes):
        return Item(f"bytes-{place}", data=one)
    return Item(f"{'array' if isinstance(one, np.ndarray) else 'image'}-{place}", image=one)


def _given(name: str, file: str | os.PathLike[str] | ImageError) -> Item:
    return Item(name, error=file) if isinstance(file, ImageError) else Item(name, os.fsdecode(file))


def find_images(paths: Names) -> list[Path]:
    """Return the images that files, folders and patterns mean, each once, in the order given; see items.

    Lists and shards are not opened: what is no folder is returned itself.

    Args:
        paths: files, folders and patterns; one path alone is taken as a list of one.

    Raises:
        BadInput: a pattern fits nothing.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    seen = _Seen(None)
    found = (one for path in given for one, wild in _expanded(os.fsdecode(path)) if not wild or _fits_wildcard(one))
    return [Path(item.path or item.id) for one in found for item in seen.folder_or_file(one)]


def looks_like_picture(path: str) -> bool:
    """Tell from a name, or else from the first bytes of a regular file, whether it is meant as a picture."""
    return path.lower().endswith(SUFFIXES) or _begins_like_picture(path)


def is_web_address(text: str) -> bool:
    """Tell whether a text begins with http:// or https://."""
    return _WEB.match(text) is not None


def open_regular(path: str) -> BinaryIO:
    """Open a regular file to read; no pipe, device or socket is opened, not even one that takes the file's place.

    Raises:
        OSError: there is none, or it may not be read.
        IsADirectoryError: it is not a regular file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise IsADirectoryError(f"{path!r} is not a regular file")
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise IsADirectoryError(f"{path!r} is not a regular file")
    return file


def _begins_like_picture(path: str) -> bool:
    with suppress(OSError, ValueError), open_regular(path) as file:
        head = file.read(12)
        return head.startswith(_STRONG) or (head[:4], head[8:]) == (b"RIFF", b"WEBP") or head[4:] == b"ftypavif"
    return False


class _Seen:
    """What was yielded before, in little memory: named folders stand for all that they hold."""

    def __init__(self, without: str | None) -> None:
        self._without = without
        self._folders: list[str] = []
        self._files: set[str] = set()

    def new(self, key: str) -> bool:
        """Remember a path or an address; False where it was seen before."""
        known = key in self._files
        self._files.add(key)
        return not known

    def folder_or_file(self, path: str, *, listed: bool = False) -> Iterator[Item]:
        """Yield a file, or what lies in a folder, leaving out what was yielded before."""
        absolute = os.path.abspath(path)
        found = any(_reaches(folder, absolute) for folder in self._folders)
        if os.path.isdir(path):
            if not found:
                yield from self._walk(path, absolute)
                self._folders.append(absolute)
        elif not (found and os.path.lexists(absolute) and _counts(absolute)) and self.new(absolute):
            yield Item(_file_id(path), path, listed=listed)

    def _walk(self, folder: str, absolute: str) -> Iterator[Item]:
        """Yield what lies in a folder in the order of names, one folder's names in memory at a time."""
        if absolute in self._folders or (self._without and os.path.realpath(folder) == self._without):
            return
        try:
            with os.scandir(folder or ".") as found:
                names = sorted((each.name, each.is_dir(follow_symlinks=False)) for each in found)
        except OSError:
            yield Item(_file_id(folder), folder)
            return
        for name, is_folder in names:
            below, absolute_below = os.path.join(folder, name), os.path.join(absolute, name)
            if name.startswith("."):
                continue
            if is_folder:
                yield from self._walk(below, absolute_below)
            elif absolute_below not in self._files and _counts(below):
                yield Item(_file_id(below), below, listed=True)


def _counts(path: str) -> bool:
    """Tell whether a name in a folder is an item: no link to a folder, and a picture by name or content."""
    return looks_like_picture(path) and not (os.path.islink(path) and os.path.isdir(path))


def _reaches(folder: str, absolute: str) -> bool:
    """Tell whether a search of the folder comes by that path: it lies there, not hidden and not behind a link."""
    if absolute == folder:
        return True
    if not absolute.startswith(os.path.join(folder, "")):
        return False
    parts = os.path.relpath(absolute, folder).split(os.sep)
    above = [os.path.join(folder, *parts[:count]) for count in range(1, len(parts) + os.path.isdir(absolute))]
    return not any(part.startswith(".") for part in parts) and not any(map(os.path.islink, above))


def _named(path: str, seen: _Seen, allow_urls: bool, skip: Skip) -> Iterator[Item]:
    """Yield what one name means."""
    from openvocab.pipeline.batch import datasets_on_disk, lists, shards

    if is_web_address(path):
        if not allow_urls:
            raise BadInput(f"{path!r} is a web address; add --allow-urls (allow_urls=True) to fetch pictures")
        yield from [Item(path, url=path)] * seen.new(path)
    elif datasets_on_disk.is_dataset(path):
        yield from datasets_on_disk.rows(_unmarked(path), skip) if seen.new(os.path.abspath(path)) else ()
    elif _is_pattern(path):
        yield from _pattern(path, seen, skip)
    elif path.lower().endswith(SHARDS) and os.path.isfile(path):
        yield from shards.members(_unmarked(path), skip) if seen.new(os.path.abspath(path)) else ()
    elif path.lower().endswith(LISTS) and os.path.isfile(path) and not _begins_like_picture(path):
        yield from _listed(lists.entries(path), seen, allow_urls)
    else:
        yield from seen.folder_or_file(path)


def _pattern(pattern: str, seen: _Seen, skip: Skip) -> Iterator[Item]:
    """Yield what braces and wildcards mean: folders, shards and pictures; a wildcard does not mean other files.

    Raises:
        BadInput: a wildcard fits nothing.
    """
    from openvocab.pipeline.batch import shards

    for path, wild in _expanded(pattern):
        if path.lower().endswith(SHARDS):
            yield from shards.members(_unmarked(path), skip) if seen.new(os.path.abspath(path)) else ()
        elif not wild or _fits_wildcard(path):
            yield from seen.folder_or_file(path, listed=wild)


def _is_pattern(path: str) -> bool:
    return not os.path.lexists(path) and re.search(r"[*?\[{]", path) is not None


def _fits_wildcard(path: str) -> bool:
    return os.path.isdir(path) or looks_like_picture(path)


def _expanded(path: str) -> Iterator[tuple[str, bool]]:
    """Yield the paths that a pattern means, and whether a wildcard found each; a plain path is itself.

    Raises:
        BadInput: a wildcard fits nothing.
    """
    from openvocab.pipeline.batch import shards

    for one in shards.expand_braces(path) if _is_pattern(path) else [path]:
        wild = glob.has_magic(one) and not os.path.lexists(one)
        found = sorted(glob.iglob(one, recursive=True)) if wild else [one]
        if not found:
            raise BadInput(f"no file fits {one!r}; check the pattern")
        yield from ((each, wild) for each in found)


def _listed(entries: Iterable[str], seen: _Seen, allow_urls: bool) -> Iterator[Item]:
    """Yield the entries of a list, each once; an address that is not allowed is an error of its own row."""
    for entry in entries:
        web = is_web_address(entry)
        if not seen.new(entry if web else os.path.abspath(entry)):
            continue
        if web and not allow_urls:
            message = f"{entry!r} is a web address; add --allow-urls (allow_urls=True) to fetch pictures"
            yield Item(entry, error=ImageError("unreadable", message))
        else:
            yield Item(entry, url=entry) if web else Item(_file_id(entry), entry)
