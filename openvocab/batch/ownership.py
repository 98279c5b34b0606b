"""Which files of a folder belong to a run, so that no other file is removed or overwritten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openvocab.batch.atomic import cannot_write
from openvocab.batch.corrections.folder import CORRECTIONS
from openvocab.batch.folder_lock import LOCK, PID
from openvocab.batch.manifest import DAMAGED, PARTS
from openvocab.batch.part_files import MARK, part_files
from openvocab.errors import BadInput

__all__ = ["IMAGES", "RECORD", "is_of_a_run", "refuse_foreign", "remove_run"]

IMAGES, RECORD = "images", "run.json"
_DRAWING = re.compile(rf"{IMAGES}/[^/\\\0]+\.png")
_COLUMNS = {"id", "sha256", "status", "error_kind", "error", "tags", "detections"}
"""The columns of every part; parts of an earlier version have no mark."""


def refuse_foreign(path: Path) -> None:
    """Refuse a target folder with files that no run wrote; nothing is changed.

    Raises:
        BadInput: The folder holds files and no run, or a part that no run wrote.
    """
    if not path.is_dir():
        return
    recorded, parts = _has_record(path), part_files(path)
    odd = next((part for part in parts if not _is_ours(part, recorded)), None)
    if odd is not None:
        raise BadInput(f"{odd} was not written by a run; move it elsewhere, or give another folder")
    others = sorted(each.name for each in path.iterdir() if each.name != CORRECTIONS and not each.name.startswith("."))
    if others and not recorded and not parts:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise BadInput(f"{path} holds {others[0]!r}{more}, and no run; give a new or an empty folder")


def remove_run(path: Path) -> None:
    """Remove the files of a run, its record last; corrections and other files stay.

    Raises:
        CannotWrite: A file cannot be removed.
    """
    recorded = _has_record(path)
    parts = [part for part in part_files(path) if _is_ours(part, recorded)]
    drawings = [path / name for part in parts for name in _drawings(part)]
    aside = path.glob(f"part-*.parquet{DAMAGED}") if recorded else ()
    for each in [*drawings, *parts, *aside, path / PARTS, path / RECORD]:
        try:
            each.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(each, error) from error


def is_of_a_run(path: Path) -> bool:
    """Return whether a path is a file of a run, which only a run may replace."""
    folder = path.parent
    if folder.name in (IMAGES, CORRECTIONS) and _has_record(folder.parent):
        return True
    return _has_record(folder) and (path.name in (RECORD, PARTS, LOCK, PID) or path in part_files(folder))


def _has_record(path: Path) -> bool:
    """Return whether a folder has a run.json that a run wrote."""
    try:
        record = json.loads((path / RECORD).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    kinds: dict[str, Any] = {"format": int, "labels": list, "sessions": list}
    return isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in kinds.items())


def _is_ours(part: Path, recorded: bool) -> bool:
    """Return whether a run wrote a part; an unreadable part belongs to the run of its folder, if there is one."""
    import pyarrow.parquet as pq

    try:
        kind = pq.read_schema(part)
    except (OSError, ValueError):
        return recorded and part.is_file()
    return MARK in (kind.metadata or {}) or set(kind.names) >= _COLUMNS


def _drawings(part: Path) -> Iterator[str]:
    """Yield the drawings that the rows of a part name; none if it cannot be read."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(part) as file:
            named = file.read(columns=["drawing"]).column("drawing").to_pylist()
    except (OSError, ValueError, KeyError):
        return
    yield from (name for name in named if name and _DRAWING.fullmatch(name))
