"""Changes to a run's inputs since their rows were written: replaced, removed, added, or no longer given.

A file that was modified after the session that wrote its row began is read again, and its digest is compared with the
row's. A resumed run therefore reads no unmodified file twice.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from openvocab.batch.part_files import Place, errors_in, part_files, place_of, read_keys, read_part
from openvocab.batch.rows import id_of, text_of
from openvocab.batch.run_folder import Run, RunFolder
from openvocab.errors import BadInput, ImageError
from openvocab.images.decode import read_item
from openvocab.images.files import touched as time_of
from openvocab.images.frames import split_frame
from openvocab.images.items import Item, Skip
from openvocab.images.sources import is_like_member, is_marked_file

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Changes", "Known", "OnChange", "dated", "refuse_changes"]

OnChange = Literal["keep", "redo", "refuse"]
"""What a resumed run does about changed inputs: keep their rows, answer replaced ones again, or raise an error."""

_BEGAN = b"openvocab.began"
_SLACK = 2.0
"""The precision in seconds assumed for the times of files."""


@dataclass(slots=True)
class Changes:
    """The numbers of inputs that have changed since their rows were written.

    Attributes:
        replaced: Files with other bytes.
        removed: Rows whose file no longer exists.
        added: Inputs that did not exist when the run was complete.
        elsewhere: Rows of inputs that exist but were not given this time.
    """

    replaced: int = 0
    removed: int = 0
    added: int = 0
    elsewhere: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """The numbers that are not 0."""
        return {name: count for name, count in asdict(self).items() if count}


def refuse_changes(folder: str | os.PathLike[str], changes: Changes) -> None:
    """Raise BadInput if an input has changed."""
    if changes.counts:
        said = ", ".join(f"{count} {name}" for name, count in changes.counts.items())
        remedy = "give on_change='keep' or on_change='redo', or another folder"
        raise BadInput(f"the inputs of {os.fspath(folder)} have changed since they were answered ({said}); {remedy}")


def dated(kind: pa.Schema, began: float) -> pa.Schema:
    """Return the schema with the start of the session, in seconds since the epoch, as metadata."""
    return kind.with_metadata({**(kind.metadata or {}), _BEGAN: str(began - _SLACK).encode()})


class Known:
    """The finished rows of a run folder, compared with its inputs as they are read.

    Attributes:
        errors: The number of error rows.
        changes: The changes found so far.
        replaced: The ids of inputs with other bytes, as text_of writes them.
    """

    def __init__(self, run: RunFolder, again: Collection[str] = ()) -> None:
        """Read the ids of the finished inputs, or take those that the run folder holds.

        Args:
            run: The run folder.
            again: Ids, as text_of writes them, whose rows were just removed; they do not count as added.

        Raises:
            BadInput: A part cannot be read.
        """
        made = Run(run.path, corrected=False)
        self._parts, self._again, self.errors = part_files(made.path), again, 0
        self._last, self._places = -1, dict[str, Place]()
        self._rows: dict[str, int] = {}
        self._starts, self._began = list[int](), list[float | None]()
        for part in self._parts:
            table = run.keys.pop(part.name) if part.name in run.keys else read_keys(part)
            self.errors += errors_in(table)
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

    def __iter__(self) -> Iterator[str]:
        """Yield the ids of the rows in order, as text_of writes them."""
        return iter(self._rows)

    def __contains__(self, text: object) -> bool:
        return text in self._rows

    def skip(self, name: str, touched: float | None = None, /) -> bool:
        """Return whether an input has a row and was not modified since, so that the source can skip it; see Skip."""
        row = self._rows.get(text_of(name))
        return row is not None and not self._touched(name, row, touched)

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items of a source; those with a row are skipped."""
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
        """Return the position before which the new row of an input belongs, or None for the end.

        Args:
            name: An id without a row that over has yielded; its position is returned once.
        """
        return self._places.pop(text_of(name), None)

    def _note_place(self, text: str) -> None:
        """Store the position of a new row between two parts, if the last row of the first part precedes it."""
        following = self._last + 1
        part = bisect_right(self._starts, following) - 1
        if following < len(self._rows) and self._starts[part] == following:
            self._places[text] = place_of(self._parts[part])

    def survey(self, source: Callable[[Skip], Iterator[Item]]) -> Changes:
        """Compare all inputs with their rows without reading new ones, and return the changes."""
        for _ in self.over(source(lambda name, time=None: text_of(name) not in self._rows or self.skip(name, time))):
            pass
        return self.finish()

    def finish(self) -> Changes:
        """Count the rows without an input, once the source has ended, and return all changes."""
        missing = [id_of(text) for text, row in self._rows.items() if not self._seen[row]]
        if missing:
            read = {text.partition("::")[0] for text, row in self._rows.items() if self._seen[row] and "::" in text}
            gone = sum(_is_gone(name, read) for name in missing)
            self.changes.removed, self.changes.elsewhere = gone, len(missing) - gone
        return self.changes

    def _touched(self, name: str, row: int, time: float | None) -> bool:
        """Return whether the file of an input was modified after the session that wrote its row began."""
        began = self._began[bisect_right(self._starts, row) - 1]
        if began is None:
            return False
        time = self._time(split_frame(name)[0]) if time is None else time
        return time is not None and time >= began

    def _time(self, name: str) -> float | None:
        """Return when a file, or the shard or dataset of an input, was modified; None if there is none."""
        found = None if is_like_member(name) else _touched_at(name)
        source = name.partition("::")[0]
        if found is not None or source == name:
            return found
        if source not in self._times:
            self._times[source] = _touched_at(source) or _touched_at(os.path.dirname(source))
        return self._times[source]

    def _differs(self, item: Item, row: int) -> bool:
        """Return whether the digest of an input differs from its row's; an error row without a digest never differs."""
        digest = self._digest(row)
        if digest is None:
            return False
        try:
            return hashlib.sha256(read_item(item)).hexdigest() != digest
        except ImageError:
            return True

    def _digest(self, row: int) -> str | None:
        """Return the sha256 of a row; the digests of its part are cached."""
        part = bisect_right(self._starts, row) - 1
        if self._digests[0] != part:
            self._digests = part, read_part(self._parts[part], ["sha256"]).column("sha256").to_pylist()
        return self._digests[1][row - self._starts[part]]


def _touched_at(path: str) -> float | None:
    """Return the later of a file's modification and status change times, or None."""
    try:
        return time_of(os.stat(path))
    except (OSError, ValueError):
        return None


def _is_gone(name: str, read: Collection[str]) -> bool:
    """Return whether the file of a row no longer exists, or its shard or dataset was read and did not contain it."""
    base = split_frame(name)[0]
    source = base.partition("::")[0]
    if "://" in base or (os.path.lexists(base) and not is_like_member(base)):
        return False
    if source == base or is_marked_file(base):
        return True
    return source in read or not any(map(os.path.exists, (source, os.path.dirname(source))))
