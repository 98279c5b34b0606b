"""The corrections of a run: one file per image in corrections/, which readers and exporters apply."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from openvocab.batch.atomic import cannot_write, write_atomic
from openvocab.batch.corrections.correction import Correction, applied, from_json, row_of_correction, to_json
from openvocab.batch.rows import Row

__all__ = ["CORRECTIONS", "Corrections", "correction_file", "read_corrections", "write_correction"]

CORRECTIONS = "corrections"
"""The folder of the corrections in a run folder."""
_LOG = logging.getLogger("openvocab")


def correction_file(run: Path, id: str) -> Path:  # noqa: A002
    """Return the file of an image's correction."""
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
    return run / CORRECTIONS / f"{digest[:32]}.json"


def write_correction(run: Path, correction: Correction) -> None:
    """Write or replace the correction of an image, atomically and durably.

    Raises:
        CannotWrite: The disk is full, or the folder is read-only.
    """
    path = correction_file(run, correction.id)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    write_atomic(path, to_json(correction))


def read_corrections(run: Path) -> Corrections:
    """Return the corrections of a run folder.

    Raises:
        BadInput: A file is not a correction.
    """
    files = sorted(each for each in (run / CORRECTIONS).glob("*.json") if not each.name.startswith("."))
    found = [from_json(each.read_bytes(), each) for each in files]
    return Corrections({each.id: each for each in sorted(found, key=lambda each: os.fsencode(each.id))})


class Corrections(Mapping[str, Correction]):
    """The corrections of a run by the id of their image, in the order of the ids."""

    def __init__(self, by_id: Mapping[str, Correction]) -> None:
        """Keep corrections."""
        self._by_id = by_id

    def __getitem__(self, id: str) -> Correction:  # noqa: A002
        return self._by_id[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def labels(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return known labels, then what images were asked for and named beyond them."""
        asked = (label for each in self._by_id.values() for label in each.labels)
        named = (label for each in self._by_id.values() for label in each.detections.labels)
        return tuple(dict.fromkeys([*known, *asked, *named]))

    def over(self, rows: Iterable[Row], labels: tuple[str, ...]) -> Iterator[Row]:
        """Yield rows with their corrections, then a row for each other correction.

        A correction of another version of the image, whose digest differs, is not applied.

        Args:
            rows: The rows of the run.
            labels: The labels of the run; see Corrections.labels.
        """
        left = dict(self._by_id)
        for row in rows:
            found = left.pop(row.id, None)
            yield row if found is None else _corrected(row, found, labels)
        yield from (row_of_correction(each, labels) for each in left.values())

    def without(self, ids: Iterable[str]) -> int:
        """Return how many corrections have none of these ids."""
        return len(self._by_id.keys() - set(ids))


def _corrected(row: Row, found: Correction, labels: tuple[str, ...]) -> Row:
    if row.sha256 is not None and found.sha256 not in (None, row.sha256):
        _LOG.warning("warning: %s has changed since it was corrected; its correction is left out", row.id)
        return row
    return applied(row, found, labels)
