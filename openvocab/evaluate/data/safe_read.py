"""Reader of annotation files, which may be hostile.

Only regular files are opened. Sizes, counts, depths and numbers are bounded, and any exception of a parser becomes one
BadInput that names the file and the position in it.
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
    "path_inside",
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
"""Maximum size in bytes of a file with the annotations of a whole data set: COCO JSON, CSV, JSON lines, Parquet."""

MAX_SMALL_FILE_BYTES = 2**24
"""Maximum size in bytes of a file that describes one image or one data set: XML, YAML, the labels of an image."""

MAX_VALUES = 50_000_000
"""Maximum number of objects and lists in a JSON file, or of rows in a list. COCO's train2017 has 4 million."""

MAX_DEPTH = 64
"""Maximum nesting of YAML, whose C parser does not limit its stack."""

MAX_HEADER_BYTES = 2**16
"""Maximum size in bytes of an extended header in a tar file, such as a long name."""

MAX_COORDINATE = 1_000_000.0
"""Maximum coordinate in pixels; pycocotools computes in 32-bit integers of a fifth of a pixel."""


# --- errors


@contextmanager
def parsing(what: str, remedy: str) -> Iterator[None]:
    """Turn every exception of a parser into one BadInput.

    Args:
        what: The file and, if known, the position in it.
        remedy: What to do.

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
    """Return a short representation of any value, for messages."""
    return _BRIEF.repr(value)


# --- values


def path_inside(folder: str, name: str, where: str) -> str:
    """Return the path of a name in a folder.

    Args:
        folder: The folder.
        name: The name that an annotation file gives.
        where: What gives it, in the message.

    Raises:
        BadInput: it leads out of the folder.
    """
    file, whole = os.path.join(folder, name), os.path.abspath(folder)
    if os.path.commonpath([whole, os.path.abspath(file)]) != whole:
        raise BadInput(
            f"{where} names {short_repr(name)}, outside {whole!r}; give the folder of all images as images=FOLDER"
        )
    return file


def check_number(value: object, where: str, name: str, smallest: float, largest: float) -> float:
    """Return a number.

    Raises:
        BadInput: value is not a number from smallest to largest; the message has where and name.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not smallest <= value <= largest:
        raise BadInput(f"{where}, has {short_repr(value)} for {name}; write a number from {smallest:g} to {largest:g}")
    return float(value)


def image_size(height: object, width: object, where: str) -> tuple[int, int]:
    """Return height and width in pixels.

    Raises:
        BadInput: one is not a positive integer, or the image is larger than openvocab decodes.
    """
    tall, wide = (
        check_number(height, where, "height", 1, MAX_PIXELS),
        check_number(width, where, "width", 1, MAX_PIXELS),
    )
    if tall * wide > MAX_PIXELS or tall % 1 or wide % 1:
        message = f"is an image of {wide:g} x {tall:g} pixels"
        raise BadInput(f"{where}, {message}; write integers, for at most {MAX_PIXELS} pixels")
    return int(tall), int(wide)


# --- files of text


def read_bytes(path: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        BadInput: it is not a regular file, has more than max_bytes, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                raise BadInput(f"{path!r} has {size} bytes, more than the limit of {max_bytes}; split it")
            return file.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path!r} is not a file; give the path of a regular file that exists") from error
    except OSError as error:
        raise BadInput(f"{path!r} cannot be read ({error.strerror}); check its links and permissions") from error


def read_text(path: str, max_bytes: int = MAX_FILE_BYTES) -> str:
    """Return the UTF-8 text of a regular file, without its byte order mark.

    Raises:
        BadInput: it cannot be read, or is not UTF-8.
    """
    data = read_bytes(path, max_bytes)
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
    """Return the value of a JSON file.

    Raises:
        BadInput: it cannot be read, is not JSON, or has too many values.
    """
    text = read_text(path)
    count = text.count("{") + text.count("[")
    if count > MAX_VALUES:
        raise BadInput(f"{path!r} has {count} objects and lists, more than the limit of {MAX_VALUES}; split it")
    return parse_json(text, repr(path))


