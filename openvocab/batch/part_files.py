"""The files of a run's rows: which there are, and reading and writing one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openvocab.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MARK", "part_bytes", "part_files", "read_part", "readable"]

MARK = b"openvocab.rows"
"""Key in a part's schema metadata that says that a run wrote it."""


@contextmanager
def readable(part: Path) -> Iterator[None]:
    """Raise BadInput for a part that cannot be read."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
        raise BadInput(f"{part} is damaged ({str(error)[:100]}); delete it and run again") from error


def read_part(part: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a part as a table, or some columns of it.

    Raises:
        BadInput: it cannot be read.
    """
    import pyarrow.parquet as pq

    mapped = columns is not None
    with readable(part), pq.ParquetFile(part, memory_map=mapped, page_checksum_verification=True) as file:
        return file.read(columns=columns, use_threads=columns is None)


def part_bytes(table: pa.Table) -> Any:
    """Return the bytes of a Parquet file whose pages have checksums."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), MARK: b"1"})
    pq.write_table(marked, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def part_files(path: Path) -> list[Path]:
    """Return the files of a run folder's rows, in order."""
    found = [(int(digits), each) for each in path.glob("part-*.parquet") if (digits := each.stem[5:]).isdecimal()]
    return [each for _, each in sorted(found)]
