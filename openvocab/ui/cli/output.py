"""What the command line prints: tables and lines on stdout, progress and complaints on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from openvocab import Result
    from openvocab.batch.engine import Answer

__all__ = ["complain", "detections_of", "megabytes", "progress", "say", "say_json", "table", "tags_of"]

T = TypeVar("T")


def _printable(text: str) -> str:
    """Replace what would move the cursor or color the terminal: a file may be called anything."""
    return "".join(character if character.isprintable() else "�" for character in text)


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


def say_json(row: dict[str, Any]) -> None:
    """Print one row of JSON on stdout; in ASCII, so that it can be printed whatever a file is called."""
    _line(json.dumps(row), sys.stdout)


def complain(message: str) -> None:
    """Print one line on stderr."""
    _line(f"openvocab: {_printable(message)}", sys.stderr)


def progress(items: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Yield the items with a progress bar on stderr, or silently where stderr is no terminal."""
    from tqdm import tqdm

    yield from tqdm(items, total=total, unit=" images", leave=False, disable=None)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in aligned columns; nothing is cut."""
    cells = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            say("  ".join("-" * width for width in widths))


def _listed(pairs: Sequence[tuple[str, float]], most: int | None) -> str:
    shown = ", ".join(f"{label} {score:.2f}" for label, score in pairs[:most])
    more = len(pairs) - len(pairs[:most])
    return (f"{shown}, +{more}" if more else shown) or "nothing"


def tags_of(result: Result | Answer, most: int | None = None) -> str:
    """The tags with their scores, best first; with most, that many and how many there are besides."""
    return _listed([(tag.label, tag.score) for tag in result.tags], most)


def detections_of(result: Result | Answer, most: int | None = None) -> str:
    """The labels of the detections with their scores, best first; with most, that many and how many more there are."""
    found = result.detections
    return _listed([] if found is None else list(zip(found.labels, found.scores.tolist(), strict=True)), most)


def megabytes(size: int | None) -> str:
    """A size in bytes for people; a dash where it is not known."""
    return "-" if size is None else f"{size / 1e6:.1f} MB"
