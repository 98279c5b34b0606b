"""A folder that is worked through on the page: its images, their status, and their corrections in the run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from openvocab.batch.corrections.correction import Correction, from_json
from openvocab.batch.corrections.folder import CORRECTIONS, correction_file, read_corrections, write_correction
from openvocab.batch.folder_lock import locked
from openvocab.batch.review import review
from openvocab.batch.rows import Row
from openvocab.batch.run_folder import Run, describe, make_folder, open_run
from openvocab.errors import BadInput, ImageError
from openvocab.images.read import Decoded
from openvocab.ui.web.served.convert import correction_of, starting_point
from openvocab.ui.web.served.entries import Entry, answered_rows, entries_of, is_run, read_entry

if TYPE_CHECKING:
    from openvocab import Pipeline
    from openvocab.ui.web.workspace import Workspace

__all__ = ["ServedFolder", "default_run", "serving"]

_THUMBNAIL = 160
"""Longer side of a thumbnail in pixels."""
_MAX_WORDS = 200
"""A larger vocabulary is not filled into the field of words."""


def default_run(folder: Path) -> Path:
    """Return the run folder of a served folder: itself if it holds a run, else a folder beside it."""
    folder = folder.resolve()
    return folder if is_run(folder) else folder.with_name(f"{folder.name}-run")


@contextmanager
def serving(folder: Path, run: Path | None, pixels: int) -> Iterator[ServedFolder]:
    """Open a folder of images or a run folder, and hold the lock of its corrections.

    Args:
        folder: The folder.
        run: The run folder that keeps the corrections; see default_run.
        pixels: The largest accepted width times height of an image.

    Raises:
        BadInput: the folder does not exist or holds no image, or the run folder holds other files.
        CannotWrite: the run folder cannot be written, or another page has it open.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder; give a folder of images, or a run folder")
    kept = default_run(folder) if run is None else run
    itself = kept.resolve() == folder.resolve()
    served = ServedFolder(kept if itself else folder, kept, pixels)
    make_folder(kept)
    make_folder(kept / CORRECTIONS)
    with locked(kept / CORRECTIONS):
        served.refresh()
        yield served


