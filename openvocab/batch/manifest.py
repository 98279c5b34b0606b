"""The manifest of a run's parts, parts.jsonl: one line per part, which detects parts that are damaged or missing.

The line of a new part is written after the part; that of a replaced or removed part is written before. A part is
therefore valid if it matches one of its last two lines, or has no line yet and can be read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openvocab.batch.atomic import append_line, cannot_write, sync_folder, write_atomic
from openvocab.batch.part_files import part_files, read_keys, read_part, readable
from openvocab.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DAMAGED", "PARTS", "Line", "add_line", "faults", "gone", "line_of", "mend", "sound_parts", "verified"]

PARTS = "parts.jsonl"
DAMAGED = ".damaged"
"""The suffix of a damaged part that was renamed."""
_TAIL = 8
"""The size of the end of a Parquet file: the length of its footer, 4 bytes little-endian, and PAR1."""
_LOG = logging.getLogger("openvocab")


@dataclass(frozen=True, slots=True)
class Line:
    """The manifest's record of a part; that of a removed part has 0 bytes.

    Attributes:
        name: The file name.
        rows: The number of rows.
        bytes: The size of the file.
        sha256: The digest of the whole file.
        footer: The sha256 of the footer, including its length and the PAR1 marker.
    """

    name: str
    rows: int
    bytes: int
    sha256: str
    footer: str


def line_of(name: str, data: Any, rows: int) -> Line:
    """Return the line of a part with the given bytes."""
    view = memoryview(data)
    size = _TAIL + int.from_bytes(view[-_TAIL:-4], "little")
    return Line(name, rows, len(view), hashlib.sha256(view).hexdigest(), hashlib.sha256(view[-size:]).hexdigest())


def gone(name: str) -> Line:
    """Return the line of a removed part."""
    return Line(name, 0, 0, "", "")


def add_line(folder: Path, line: Line) -> None:
    """Append a line to the manifest.

    Raises:
        CannotWrite: The disk is full, or the folder is read-only.
    """
    append_line(folder / PARTS, _text(line))


def verified(part: Path) -> pa.Buffer:
    """Return the bytes of a part after checking them against its line.

    Raises:
        BadInput: The bytes differ from the line, or cannot be read.
    """
    import pyarrow as pa

    with readable(part):
        data = part.read_bytes()
        lines = _lines(part.parent).get(part.name, ())  # read after the bytes, since a part is replaced after its line
        if lines and all((each.bytes, each.sha256) != _whole(data) for each in lines):
            raise ValueError("its bytes are not those that were written")
    return pa.py_buffer(data)


def sound_parts(folder: Path) -> list[Path]:
    """Return the parts of a run in order, after checking their sizes and footers against the manifest.

    Raises:
        BadInput: A part is missing, damaged or duplicated.
    """
    found = faults(folder) and faults(folder)  # twice, since a part may be replaced in between
    for name, (cause, remedy) in found.items():
        raise BadInput(f"{folder / name} {cause}; {remedy}")
    return part_files(folder)


def faults(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the parts of a run whose size or footer is wrong: (cause, remedy) by name."""
    lines, found = _lines(folder), dict[str, tuple[str, str]]()
    parts = {part.name: part for part in part_files(folder)}
    digests = {kept[-1].sha256: name for name, kept in lines.items()}
    for name, kept in lines.items():
        if name not in parts:
            rows = f"{kept[-1].rows} row{'s' * (kept[-1].rows != 1)}"
            found[name] = "is missing", f"run the same command again, which answers its {rows} again"
        elif _fitting(parts[name], kept) is None:
            found[name] = "is damaged (its bytes are not those that were written)", "delete it and run again"
    for name, part in parts.items():
        if lines and name not in lines and (same := digests.get(_digest(part))) is not None:
            found[name] = f"is a copy of {same}", "delete it"
    return found


