"""The Parquet files of a run's rows: listing, naming, reading and writing them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openvocab.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    *("MARK", "Place", "errors_in", "free_name", "part_bytes", "part_files"),
    *("place_of", "read_keys", "read_part", "readable", "row_count"),
]

Place = tuple[int, int]
"""The position of a part: its number, and 0, or the index of a part inserted after part-NUMBER.parquet."""
_NAME = re.compile(r"part-([0-9]+)(?:_([0-9]+))?\.parquet")

MARK = b"openvocab.rows"
"""The key in a part's schema metadata that marks parts written by a run."""


@contextmanager
def readable(part: Path) -> Iterator[None]:
    """Turn errors of reading a part into BadInput."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
        raise BadInput(f"{part} is damaged ({str(error)[:100]}); delete it and run again") from error


def read_part(part: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a part, or some of its columns, as a table.

    Raises:
        BadInput: The part cannot be read.
    """
    import pyarrow.parquet as pq

    mapped = columns is not None
    with readable(part), pq.ParquetFile(part, memory_map=mapped, page_checksum_verification=True) as file:
        return file.read(columns=columns, use_threads=columns is None)


def read_keys(part: Path) -> pa.Table:
    """Return the columns that a resumed run needs of a part: id and status.

    Raises:
        BadInput: The part cannot be read.
    """
    return read_part(part, ["id", "status"])


def row_count(part: Path) -> int:
    """Return the number of rows of a part.

    Raises:
        BadInput: The part cannot be read.
    """
    import pyarrow.parquet as pq

    with readable(part):
        return int(pq.read_metadata(part).num_rows)


def errors_in(table: pa.Table) -> int:
    """Return the number of error rows of a table with the column status."""
    import pyarrow.compute as pc

    return int(pc.sum(pc.equal(table.column("status"), "error")).as_py() or 0)


def part_bytes(table: pa.Table) -> Any:
    """Return a table as the bytes of a Parquet file with page checksums."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), MARK: b"1"})
    pq.write_table(marked, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def part_files(path: Path) -> list[Path]:
    """Return the parts of a run folder, in order."""
    return sorted((each for each in path.glob("part-*.parquet") if _NAME.fullmatch(each.name)), key=place_of)


def place_of(part: Path) -> Place:
    """Return the position of a part."""
    found = _NAME.fullmatch(part.name)
    return (-1, 0) if found is None else (int(found[1]), int(found[2] or 0))


def free_name(parts: Sequence[Path], before: Place | None = None) -> str:
    """Return the name of a new part directly before a position, or at the end for None or if no number is free.

    Args:
        parts: The existing parts, in order.
        before: The position.
    """
    places = [place_of(part) for part in parts]
    end = (places[-1][0] + 1 if places else 0, 0)
    number, piece = max((place for place in places if before is None or place < before), default=(-1, 0))
    for made in ((number + 1, 0), (number, piece + 1)):
        if made[0] >= 0 and (before is None or made < before):
            return _name(made)
    return _name(end)


def _name(place: Place) -> str:
    return f"part-{place[0]:05}{f'_{place[1]:05}' if place[1] else ''}.parquet"
