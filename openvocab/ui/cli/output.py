"""Output of the command line: tables and lines on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from openvocab.errors import BadInput

if TYPE_CHECKING:
    from openvocab import Result
    from openvocab.batch.engine import Answer

__all__ = [
    "complain",
    "detections_of",
    "megabytes",
    "name_options",
    "output_folder",
    "presence_of",
    "progress",
    "say",
    "say_json",
    "table",
    "tags_of",
]

T = TypeVar("T")

_ARGUMENT = re.compile(r"""(?<![\w./'"-])([a-z]+(?:_[a-z]+)*)(?![\w./'"])(?:=('[^']*'|[\w.]*\w|))?""")
"""A name in a message, with its value if it has one: verify=0, features='float32', images=, box_threshold."""
_options: frozenset[str] = frozenset()
_MIN_COLUMN = 8
_MAX_PRESENCE = 5
"""The number of labels that are listed as present, and as absent; the others are counted."""


def _printable(text: str) -> str:
    """Replace control characters, which a file name may contain."""
    return "".join(character if character.isprintable() else "�" for character in text)


def name_options(names: Iterable[str]) -> None:
    """Set the names that options have in messages of the library, which are those of its arguments."""
    global _options
    _options = frozenset(names)


def _with_options(message: str) -> str:
    """Return a message of the library with options in place of arguments: verify=0 is --verify 0."""

    def option(found: re.Match[str]) -> str:
        name, value = found.groups()
        is_argument = value is not None or "_" in name or message[found.end() :].startswith(" must ")
        if name not in _options or not is_argument:
            return found[0]
        return f"--{name.replace('_', '-')}" + (f" {value.strip(chr(39))}" if value not in (None, "", "True") else "")

    return _ARGUMENT.sub(option, message)


def _line(text: str, stream: TextIO) -> None:
    """Print a line, above a progress bar if there is one."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text, file=stream)
    else:
        print(text, file=stream)


def say(line: str) -> None:
    """Print one line on stdout."""
    _line(_printable(line), sys.stdout)


def say_json(row: object) -> None:
    """Print one line of JSON on stdout, in ASCII, so that any file name can be printed."""
    _line(json.dumps(row), sys.stdout)


def complain(message: str) -> None:
    """Print one line on stderr."""
    _line(f"openvocab: {_printable(_with_options(message))}", sys.stderr)


def output_folder(path: str) -> Path:
    """Create the folder of --out if it does not exist.

    Raises:
        BadInput: the folder cannot be created.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {path!r} cannot be made a folder ({error.strerror}); give another path") from error
    return folder


def progress(items: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Yield the items with a progress bar on stderr, or silently where stderr is no terminal."""
    from tqdm import tqdm

    yield from tqdm(items, total=total, unit=" images", leave=False, disable=None)


def table(header: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    """Print rows in aligned columns; on a terminal, long cells are wrapped so that the table fits its width."""
    cells = [tuple(row) for row in ([header] if header else []) + list(rows)]
    widths = _column_widths(cells)
    for number, row in enumerate(cells):
        wrapped = [_wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in zip_longest(*wrapped, fillvalue=""):
            say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number == 0 and header:
            say("  ".join("-" * width for width in widths))


def _column_widths(cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the widths of the columns; on a terminal the widest ones are narrowed until the table fits."""
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    if sys.stdout.isatty():
        available = shutil.get_terminal_size().columns - 2 * (len(widths) - 1)
        while sum(widths) > available and max(widths) > _MIN_COLUMN:
            widths[widths.index(max(widths))] -= 1
    return widths


def _wrap(cell: str, width: int) -> list[str]:
    return [cell] if len(cell) <= width else textwrap.wrap(cell, width, break_on_hyphens=False)


def _listed(pairs: Sequence[tuple[str, float]], max_items: int | None) -> str:
    shown = ", ".join(f"{label} {score:.2f}" for label, score in pairs[:max_items])
    more = len(pairs) - len(pairs[:max_items])
    return (f"{shown}, +{more}" if more else shown) or "nothing"


def tags_of(result: Result | Answer, max_items: int | None = None) -> str:
    """Format tags with their scores, best first; with max_items, list that many and count the rest."""
    return _listed([(tag.label, tag.score) for tag in result.tags], max_items)


def detections_of(result: Result | Answer, max_items: int | None = None) -> str:
    """Format detections as labels with scores, best first; with max_items, list that many and count the rest."""
    found = result.detections
    return _listed([] if found is None else list(zip(found.labels, found.scores.tolist(), strict=True)), max_items)


def presence_of(result: Result | Answer) -> str:
    """Format which labels are in the image and which are not, the likeliest first; empty where it is not known."""
    text = ""
    for name, present in (("present", True), ("not in this image", False)):
        pairs, more = result.presence.likeliest(_MAX_PRESENCE, present=present)
        text += f"; {name}: {_listed(pairs, None)}" + (f", +{more}" if more else "") if pairs else ""
    return text


def megabytes(size: int | None) -> str:
    """Format a size in bytes as megabytes; a dash if it is unknown."""
    return "-" if size is None else f"{size / 1e6:.1f} MB"
