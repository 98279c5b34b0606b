"""Sources: paths, patterns, lists, shards, datasets and web addresses as one stream of items in a stable order.

A path is, depending on what it names: a folder, searched recursively; a Hugging Face `datasets` dataset saved to disk;
a list of paths (.txt, .csv, .parquet); a WebDataset shard (.tar, .tar.gz, .tgz); a pattern with * ? [ ] or {a..b}, if
no file has that name; a web address, if allowed; or a file. Nothing is decoded, and only the current member of a shard
is in memory.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openvocab.errors import BadInput, ImageError
from openvocab.images import datasets_on_disk, lists, shards
from openvocab.images.files import begins_like_image, looks_like_image, touched
from openvocab.images.items import Item, Skip

__all__ = [
    "Images",
    "Names",
    "find_images",
    "is_like_member",
    "is_marked_file",
    "is_web_address",
    "items",
    "refuse_in_memory",
]

SHARDS = (".tar", ".tar.gz", ".tgz")
LISTS = (".txt", ".csv", ".parquet")
_NOT_PLAIN = (*SHARDS, *LISTS)
_LIKE_MEMBER = re.compile(r"[^/]*(?:\.(?:tar|tar\.gz|tgz)::|::[0-9]+$)", re.IGNORECASE)
_FILE_MARK = ".//"
_WEB = re.compile(r"https?://", re.IGNORECASE)

Names = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str] | ImageError]
"""A path, several paths, or a mapping of ids to the path of each or to its error."""

Images = Names | bytes | Image.Image | np.ndarray[Any, Any] | Sequence[Any]
"""Names, or images in memory, alone or mixed with paths: bytes of files, Pillow images and arrays."""


def items(
    named: Images, *, allow_urls: bool = False, skip: Skip = lambda *_: False, without: str | None = None
) -> Iterator[Item]:
    """Yield the items of sources, each once, in the order given and by name within a folder.

    In a folder, files with an image suffix and files whose first bytes are those of an image are inputs; hidden files
    and folders are ignored, and links to folders are not followed. A path given by name is always an input, so that
    reading it reports the error, and so is a folder that cannot be listed. Paths in lists are relative to the current
    folder.

    Args:
        named: One path or several; images in memory, whose ids are their kind and index, such as array-0; or a mapping
            of ids to files, which are read whatever their names are.
        allow_urls: Whether addresses that begin with http:// or https:// are fetched.
        skip: Returns whether an id is skipped; skipped items have nothing to read.
        without: A folder that is ignored wherever it occurs.

    Raises:
        BadInput: A web address is not allowed, a pattern matches nothing, or a list has no column of paths.
        MissingExtra: A source is a dataset, and `datasets` is not installed.
    """
    if isinstance(named, Mapping):
        yield from (Item(name) if skip(name) else _given(name, file) for name, file in named.items())
        return
    walk = _Walk(None if without is None else os.path.realpath(without))
    for index, one in enumerate(_given_list(named)):
        found = _items_of(os.fsdecode(one), walk, allow_urls, skip) if _is_name(one) else [_in_memory(one, index)]
        for item in found:
            yield item if item.skipped or not skip(item.id) else Item(item.id)


def is_like_member(name: str) -> bool:
    """Return whether an id names a member of a shard or a row of a dataset, not a file whose path looks like one."""
    return "::" in name and _LIKE_MEMBER.search(name) is not None and not is_marked_file(name)


def is_marked_file(name: str) -> bool:
    """Return whether an id names a file whose path looks like a member of a shard or a row of a dataset."""
    found = _LIKE_MEMBER.search(name) if "::" in name else None
    return found is not None and name[: found.start()].endswith(_FILE_MARK)


def _file_id(path: str) -> str:
    """Return the id of a file: its path, marked if it looks like a member; the marked path opens the same file."""
    found = _LIKE_MEMBER.search(path) if is_like_member(path) else None
    return path if found is None else f"{path[: found.start()]}{_FILE_MARK}{path[found.start() :]}"


def _unmarked(path: str) -> str:
    """Return the path of a shard or dataset without the mark of files."""
    return re.sub(r"(^|/)\.//+", r"\1", path)


def refuse_in_memory(images: Images) -> None:
    """Refuse images in memory as inputs of a run folder: they have no stable name to resume by.

    Raises:
        BadInput: One of the images is in memory.
    """
    kinds = () if isinstance(images, Mapping) else dict.fromkeys(map(type, _given_list(images)))
    for kind in kinds:
        if not issubclass(kind, str | os.PathLike):
            named = f"a run folder identifies images by their paths, got {kind.__name__}"
            raise BadInput(f"{named}; save the images, or use pipe.run()")


def _given_list(given: Any) -> Sequence[Any]:
    one = isinstance(given, str | os.PathLike | bytes | Image.Image | np.ndarray)
    return [given] if one else list(given)


def _is_name(one: object) -> bool:
    return isinstance(one, str | os.PathLike)


def _in_memory(one: Any, index: int) -> Item:
    if isinstance(one, bytes):
        return Item(f"bytes-{index}", data=one)
    return Item(f"{'array' if isinstance(one, np.ndarray) else 'image'}-{index}", image=one)


def _given(name: str, file: str | os.PathLike[str] | ImageError) -> Item:
    return Item(name, error=file) if isinstance(file, ImageError) else Item(name, os.fsdecode(file))


def find_images(paths: Names) -> list[Path]:
    """Return the image files of files, folders and patterns, each once, in the order given and by name within a folder.

    Lists and shards are not opened; every path that is not a folder is returned as given.

    Args:
        paths: One path or several: files, folders and patterns.

    Raises:
        BadInput: A pattern matches nothing.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    walk = _Walk(None)
    found = (one for path in given for one, wild in _expanded(os.fsdecode(path)) if not wild or _fits_wildcard(one))
    return [Path(item.path or item.id) for one in found for item in walk.folder_or_file(one)]