class ServedFolder:
    """The images of a folder, and the run that keeps what the models found and what persons corrected.

    Attributes:
        folder: The served folder.
        run: The run folder.
        entries: The images, by name.
        uploaded: Whether a visitor uploaded the folder, so that it does not stay on the server.
        unsaved: Whether a person changed something since it was last exported.
        unfit: Corrections in the upload that do not fit its images, and are left out.
    """

    def __init__(
        self, folder: Path, run: Path, pixels: int, entries: Sequence[Entry] | None = None, unfit: int = 0
    ) -> None:
        """List the images; see serving.

        Args:
            folder: The folder.
            run: The run folder.
            pixels: The largest accepted width times height of an image.
            entries: The images of an upload; None lists the folder.
            unfit: Corrections in an upload that do not fit its images.

        Raises:
            BadInput: there is no image, or the run cannot be read.
        """
        self.folder, self.run, self._pixels = folder, run, pixels
        self.uploaded, self.unsaved, self.unfit = entries is not None, False, unfit
        self._rows = answered_rows(run)
        self.entries: Sequence[Entry] = entries_of(folder, run, self._rows) if entries is None else entries
        self._by_key = {each.key: each for each in self.entries}
        self._status: dict[str, str] = {}
        self._reviewed: set[str] = set()
        self._doubts: list[str] | None = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read the status of every image.

        Raises:
            BadInput: a correction cannot be read.
        """
        kept = read_corrections(self.run)
        for each in self.entries:
            found = kept.get(each.id)
            self._note(each, found) if found else self._status.update({each.key: self._stored_status(each)})

    def _note(self, entry: Entry, found: Correction) -> None:
        self.unsaved = self.unsaved or found.reviewed or found.corrected
        self._status[entry.key] = "reviewed" if found.reviewed else "corrected" if found.corrected else "answered"
        (self._reviewed.add if found.reviewed else self._reviewed.discard)(entry.key)

    def _stored_status(self, entry: Entry) -> str:
        _, status = self._rows.get(entry.id, (0, "new" if entry.error is None else "error"))
        return {"ok": "answered"}.get(status, status)

    def has(self, key: object) -> bool:
        """Whether there is an image with this key."""
        return isinstance(key, str) and key in self._by_key

    def find(self, key: object) -> Entry:
        """Return an image.

        Raises:
            BadInput: there is no image with this key.
        """
        if not isinstance(key, str) or key not in self._by_key:
            raise BadInput("this image is not in the served folder; choose one of the list")
        return self._by_key[key]

    def status(self, key: str) -> str:
        """Return "new", "answered", "corrected", "reviewed" or "error"."""
        return self._status.get(key, "new")

    @property
    def counts(self) -> dict[str, int]:
        """Status -> number of images."""
        return dict(Counter(self.status(each.key) for each in self.entries))

    def ordered(self, order: object) -> Sequence[Entry]:
        """Return the images by name, or for "doubt" the most doubtful rows first and the others after them.

        Raises:
            BadInput: the run cannot be read.
        """
        if order != "doubt" or not is_run(self.run):
            return self.entries
        if self._doubts is None:
            self._doubts = [each.id for each in review(Run(self.run, corrected=False))]
        place = {name: row for row, name in enumerate(self._doubts)}
        return sorted(self.entries, key=lambda each: place.get(each.id, len(place)))

    def first_open(self) -> Entry:
        """Return the first image that is neither reviewed nor unreadable; the first one if there is none."""
        left = (each for each in self.entries if self.status(each.key) not in ("reviewed", "error"))
        return next(left, self.entries[0])

    def words(self) -> str:
        """Return the classes of the run as text for the field of words; empty if there are none or very many."""
        labels = Run(self.run).labels if is_run(self.run) else read_corrections(self.run).labels(())
        return ", ".join(labels) if len(labels) <= _MAX_WORDS else ""

    def _row(self, entry: Entry) -> Row | None:
        index, status = self._rows.get(entry.id, (0, "new"))
        return None if status == "new" else Run(self.run, corrected=False)[index]

    def _correction(self, entry: Entry) -> Correction | None:
        path = correction_file(self.run, entry.id)
        return from_json(path.read_bytes(), path) if path.is_file() else None

    def _read(self, entry: Entry, row: Row | None, min_side: int | None = None) -> tuple[Decoded, str | None]:
        """Read an image; the status of one that cannot be read becomes "error".

        Raises:
            BadInput: see read_entry.
            ImageError: see read_entry.
        """
        try:
            return read_entry(entry, self.folder, row, self._pixels, min_side=min_side)
        except ImageError:
            if self.status(entry.key) == "new":
                self._status[entry.key] = "error"
            raise

    def thumbnail(self, key: str) -> bytes:
        """Return an image downscaled as a JPEG file.

        Raises:
            BadInput: see find and read_entry.
            ImageError: see read_entry.
        """
        entry = self.find(key)
        row = self._row(entry) if entry.path is None else None
        decoded, _ = self._read(entry, row, _THUMBNAIL)
        small = Image.fromarray(decoded.pixels)
        small.thumbnail((_THUMBNAIL, _THUMBNAIL), reducing_gap=3.0)
        with BytesIO() as file:
            small.save(file, "JPEG", quality=80)
            return file.getvalue()

    def open(self, key: str, pipe: Pipeline, preset: str) -> Workspace:
        """Return the workspace of an image, with the answer and the corrections that the run has.

        Raises:
            BadInput: see find and read_entry; or its correction cannot be read.
            ImageError: see read_entry.
        """
        entry = self.find(key)
        row = self._row(entry)
        decoded, sha256 = self._read(entry, row)
        kept = self._correction(entry)
        if kept is not None and kept.sha256 not in (None, sha256):
            raise BadInput(f"{entry.name!r} has changed since it was corrected; restore it, or delete its correction")
        if kept is not None and (kept.height, kept.width) != decoded.pixels.shape[:2]:
            raise BadInput(f"the correction of {entry.name!r} is of another size than the image; delete the correction")
        return starting_point(
            entry, pipe.encode(decoded.pixels, []), preset, row, kept, partial(self.keep, entry, sha256)
        )

    def keep(self, entry: Entry, sha256: str | None, workspace: Workspace) -> None:
        """Write what the models found and a person changed in an image into the run.

        Raises:
            CannotWrite: the run folder cannot be written; the change is not made.
        """
        raw = workspace.raw()
        with self._lock:
            made = correction_of(entry, workspace, raw, sha256, reviewed=entry.key in self._reviewed)
            self._record(workspace, raw.run)
            write_correction(self.run, made)
            self._note(entry, made)

    def mark(self, key: str, workspace: Workspace, *, reviewed: bool) -> None:
        """Mark an image as reviewed, or as not reviewed.

        Raises:
            BadInput: see find.
            CannotWrite: see keep.
        """
        self.find(key)
        before = set(self._reviewed)
        (self._reviewed.add if reviewed else self._reviewed.discard)(key)
        try:
            if workspace.keeper is not None:
                workspace.keeper(workspace)
        except Exception:
            self._reviewed = before
            raise

    def _record(self, workspace: Workspace, made: Any) -> None:
        """Write run.json before the first correction, and again once there are words."""
        explored = workspace.explored
        labels = () if explored is None else explored.vocabulary.labels
        if is_run(self.run) and (not labels or Run(self.run).record["labels"] or self._rows):
            return
        if explored is not None:
            made = explored.result(workspace.source).run  # under the models' own thresholds
        described = describe(asdict(made), labels, features=None, feature_size=None, decode_size=None)
        with open_run(self.run, described, overwrite=is_run(self.run)):
            pass