def parse_json(text: str, where: str, remedy: str = "save it again") -> Any:
    """Return the value of a JSON string.

    Raises:
        BadInput: it is not JSON, or is nested too deeply; the message begins with where and ends with remedy.
    """
    with parsing(f"{where} is not JSON", remedy):
        return json.loads(text)


def read_yaml(path: str) -> Any:
    """Return the value of a YAML file: mappings, lists and strings; numbers, dates and tags stay strings.

    Raises:
        BadInput: it cannot be read, is not YAML, is nested too deeply, or uses an alias.
    """
    import yaml

    text, depth = read_text(path, MAX_SMALL_FILE_BYTES), 0
    with parsing(f"{path!r} is not YAML", "save it again"):
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
                message = (
                    f"uses the alias *{event.anchor}" if depth <= MAX_DEPTH else f"is nested over {MAX_DEPTH} deep"
                )
                raise BadInput(f"{path!r}, line {event.start_mark.line + 1}, {message}; write it out plainly")
        return yaml.load(text, Loader=loader)


def read_xml(path: str) -> Any:
    """Return the root element of an XML file.

    Raises:
        BadInput: it cannot be read, is no XML, or defines entities.
        MissingExtra: defusedxml is not installed.
    """
    reader = require("defusedxml.ElementTree", extra="evaluate")
    data = read_bytes(path, MAX_SMALL_FILE_BYTES)
    with parsing(f"{path!r} is not readable XML", "correct it"):
        return reader.fromstring(data)


# --- folders


def regular_files(folder: str) -> Iterator[str]:
    """Yield the files of a folder at any depth, sorted by name; links to folders are followed.

    Raises:
        BadInput: a folder cannot be listed, or links lead to the same folder twice.
    """

    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename!r} cannot be listed ({error.strerror}); check its links and permissions")

    seen = set[tuple[int, int]]()
    for here, below, names in os.walk(folder, followlinks=True, onerror=refuse):
        found = os.stat(here)
        if (found.st_dev, found.st_ino) in seen:
            raise BadInput(f"{here!r} was already read under another name; remove the link")
        seen.add((found.st_dev, found.st_ino))
        below.sort()
        yield from (os.path.join(here, name) for name in sorted(names))


# --- files of bytes


def read_parquet(path: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file with some of its columns, by their names in lower case.

    Raises:
        BadInput: it cannot be read, has too many rows, or has a string that is not UTF-8.
    """
    import pyarrow.parquet as pq

    with parsing(f"{path!r} is not a Parquet file", "save it again"), open_regular(path) as opened:
        file = pq.ParquetFile(opened, page_checksum_verification=True)
        count = file.metadata.num_rows
        if not 0 <= count <= MAX_VALUES:
            raise BadInput(f"{path!r} has {count} rows, more than the limit of {MAX_VALUES}; split it")
        wanted = [name for name in file.schema_arrow.names if name.strip().lower() in columns]
        for batch in file.iter_batches(1024, columns=wanted):
            yield from batch.to_pylist()


class _Header(tarfile.TarInfo):
    """A tar header that is checked before anything is read for it."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _Header:
        """Parse 512 bytes.

        Raises:
            ReadError: the file is sparse, or larger than may be read into memory.
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
        BadInput: it is not a regular file, is broken or truncated, or has a sparse or too large member.
    """
    with (
        parsing(f"{path!r} is broken", "download it again"),
        open_regular(path) as file,
        tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header, errorlevel=2) as tar,
    ):
        while (member := tar.next()) is not None:
            vars(tar)["members"].clear()  # a stream is not rewound, and the list of all members would grow
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
    """Return the (length,) numbers of a .npy file; None if it is invalid or has another shape or type.

    The header is checked before memory is allocated, and nothing is unpickled.
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
    except Exception:  # its header is a Python expression and can raise anything
        return None
