"""One guarded reader for annotation files, which are hostile input.

Only regular files are opened. Sizes, counts, depths and numbers are bounded, and whatever a parser raises becomes one
BadInput that names the file and the place in it.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, OpenVocabError, require
from openvocab.images.files import open_regular
from openvocab.images.read import MAX_PIXELS
from openvocab.images.shards import MAX_MEMBER_BYTES, refuse_truncated

__all__ = [
    "MAX_COORDINATE",
    "check_number",
    "image_size",
    "parse_json",
    "parsing",
    "read_json",
    "read_lines",
    "read_parquet",
    "read_row",
    "read_text",
    "read_xml",
    "read_yaml",
    "regular_files",
    "short_repr",
    "tar_files",
]

MAX_FILE_BYTES = 2**31
"""Bytes of a file that may hold the annotations of a whole set: COCO JSON, CSV, JSON lines, Parquet."""

MAX_SMALL_FILE_BYTES = 2**24
"""Bytes of a file that describes one image or one set: XML, YAML, the labels of an image."""

MAX_VALUES = 50_000_000
"""Objects and lists in a JSON file, rows in a list. The training images of COCO have 4 million."""

MAX_DEPTH = 64
"""Levels of nesting in YAML, whose parser in C does not guard its stack."""

MAX_HEADER_BYTES = 2**16
"""Bytes of an extended header in a tar file, such as a long name."""

MAX_COORDINATE = 1_000_000.0
"""Pixels that an edge or a point may lie from the origin; pycocotools counts in 32-bit integers, five to a pixel."""


# --- errors


@contextmanager
def parsing(what: str, remedy: str) -> Iterator[None]:
    """Turn every exception of a parser into one BadInput.

    Args:
        what: the file and, where known, the place in it.
        remedy: what to do.

    Raises:
        BadInput: anything was raised within, such as RecursionError or MemoryError. Errors of openvocab's pass.
    """
    try:
        yield
    except OpenVocabError:
        raise
    except Exception as error:
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"{what} ({cause}); {remedy}") from error


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = 200


def short_repr(value: object) -> str:
    """Return a value as it may stand in a message: short, whatever it is."""
    return _BRIEF.repr(value)


# --- values


def check_number(value: object, where: str, name: str, smallest: float, largest: float) -> float:
    """Return a number.

    Raises:
        BadInput: value is no number from smallest to largest; the message has where and name.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not smallest <= value <= largest:
        raise BadInput(f"{where}, has {short_repr(value)} for {name}; write a number from {smallest:g} to {largest:g}")
    return float(value)


def image_size(height: object, width: object, where: str) -> tuple[int, int]:
    """Return height and width in pixels.

    Raises:
        BadInput: one is no whole number above 0, or the image is larger than openvocab decodes.
    """
    tall, wide = (
        check_number(height, where, "height", 1, MAX_PIXELS),
        check_number(width, where, "width", 1, MAX_PIXELS),
    )
    if tall * wide > MAX_PIXELS or tall % 1 or wide % 1:
        said = f"is an image of {wide:g} x {tall:g} pixels"
        raise BadInput(f"{where}, {said}; write whole numbers, of at most {MAX_PIXELS} pixels")
    return int(tall), int(wide)


# --- files of text


