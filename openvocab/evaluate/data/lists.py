"""Lists of images with labels: CSV, JSON lines and Parquet, with a column of paths and one of labels.

Paths are relative to the folder of the list. A column `label` has one label per image; a column `labels` has several:
a list, or in CSV a string with | between the labels, which may be empty.
"""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, TypeVar

from openvocab.errors import BadInput, OpenVocabWarning, counted
from openvocab.evaluate.data.labeled import LabeledImage, LabeledSet
from openvocab.evaluate.data.safe_read import parse_json, parsing, read_parquet, read_text, short_repr
from openvocab.images.items import Item
from openvocab.prompts.labels import check_labels

__all__ = ["PATHS", "existing", "image_path", "load_list", "read_rows"]

PATHS = ("path", "file_name", "filename", "file", "image", "image_path")
"""Names of the column of paths."""

Row = TypeVar("Row", bound=tuple[Any, ...])
_REMEDY = f"name one column {', '.join(PATHS[:-1])} or {PATHS[-1]}, and one label or labels"


def load_list(path: str) -> LabeledSet:
    """Return the data set, with sorted labels and images in the order of the list.

    Images that do not exist are left out, with one warning that has their number and the line of the first.

    Raises:
        BadInput: the list cannot be read, a column or a value is missing (the message has the line), or no image of
            it exists.
    """
    rows = [(line, *_row(path, line, row)) for line, row in read_rows(path, ("label", "labels"))]
    kept = existing(path, rows)
    names = sorted({label for _, _, own, _ in rows for label in own})
    if not names:
        message = f"no row of {path!r} has a label; labels were read from its column labels"
        raise BadInput(f"{message}; give at least one image a label")
    labels = check_labels(names)
    index_of = {name: row for row, name in enumerate(names)}
    multi_label = any(many for _, _, _, many in rows)
    images = [
        LabeledImage(Item(file, file), tuple(sorted({index_of[name] for name in own}))) for _, file, own, _ in kept
    ]
    return LabeledSet(path, labels, multi_label, lambda: iter(images))


def read_rows(path: str, columns: Sequence[str]) -> list[tuple[int, dict[str, Any]]]:
    """Return the line number and the values of each row, by the trimmed names of the columns in lower case.

    Args:
        path: A .csv, .jsonl or .parquet file.
        columns: Columns to read from a Parquet file, in addition to those of paths.

    Raises:
        BadInput: the file cannot be read, or has no row.
    """
    kind = path.lower().rpartition(".")[2]
    if kind not in ("csv", "jsonl", "parquet") or not os.path.isfile(path):
        raise BadInput(f"{path!r} is not an existing list; give a file that ends in .csv, .jsonl or .parquet")
    if kind == "parquet":
        read: Iterator[tuple[int, dict[str, Any]]] = enumerate(read_parquet(path, (*PATHS, *columns)), 1)
    else:
        read = {"csv": _csv, "jsonl": _json_lines}[kind](path)
    rows = [(line, {str(name).strip().lower(): value for name, value in row.items()}) for line, row in read]
    if not rows:
        raise BadInput(f"{path!r} lists no image; add a row for each")
    return rows


def image_path(path: str, line: int, row: Mapping[str, Any], remedy: str) -> str:
    """Return the path of a row's image.

    Raises:
        BadInput: there is none; the message has the line and ends with the remedy.
    """
    file = next((row[name] for name in PATHS if name in row), None)
    if not isinstance(file, str) or not file.strip():
        raise BadInput(f"{path!r}, line {line}, names no image; {remedy}")
    return os.path.join(os.path.dirname(path), file.strip())


def _row(path: str, line: int, plain: Mapping[str, Any]) -> tuple[str, Sequence[str], bool]:
    """Return the path of an image, its labels, and whether there may be several.

    Raises:
        BadInput: one is missing.
    """
    file = image_path(path, line, plain, _REMEDY)
    multi_label = plain.get("labels") is not None
    given = plain["labels"] if multi_label else plain.get("label")
    if multi_label and isinstance(given, str):
        given = [part for part in given.split("|") if part.strip()]
    labels = given if multi_label else [given]
    if not isinstance(labels, list) or not all(isinstance(label, str) and label.strip() for label in labels):
        raise BadInput(f"{path!r}, line {line}, has no label that is a string; {_REMEDY}")
    return file, [" ".join(label.split()) for label in labels], multi_label


def existing(path: str, rows: Sequence[Row]) -> list[Row]:
    """Return the rows, (line number, path of the image, ...), whose image exists; warn if some do not.

    Raises:
        BadInput: no image exists.
    """
    present = [row for row in rows if os.path.isfile(row[1])]
    if len(present) < len(rows):
        line, file = next(row[:2] for row in rows if not os.path.isfile(row[1]))
        if not present:
            raise BadInput(f"no image of {path!r} exists, such as {short_repr(file)}; check paths")
        absent = counted(len(rows) - len(present), "image that does", "images that do")
        message = f"{path!r} lists {absent} not exist, the first on line {line}"
        warnings.warn(f"{message}: {short_repr(file)}; they are left out", OpenVocabWarning, stacklevel=3)
    return present


def _csv(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = csv.DictReader(StringIO(read_text(path), newline=""))
    with parsing(f"{path!r} is not CSV", "save it again"):
        for row in lines:
            yield lines.line_num, row


def _json_lines(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            row = parse_json(line, f"{path!r}, line {number},")
            if not isinstance(row, dict):
                raise BadInput(f"{path!r}, line {number}, is not a JSON object; write one object a line")
            yield number, row