def is_web_address(text: str) -> bool:
    """Return whether a text begins with http:// or https://."""
    return _WEB.match(text) is not None


class _Walk:
    """Walks files and folders and yields each once; a finished folder is remembered in place of its files."""

    def __init__(self, without: str | None) -> None:
        self._without = without
        self._folders: list[str] = []
        self._files: set[str] = set()

    def new(self, key: str) -> bool:
        """Add a path or an address; return False if it was added before."""
        known = key in self._files
        self._files.add(key)
        return not known

    def folder_or_file(self, path: str, *, listed: bool = False) -> Iterator[Item]:
        """Yield a file, or the files of a folder, except those that were yielded before."""
        if os.path.isdir(path):
            absolute = os.path.abspath(path)
            if not self._reached(absolute):
                yield from self._walk(path, absolute)
                self._folders.append(absolute)
        else:
            yield from self.file(path, listed=listed)

    def file(self, path: str, *, listed: bool = False) -> Iterator[Item]:
        """Yield a path that is no folder, unless it was yielded before."""
        if self.new_file(path):
            yield Item(_file_id(path), path, listed=listed)

    def new_file(self, path: str) -> bool:
        """Add a path that is no folder; return False if it was yielded before."""
        absolute = os.path.abspath(path)
        walked = self._reached(absolute) and os.path.lexists(absolute) and _counts(absolute)
        return not walked and self.new(path if absolute == path else absolute)  # stores no second copy of the text

    def _reached(self, absolute: str) -> bool:
        return any(_reaches(folder, absolute) for folder in self._folders)

    def _walk(self, folder: str, absolute: str) -> Iterator[Item]:
        """Yield the files of a folder by name, with the names of one folder per level in memory."""
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
    """Return whether a file of a folder is an input: an image by name or content, and not a link to a folder."""
    return looks_like_image(path) and not (os.path.islink(path) and os.path.isdir(path))