def mend(folder: Path) -> dict[str, pa.Table]:
    """Rename damaged and duplicate parts, with a warning each, and update the manifest.

    A part without a line, as a killed process leaves it, is read completely and gets its line. The rows of renamed and
    missing parts are answered again. The caller holds the folder's lock.

    Returns:
        The keys of each part by its name; see read_keys.

    Raises:
        CannotWrite: The folder cannot be written.
    """
    lines, kept, seen, keys = _lines(folder), list[Line](), set[str](), dict[str, "pa.Table"]()
    for name, (cause, _) in faults(folder).items():
        copied = cause.startswith("is a copy")
        _set_aside(folder / name, cause, "its rows are kept once" if copied else "its rows are answered again")
    for part in part_files(folder):
        line = _fitting(part, lines.get(part.name, ())) or _adopted(part)
        found = None if line is None else _keys(part)
        if line is None or found is None:
            _set_aside(part, "is damaged (it cannot be read)", "its rows are answered again")
        elif line.sha256 in seen:
            _set_aside(part, "is a copy of another part", "its rows are kept once")
        else:
            kept.append(line)
            seen.add(line.sha256)
            keys[part.name] = found
    _rewrite(folder, b"".join(map(_text, kept)))
    return keys


def _rewrite(folder: Path, text: bytes) -> None:
    with suppress(OSError):
        if (folder / PARTS).read_bytes() == text:
            return
    if text or (folder / PARTS).exists():
        write_atomic(folder / PARTS, text)


def _set_aside(part: Path, cause: str, then: str) -> None:
    aside = part.with_name(part.name + DAMAGED)
    try:
        if part.exists():
            os.replace(part, aside)
            sync_folder(part.parent)
            then = f"it is set aside as {aside.name}, and {then}"
    except OSError as error:
        raise cannot_write(part, error) from error
    _LOG.warning("warning: %s %s; %s", part, cause, then)


def _adopted(part: Path) -> Line | None:
    """Read a part without a line completely and return its line, or None if it cannot be read."""
    try:
        return line_of(part.name, part.read_bytes(), len(read_part(part)))
    except (BadInput, OSError):
        return None


def _keys(part: Path) -> pa.Table | None:
    """Return the keys of a part, or None if they cannot be read."""
    try:
        return read_keys(part)
    except BadInput:
        return None


def _fitting(part: Path, lines: tuple[Line, ...]) -> Line | None:
    """Return the line that matches the size and the footer of a part, or None."""
    try:
        with open(part, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL))
            length = _TAIL + int.from_bytes(file.read(4), "little")
            file.seek(max(0, size - length))
            footer = hashlib.sha256(file.read(length)).hexdigest()
    except OSError:
        return None
    return next((line for line in reversed(lines) if (line.bytes, line.footer) == (size, footer)), None)


def _digest(part: Path) -> str:
    try:
        with open(part, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _whole(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


def _lines(folder: Path) -> Mapping[str, tuple[Line, ...]]:
    """Return the last two lines of each part, the newest last; damaged lines are ignored."""
    try:
        made = (folder / PARTS).stat()
        return _read(folder, made.st_ino, made.st_mtime_ns, made.st_size)
    except OSError:
        return {}


@lru_cache(maxsize=2)
def _read(folder: Path, *_: int) -> Mapping[str, tuple[Line, ...]]:
    """Read the manifest; the numbers identify a state of the file for the cache."""
    found = dict[str, tuple[Line, ...]]()
    for each in (folder / PARTS).read_bytes().splitlines():
        line = _line(each)
        if line is not None:
            found[line.name] = (*found.get(line.name, ())[-1:], line)
            if not line.bytes:
                del found[line.name]
    return found


def _text(line: Line) -> bytes:
    plain = asdict(line)
    return (json.dumps({**plain, "check": _check(plain)}) + "\n").encode()


def _line(text: bytes) -> Line | None:
    try:
        plain = json.loads(text)
        return Line(**plain) if plain.pop("check") == _check(plain) else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _check(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]
