"""The run folder: run.json records how the rows were made, and part-NNNNN.parquet hold them, one row per input.

Every file is written under a temporary name, synced and renamed, so that the folder never holds partial files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from openvocab.batch.atomic import cannot_write, clear_leftovers, remove_durably, write_atomic
from openvocab.batch.corrections.folder import Corrections, read_corrections
from openvocab.batch.folder_lock import locked
from openvocab.batch.manifest import add_line, gone, line_of, mend, sound_parts, verified
from openvocab.batch.ownership import IMAGES, RECORD, refuse_foreign, remove_run
from openvocab.batch.part_files import (
    Place,
    free_name,
    part_bytes,
    part_files,
    read_part,
    readable,
    row_count,
)
from openvocab.batch.record_changes import refuse_another
from openvocab.batch.rows import Row, from_table, id_of, schema, to_table
from openvocab.errors import BadInput, counted

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads
    import pyarrow.parquet as pq

__all__ = [
    "Run",
    "RunFolder",
    "describe",
    "make_folder",
    "open_run",
    "read_part",
    "read_run",
]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run folder that this process alone writes; see open_run.

    Attributes:
        path: The folder.
        keys: The keys of parts by name, as open_run read them; Known takes them.
    """

    path: Path
    keys: dict[str, pa.Table] = field(default_factory=dict, repr=False)

    def drop_errors(self) -> list[str]:
        """Remove the error rows, so that their inputs are answered again, and return their ids; see drop.

        Raises:
            BadInput, CannotWrite: As drop.
        """
        return self.drop("status", ["error"])

    def drop(self, column: str, values: Sequence[str]) -> list[str]:
        """Remove the rows with one of the given values in a column; each part is replaced atomically.

        Returns:
            The ids of the removed rows, as text_of writes them.

        Raises:
            BadInput: A part cannot be read.
            CannotWrite: As add_table.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        dropped, wanted = list[str](), pa.array(values, pa.string())
        for part in part_files(self.path):
            if not pc.any(pc.is_in(read_part(part, [column]).column(column), wanted)).as_py():
                continue
            with readable(part):
                table = _opened(part).read()
            unwanted = pc.is_in(table.column(column), wanted)
            dropped += table.column("id").filter(unwanted).to_pylist()
            kept = table.filter(pc.invert(unwanted))
            self.keys.pop(part.name, None)
            data = part_bytes(kept)
            add_line(self.path, line_of(part.name, data, len(kept)) if len(kept) else gone(part.name))
            if len(kept):
                write_atomic(part, data)
            else:
                remove_durably(part)
        return dropped

    def add(self, rows: Sequence[Row], kind: pa.Schema, before: Place | None = None) -> None:
        """Write rows as a new part; see add_table."""
        self.add_table(to_table(rows, kind), before)

    def add_table(self, table: pa.Table, before: Place | None = None) -> None:
        """Write a new part, at the end or directly before a position.

        Raises:
            CannotWrite: The disk is full, or the folder is read-only; earlier parts stay complete.
        """
        part, data = self.path / free_name(part_files(self.path), before), part_bytes(table)
        write_atomic(part, data)
        add_line(self.path, line_of(part.name, data, len(table)))

    def note(self, session: Mapping[str, Any]) -> None:
        """Add a session to run.json.

        Raises:
            CannotWrite: As add.
        """
        record = _record(self.path)
        record["sessions"] = [*record.get("sessions", []), dict(session)]
        write_atomic(self.path / RECORD, _json(record))


class Run:
    """A finished or unfinished run, opened for reading.

    Attributes:
        path: The folder.
        record: The content of run.json: package version, models, templates, labels, settings and sessions.
    """

    def __init__(self, path: str | os.PathLike[str], *, corrected: bool = True) -> None:
        """Read run.json; see read_run.

        Raises:
            BadInput: The folder holds no run.
        """
        self.path = Path(path)
        self.record = _record(self.path)
        self._corrections = None if corrected else Corrections({})

    @property
    def corrections(self) -> Corrections:
        """What persons corrected, read once; empty for a run that was opened with corrected=False.

        Raises:
            BadInput: A file is not a correction.
        """
        if self._corrections is None:
            self._corrections = read_corrections(self.path)
        return self._corrections

    @property
    def labels(self) -> tuple[str, ...]:
        """The vocabulary of the run, in order, then the labels that corrections add."""
        return self.corrections.labels(self.record["labels"])

    @property
    def parts(self) -> list[Path]:
        """The files of the rows, in order.

        Raises:
            BadInput: A part is missing, damaged or duplicated.
        """
        return sound_parts(self.path)

    def __len__(self) -> int:
        """Return the number of rows.

        Raises:
            BadInput: A part cannot be read.
        """
        if self.corrections:
            ids = [id_of(each) for part in self.parts for each in read_part(part, ["id"]).column("id").to_pylist()]
            return len(ids) + self.corrections.without(ids)
        return sum(map(row_count, self.parts))

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in order, with a few in memory at a time; then those of images that only a person answered.

        Raises:
            BadInput: A part or a correction cannot be read.
        """
        labels = self.labels
        yield from self.corrections.over(self._rows(labels), labels)

    def _rows(self, labels: tuple[str, ...]) -> Iterator[Row]:
        for part in self.parts:
            with readable(part), _opened(part) as file:
                for batch in file.iter_batches(batch_size=256):
                    yield from from_table(batch, labels)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {counted(len(self), 'row')}, {counted(len(self.labels), 'label')})"

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        """Return a row, or a list of rows, by position.

        Raises:
            IndexError: There is no such row.
            BadInput: A part cannot be read.
        """
        if isinstance(index, slice):
            rows = range(*index.indices(len(self)))
            low, high = (min(rows), max(rows) + 1) if rows else (0, 0)
            some = list(islice(self, low, high))
            return [some[row - low] for row in rows]
        row = index if index >= 0 else len(self) + index
        if self.corrections and row >= 0:
            found = next(islice(self, row, None), None)
            if found is not None:
                return found
        for part in self.parts if row >= 0 else ():
            with readable(part), _opened(part) as file:
                for group in range(file.num_row_groups):
                    count = file.metadata.row_group(group).num_rows
                    if row < count:
                        return next(from_table(file.read_row_group(group).slice(row, 1), self.labels))
                    row -= count
        raise IndexError(f"row {index} of a run with {counted(len(self), 'row')}")

    def tables(self, without: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Yield the parts in order as tables, without some columns.

        Raises:
            BadInput: A part cannot be read.
        """
        for part in self.parts:
            with readable(part), _opened(part) as file:
                names = [name for name in file.schema_arrow.names if name not in without]
                table = file.read(columns=names)
            yield table

    @property
    def dataset(self) -> pads.Dataset:
        """The rows as a pyarrow dataset, which DuckDB, Polars and pandas read directly; every part is verified first.

        DuckDB 2.0 reads no float16 column from pyarrow; of a run with such features it reads the Parquet files.

        Raises:
            BadInput: A part is damaged, missing or duplicated.
        """
        import pyarrow.dataset as pads

        for part in (parts := self.parts):
            verified(part)
        size, half = self.record.get("feature_size"), self.record.get("features") == "float16"
        kind = schema(size, half)
        checked = pads.ParquetFileFormat(
            default_fragment_scan_options=pads.ParquetFragmentScanOptions(page_checksum_verification=True)
        )
        files = list(map(str, parts))
        return pads.dataset(files, schema=kind, format=checked) if parts else pads.dataset(kind.empty_table())


def _opened(part: Path) -> pq.ParquetFile:
    """Open a part after verifying its bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.ParquetFile(pa.BufferReader(verified(part)), page_checksum_verification=True)


def read_run(path: str | os.PathLike[str], *, corrected: bool = True) -> Run:
    """Open the run in a folder: iterate over it for rows, or use its `dataset`, which has the models' own answers.

    Args:
        path: The run folder.
        corrected: Whether the rows have what persons corrected on the web page; else they are the models' own.

    Raises:
        BadInput: The folder holds no run.
    """
    return Run(path, corrected=corrected)


def describe(record: Mapping[str, Any], labels: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return the content of run.json.

    Args:
        record: A RunRecord as a dictionary.
        labels: The vocabulary, in order.
        more: Other options that decide the content of rows.
    """
    digest = hashlib.sha256(json.dumps(list(labels)).encode()).hexdigest()
    made = {"format": _FORMAT, **record, "labels_digest": digest, **more, "labels": list(labels), "sessions": []}
    plain: dict[str, Any] = json.loads(json.dumps(made))
    return plain


@contextmanager
def open_run(path: Path, record: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[RunFolder]:
    """Create or resume a run folder, and hold its lock.

    Args:
        path: The folder.
        record: The content of run.json, as describe returns it.
        overwrite: Whether an existing run is replaced.

    Raises:
        BadInput: path is not a folder, holds files that no run wrote, or holds a run with another record; the message
            lists the differences. Nothing was removed.
        CannotWrite: The folder cannot be written, or another process is writing it; the message has its pid.
    """
    refuse_foreign(path)
    make_folder(path)
    with locked(path):
        if overwrite:
            remove_run(path)
        elif (path / RECORD).exists():
            refuse_another(path, _record(path), record)
        elif part_files(path):
            raise BadInput(f"{path} holds parts and no {RECORD}; give another folder, or overwrite=True to start again")
        _clear(path)
        keys = mend(path)
        if not (path / RECORD).exists():
            write_atomic(path / RECORD, _json(record))
        yield RunFolder(path, keys)


def _clear(path: Path) -> None:
    """Remove the temporary files of killed processes."""
    try:
        clear_leftovers(path, locked=True)
        clear_leftovers(path / IMAGES, locked=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads((path / RECORD).read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path} holds no run ({RECORD} is missing); give the folder of a run") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{path / RECORD} cannot be read ({str(error)[:100]}); overwrite=True starts again") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise BadInput(f"{path / RECORD} is not of format {_FORMAT}; read it with the version that wrote it")
    return record


def make_folder(path: Path) -> None:
    """Create a folder if it does not exist.

    Raises:
        BadInput: The path is not a folder.
        CannotWrite: The folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadInput(f"{str(path)!r} cannot be made a folder ({error.strerror}); give another path") from error
    except OSError as error:
        raise cannot_write(path, error) from error
