"""Lists of image paths in text, CSV and Parquet files, read as a stream."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from openvocab.errors import BadInput

__all__ = ["entries"]

_COLUMNS = ("path", "file", "file_name", "filename", "filepath", "file_path", "image", "image_path", "url")
_REMEDY = f"name the column that holds the paths one of: {', '.join(_COLUMNS)}"


def entries(path: str) -> Iterator[str]:
    """Yield the paths and web addresses of a .txt, .csv or .parquet list in order, without empty ones.

    Bytes that are not UTF-8 are decoded as os.fsdecode does, so that such a path still opens its file.

    Raises:
        BadInput: The list cannot be read, or none of its columns has a known name.
    """
    kind = path.lower().rpartition(".")[2]
    read = {"csv": _csv, "parquet": _parquet}.get(kind, _text)
    try:
        yield from (entry for entry in read(path) if entry and "\0" not in entry)
    except (OSError, csv.Error) as error:
        raise BadInput(f"{path!r} cannot be read as a list ({error}); save it again as .{kind}") from error


def _text(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        for line in file:
            yield line.rstrip("\r\n")


def _csv(path: str) -> Iterator[str]:
    """Yield the column with a known header, or the only column of a file without one."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        head = next(rows, [])
        column = _column(head)
        if column is None and len(head) > 1:
            raise BadInput(f"{path!r} has columns {', '.join(head[:8])}; {_REMEDY}")
        if column is None:
            yield from head
        for row in rows:
            if len(row) > (column or 0):
                yield row[column or 0]


def _parquet(path: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise BadInput(f"{path!r} is not a Parquet file ({str(error)[:100]}); save it again") from error
    with file:
        names = file.schema_arrow.names
        column = _column(names)
        if column is None or not _is_text(file.schema_arrow.field(names[column]).type):
            raise BadInput(f"{path!r} has columns {', '.join(names[:8])}; {_REMEDY}, as text")
        for batch in file.iter_batches(columns=[names[column]]):
            yield from (entry for entry in batch.column(0).to_pylist() if entry is not None)


def _is_text(kind: object) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _column(names: Sequence[str]) -> int | None:
    """Return the index of the first known column name, or None."""
    plain = [name.strip().lower() for name in names]
    return next((plain.index(name) for name in _COLUMNS if name in plain), None)
