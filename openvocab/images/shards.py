"""Images in WebDataset shards (tar files), read as a stream; member names are ids and never used as paths."""

from __future__ import annotations

import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from lzma import LZMAError
from typing import BinaryIO

from openvocab.errors import BadInput, ImageError
from openvocab.images.files import SUFFIXES, open_regular
from openvocab.images.items import Item

__all__ = ["expand_braces", "members", "refuse_truncated"]

MAX_MEMBER_BYTES = 2**29
"""The largest member that is read into memory, in bytes."""

_MAX_NAMES = 1_000_000
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


def expand_braces(pattern: str) -> Iterator[str]:
    """Expand {000..099} and {a,b} as a shell does; numbers keep the width of the first.

    Raises:
        BadInput: A range runs backwards or has more than a million numbers.
    """
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    first, last, words = found.groups()
    if words is None and not 0 <= int(last) - int(first) < _MAX_NAMES:
        raise BadInput(f"{found[0]} in {pattern!r} must count upwards, over at most {_MAX_NAMES} numbers")
    for word in words.split(",") if words is not None else _numbers(first, last):
        for rest in expand_braces(pattern[found.end() :]):
            yield f"{pattern[: found.start()]}{word}{rest}"


def _numbers(first: str, last: str) -> Iterator[str]:
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    return (str(number).zfill(width) for number in range(int(first), int(last) + 1))


def members(path: str, skip: Callable[[str], bool]) -> Iterator[Item]:
    """Yield the images of a shard, with the ids SHARD::MEMBER; the second member of a name gets #2 appended.

    A shard that cannot be opened or is truncated yields an item with the shard's path as its id, and the error.

    Args:
        path: The tar file, plain or compressed.
        skip: Returns whether an id is skipped.
    """
    names: set[str] = set()
    try:
        with open_regular(path) as file, tarfile.open(fileobj=file, mode="r|*", errorlevel=0) as shard:
            while (member := shard.next()) is not None:
                vars(shard)["members"].clear()  # the stream never seeks back, and the list of members would grow
                if member.isreg() and _is_image(member.name):
                    yield _member(shard, member, _unique(f"{path}::{member.name}", names), skip)
            refuse_truncated(file)
    except (tarfile.TarError, EOFError, OSError, zlib.error, LZMAError, ValueError) as error:
        yield Item(path, error=_shard_error(path, error))


def _member(shard: tarfile.TarFile, member: tarfile.TarInfo, name: str, skip: Callable[[str], bool]) -> Item:
    if skip(name):
        return Item(name)
    if member.size > MAX_MEMBER_BYTES:
        message = f"{name!r} has {member.size} bytes, more than the limit of {MAX_MEMBER_BYTES}; make it smaller"
        return Item(name, error=ImageError("too_large", message))
    file = shard.extractfile(member)
    data = b"" if file is None else file.read()
    if len(data) < member.size:
        raise EOFError(f"member {member.name!r} ends early")
    return Item(name, data=data)


def refuse_truncated(file: BinaryIO) -> None:
    """Raise EOFError unless a plain tar file ends in zeros; tarfile takes a truncated header for the end."""
    file.seek(257)
    plain = file.read(5) == b"ustar"
    file.seek(-min(512, file.seek(0, os.SEEK_END)), os.SEEK_END)
    if plain and any(file.read()):
        raise EOFError("it has no end marker")


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _unique(name: str, taken: set[str]) -> str:
    """Return the name, with the first number appended that makes it unique."""
    number, made = 1, name
    while made in taken:
        number += 1
        made = f"{name}#{number}"
    taken.add(made)
    return made


def _shard_error(path: str, error: Exception) -> ImageError:
    cause = " ".join(str(error).split())[:200]
    if isinstance(error, FileNotFoundError):
        return ImageError("missing", f"{path!r} does not exist; check the path")
    if isinstance(error, IsADirectoryError):
        return ImageError("not_a_file", f"{path!r} is not a regular file; give a tar file")
    if isinstance(error, EOFError) or "unexpected end" in cause:
        return ImageError("truncated", f"{path!r} is truncated ({cause}); copy or download it again")
    if isinstance(error, OSError) and error.errno is not None:
        return ImageError("unreadable", f"{path!r} cannot be read ({error.strerror}); check its permissions and disk")
    return ImageError("corrupt", f"{path!r} is not a readable tar file ({cause}); copy or download it again")