def _reaches(folder: str, absolute: str) -> bool:
    """Return whether a walk of a folder reaches a path: it is inside, not hidden and not behind a link."""
    if absolute == folder:
        return True
    if not absolute.startswith(os.path.join(folder, "")):
        return False
    parts = os.path.relpath(absolute, folder).split(os.sep)
    above = [os.path.join(folder, *parts[:count]) for count in range(1, len(parts) + os.path.isdir(absolute))]
    return not any(part.startswith(".") for part in parts) and not any(map(os.path.islink, above))


def _items_of(path: str, walk: _Walk, allow_urls: bool, skip: Skip) -> Iterator[Item]:
    """Yield the items of one path or address."""
    if is_web_address(path):
        if not allow_urls:
            raise BadInput(f"{path!r} is a web address; give allow_urls=True to fetch images")
        yield from [Item(path, url=path)] * walk.new(path)
    elif (found := _plain(path)) is not None:
        if walk.new_file(path):
            name = _file_id(path)
            yield Item(name) if skip(name, touched(found)) else Item(name, path)
    elif datasets_on_disk.is_dataset(path):
        yield from datasets_on_disk.rows(_unmarked(path), skip) if walk.new(os.path.abspath(path)) else ()
    elif _is_pattern(path):
        yield from _pattern(path, walk, skip)
    elif path.lower().endswith(SHARDS) and os.path.isfile(path):
        yield from shards.members(_unmarked(path), skip) if walk.new(os.path.abspath(path)) else ()
    elif path.lower().endswith(LISTS) and os.path.isfile(path) and not begins_like_image(path):
        yield from _listed(lists.entries(path), walk, allow_urls)
    else:
        yield from walk.folder_or_file(path)


def _plain(path: str) -> os.stat_result | None:
    """Return the status of a file that is neither a shard nor a list, which most paths of long lists are, or None."""
    if path.lower().endswith(_NOT_PLAIN):
        return None
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _pattern(pattern: str, walk: _Walk, skip: Skip) -> Iterator[Item]:
    """Yield the items of a pattern: folders, shards and images; a wildcard matches no other files.

    Raises:
        BadInput: A wildcard matches nothing.
    """
    for path, wild in _expanded(pattern):
        if path.lower().endswith(SHARDS):
            yield from shards.members(_unmarked(path), skip) if walk.new(os.path.abspath(path)) else ()
        elif not wild or _fits_wildcard(path):
            yield from walk.folder_or_file(path, listed=wild)


def _is_pattern(path: str) -> bool:
    return not os.path.lexists(path) and re.search(r"[*?\[{]", path) is not None


def _fits_wildcard(path: str) -> bool:
    return os.path.isdir(path) or looks_like_image(path)


def _expanded(path: str) -> Iterator[tuple[str, bool]]:
    """Yield the paths of a pattern, each with whether a wildcard matched it; a plain path yields itself.

    Raises:
        BadInput: A wildcard matches nothing.
    """
    for one in shards.expand_braces(path) if _is_pattern(path) else [path]:
        wild = glob.has_magic(one) and not os.path.lexists(one)
        found = sorted(glob.iglob(one, recursive=True)) if wild else [one]
        if not found:
            raise BadInput(f"no file matches {one!r}; check the pattern")
        yield from ((each, wild) for each in found)


def _listed(entries: Iterable[str], walk: _Walk, allow_urls: bool) -> Iterator[Item]:
    """Yield the entries of a list, each once; an address that is not allowed becomes an error item."""
    for entry in entries:
        web = is_web_address(entry)
        if not walk.new(entry if web else os.path.abspath(entry)):
            continue
        if web and not allow_urls:
            message = f"{entry!r} is a web address; give allow_urls=True to fetch images"
            yield Item(entry, error=ImageError("unreadable", message))
        else:
            yield Item(entry, url=entry) if web else Item(_file_id(entry), entry)
