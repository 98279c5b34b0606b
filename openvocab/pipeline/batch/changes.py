"""What became of a run's inputs since their rows were written: replaced, removed, added, or not among those named.

A file that was touched after the run that wrote its row began is read again, and its digest compared with the row's, so
that a resumed run of a folder that nobody touched reads nothing twice.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from openvocab.errors import BadInput, ImageError
from openvocab.pipeline.batch.decode import read_item
from openvocab.pipeline.batch.frames import split_frame
from openvocab.pipeline.batch.part_files import Place, part_files, place_of, read_part
from openvocab.pipeline.batch.rows import id_of, text_of
from openvocab.pipeline.batch.run_folder import Run
from openvocab.pipeline.batch.sources import Item, is_like_member, is_marked_file

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Changes", "Known", "OnChange", "dated", "refuse_changes"]

OnChange = Literal["keep", "redo", "refuse"]
"""What a resumed run does about inputs that have changed: keep their rows, answer replaced ones again, or nothing."""

_BEGAN = b"openvocab.began"
_SLACK = 2.0
"""Seconds by which the times of files may be coarse."""


@dataclass(slots=True)
class Changes:
    """Inputs that have changed since their rows were written.

    replaced   files with other bytes.
    removed    rows whose file is gone.
    added      inputs that were not there when the run was complete.
    elsewhere  rows of inputs that exist, but are not among those named.
    """

    replaced: int = 0
    removed: int = 0
    added: int = 0
    elsewhere: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Those that are not 0."""
        return {name: count for name, count in asdict(self).items() if count}


def refuse_changes(folder: str | os.PathLike[str], changes: Changes) -> None:
    """Raise BadInput where something has changed."""
    if changes.counts:
        said = ", ".join(f"{count} {name}" for name, count in changes.counts.items())
        remedy = "give --on-change keep or redo, or another folder"
        raise BadInput(f"the inputs of {os.fspath(folder)} have changed since they were answered ({said}); {remedy}")


def dated(kind: pa.Schema, began: float) -> pa.Schema:
    """Return the schema of parts that say when the session that writes them began, in seconds since the epoch."""
    return kind.with_metadata({**(kind.metadata or {}), _BEGAN: str(began - _SLACK).encode()})


class Known:
    """The rows of a run folder, held against its inputs as they come by.

    changes    what was found so far.
    replaced   the ids, as text_of writes them, of the inputs whose bytes are others.
    """

    def __init__(self, run: Path, again: Collection[str] = ()) -> None:
        """Read which inputs have a row.

        Args:
            again: ids, as text_of writes them, that had a row until now and do not count as added.

        Raises:
            BadInput: a part cannot be read.
        """
        made = Run(run)
        self._parts, self._again = part_files(made.path), again
        self._last, self._places = -1, dict[str, Place]()
        self._rows: dict[str, int] = {}
        self._starts, self._began = list[int](), list[float | None]()
        for part in self._parts:
            table = read_part(part, ["id"])
            began = (table.schema.metadata or {}).get(_BEGAN)
            ids = table.column("id").to_pylist()
            self._starts.append(len(self._rows))
            self._began.append(None if began is None else float(began))
            self._rows.update(zip(ids, range(len(self._rows), len(self._rows) + len(ids)), strict=True))
        self._seen = bytearray(len(self._rows))
        sessions = made.record.get("sessions") or [{"stopped": True}]
        self._complete = not sessions[-1].get("stopped")
        self._times: dict[str, float | None] = {}
        self._digests: tuple[int, list[str | None]] = (-1, [])
        self.changes, self.replaced = Changes(), list[str]()

    def __len__(self) -> int:
        return len(self._rows)

    def skip(self, name: str) -> bool:
        """Tell the source whether an input has a row, and need not be looked at."""
        row = self._rows.get(text_of(name))
        return row is not None and not self._touched(name, row)

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the inputs that a source gives for skip; those that have a row with nothing to read."""
        for item in items:
            text = text_of(item.id)
            row = self._rows.get(text)
            if row is None:
                self.changes.added += self._complete and text not in self._again
                self._note_place(text)
                yield item
                continue
            self._seen[row], self._last = 1, row
            if not item.skipped and self._differs(item, row):
                self.changes.replaced += 1
                self.replaced.append(text)
            yield item if item.skipped else Item(item.id)

    def place(self, name: str) -> Place | None:
        """Return the place of the part before which the new row of an input stands; None where it stands at the end.

        Args:
            name: an id without a row that over has yielded; it is told once.
        """
        return self._places.pop(text_of(name), None)

    def _note_place(self, text: str) -> None:
        """Keep where a new row stands: between two parts, if the last row of the first came by just before it."""
        following = self._last + 1
        part = bisect_right(self._starts, following) - 1
        if following < len(self._rows) and self._starts[part] == following:
            self._places[text] = place_of(self._parts[part])

    def survey(self, source: Callable[[Callable[[str], bool]], Iterator[Item]]) -> Changes:
        """Go through the inputs without reading those that are new, and return what has changed."""
        for _ in self.over(source(lambda name: text_of(name) not in self._rows or self.skip(name))):
            pass
        return self.finish()

    def finish(self) -> Changes:
        """Count the rows whose inputs did not come by, after the last of them, and return all changes."""
        missing = [id_of(text) for text, row in self._rows.items() if not self._seen[row]]
        if missing:
            read = {text.partition("::")[0] for text, row in self._rows.items() if self._seen[row] and "::" in text}
            gone = sum(_is_gone(name, read) for name in missing)
            self.changes.removed, self.changes.elsewhere = gone, len(missing) - gone
        return self.changes

    def _touched(self, name: str, row: int) -> bool:
        """Whether the file of an input changed after the session that wrote its row began, as its times say."""
        began = self._began[bisect_right(self._starts, row) - 1]
        time = None if began is None else self._time(split_frame(name)[0])
        return began is not None and time is not None and time >= began

    def _time(self, name: str) -> float | None:
        """Return when a file was touched, or the shard or dataset that holds an input; None where there is none."""
        found = None if is_like_member(name) else _touched_at(name)
        source = name.partition("::")[0]
        if found is not None or source == name:
            return found
        if source not in self._times:
            self._times[source] = _touched_at(source) or _touched_at(os.path.dirname(source))
        return self._times[source]

    def _differs(self, item: Item, row: int) -> bool:
        """Whether the bytes of an input are not those of its row; an error row without a digest is left alone."""
        digest = self._digest(row)
        if digest is None:
            return False
        try:
            return hashlib.sha256(read_item(item)).hexdigest() != digest
        except ImageError:
            return True

    def _digest(self, row: int) -> str | None:
        """Return the sha256 in a row; those of its part are kept for the next ones."""
        part = bisect_right(self._starts, row) - 1
        if self._digests[0] != part:
            self._digests = part, read_part(self._parts[part], ["sha256"]).column("sha256").to_pylist()
        return self._digests[1][row - self._starts[part]]


def _touched_at(path: str) -> float | None:
    """Return the later of the times at which a file's bytes and its entry were changed."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return max(found.st_mtime, found.st_ctime)


def _is_gone(name: str, read: Collection[str]) -> bool:
    """Whether the file of a row is not there any more, or its shard or dataset was read and did not hold it."""
    base = split_frame(name)[0]
    source = base.partition("::")[0]
    if "://" in base or (os.path.lexists(base) and not is_like_member(base)):
        return False
    if source == base or is_marked_file(base):
        return True
    return source in read or not any(map(os.path.exists, (source, os.path.dirname(source))))