def read_bytes(path: str, most: int = MAX_FILE_BYTES) -> bytes:
    """Return what a regular file holds.

    Raises:
        BadInput: it is no regular file, has more than that many bytes, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise BadInput(f"{path!r} has {size} bytes, more than the limit of {most}; split it")
            return file.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path!r} is not a file; give the path of a regular file that exists") from error
    except OSError as error:
        raise BadInput(f"{path!r} cannot be read ({error.strerror}); check its links and permissions") from error


def read_text(path: str, most: int = MAX_FILE_BYTES) -> str:
    """Return the UTF-8 text of a regular file, without its byte order mark.

    Raises:
        BadInput: it cannot be read, or is not UTF-8.
    """
    data = read_bytes(path, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path!r} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def read_lines(path: str) -> list[str]:
    """Return the lines of a file, trimmed, without blank ones and those that start with '#'.

    Raises:
        BadInput: it cannot be read as text.
    """
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", read_text(path))]
    return [line for line in lines if line and not line.startswith("#")]


def read_json(path: str) -> Any:
    """Return what a JSON file holds.

    Raises:
        BadInput: it cannot be read, is no JSON, or holds too many values.
    """
    text = read_text(path)
    count = text.count("{") + text.count("[")
    if count > MAX_VALUES:
        raise BadInput(f"{path!r} has {count} objects and lists, more than the limit of {MAX_VALUES}; split it")
    return parse_json(text, repr(path))


def parse_json(text: str, where: str, remedy: str = "save it again") -> Any:
    """Return what a JSON text holds.

    Raises:
        BadInput: it is no JSON, or is nested too deeply; the message begins with where and ends with remedy.
    """
    with parsing(f"{where} is no JSON", remedy):
        return json.loads(text)


def read_yaml(path: str) -> Any:
    """Return what a YAML file holds: mappings, lists and texts, none of which is taken for a number, date or tag.

    Raises:
        BadInput: it cannot be read, is no YAML, is nested too deeply, or repeats a part by an alias.
    """
    import yaml

    text, depth = read_text(path, MAX_SMALL_FILE_BYTES), 0
    with parsing(f"{path!r} is no YAML", "save it again"):
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
                said = f"uses the alias *{event.anchor}" if depth <= MAX_DEPTH else f"is nested over {MAX_DEPTH} deep"
                raise BadInput(f"{path!r}, line {event.start_mark.line + 1}, {said}; write it out plainly")
        return yaml.load(text, Loader=loader)


def read_xml(path: str) -> Any:
    """Return the root element of an XML file.

    Raises:
        BadInput: it cannot be read, is no XML, or defines entities.
        MissingExtra: defusedxml is not installed.
    """
    reader = require("defusedxml.ElementTree", extra="evaluate")
    data = read_bytes(path, MAX_SMALL_FILE_BYTES)
    with parsing(f"{path!r} is no XML that can be read", "mend it"):
        return reader.fromstring(data)


# --- folders


def regular_files(folder: str) -> Iterator[str]:
    """Yield the files of a folder at any depth in the order of their names; links to folders are followed.

    Raises:
        BadInput: a folder cannot be listed, or links lead to the same folder twice.
    """

    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename!r} cannot be listed ({error.strerror}); check its links and permissions")

    seen = set[tuple[int, int]]()
    for here, below, names in os.walk(folder, followlinks=True, onerror=refuse):
        found = os.stat(here)
        if (found.st_dev, found.st_ino) in seen:
            raise BadInput(f"{here!r} is a folder that was read before, under another name; remove the link to it")
        seen.add((found.st_dev, found.st_ino))
        below.sort()
        yield from (os.path.join(here, name) for name in sorted(names))


# --- files of bytes


def read_parquet(path: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, those columns only, by their names in lower case.

    Raises:
        BadInput: it cannot be read, has too many rows, or holds a text that is not UTF-8.
    """
    import pyarrow.parquet as pq

    with parsing(f"{path!r} is no Parquet file", "save it again"), open_regular(path) as opened:
        file = pq.ParquetFile(opened, page_checksum_verification=True)
        count = file.metadata.num_rows
        if not 0 <= count <= MAX_VALUES:
            raise BadInput(f"{path!r} has {count} rows, more than the limit of {MAX_VALUES}; split it")
        wanted = [name for name in file.schema_arrow.names if name.strip().lower() in columns]
        for batch in file.iter_batches(1024, columns=wanted):
            yield from batch.to_pylist()


class _Header(tarfile.TarInfo):
    """A header of a tar file that is refused before anything is read for it."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _Header:
        """Parse 512 bytes.

        Raises:
            ReadError: it is of a sparse file, or says that more follows than may be read into memory.
        """
        made = super().frombuf(buf, encoding, errors)
        limit = MAX_MEMBER_BYTES if made.isreg() else MAX_HEADER_BYTES
        if made.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{made.name!r} is a sparse file")
        if not 0 <= made.size <= limit:
            raise tarfile.ReadError(f"{made.name!r} has {made.size} bytes, more than the limit of {limit}")
        return made


def tar_files(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each regular file in a tar file, plain or compressed, which is read as a stream.

    Raises:
        BadInput: it is no regular file, is broken or cut short, or has a sparse or too large member.
    """
    with (
        parsing(f"{path!r} is broken", "fetch it again"),
        open_regular(path) as file,
        tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header, errorlevel=2) as tar,
    ):
        while (member := tar.next()) is not None:
            vars(tar)["members"].clear()  # a stream is never gone back in, and a list of all members grows
            if member.isreg():
                yield member.name, _content(tar, member)
        refuse_truncated(file)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.issparse() or not 0 <= member.size <= MAX_MEMBER_BYTES:
        raise tarfile.ReadError(f"{member.name!r} is a sparse file or of more than {MAX_MEMBER_BYTES} bytes")
    file = tar.extractfile(member)
    data = b"" if file is None else file.read()
    if len(data) < member.size:
        raise EOFError(f"{member.name!r} ends early")
    return data


def read_row(data: bytes, length: int) -> NDArray[Any] | None:
    """Return the (length,) numbers of a .npy file; None where it is none, or of another shape or type.

    Its header is looked at before memory is asked for, and nothing is unpickled.
    """
    headers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    file = BytesIO(data)
    try:
        shape, _, dtype = headers[np.lib.format.read_magic(file)](file)
        if shape != (length,) or dtype.kind not in "biuf":
            return None
        return np.frombuffer(file.read(), dtype, length)
    except Exception:  # its header is a Python expression, and can be wrong in many ways
        return None
