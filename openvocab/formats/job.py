"""What an exporter is given: rows, the vocabulary, where to write, and how."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openvocab.batch.rows import Row, text_of
from openvocab.errors import BadInput
from openvocab.formats.options import ExportOptions
from openvocab.images.frames import split_frame

__all__ = ["Exported", "Job", "LabelIndex"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: The file or folder.
        images: Number of rows of answered inputs.
        errors: Number of rows of inputs without an answer.
        detections: Number of detections in all images.
        unlinked: Number of images that could not be linked or copied because they are missing or have changed;
            images.jsonl gives the reasons.
    """

    path: str
    images: int
    errors: int
    detections: int
    unlinked: int


class LabelIndex:
    """The vocabulary in its order, and the place of each label in it."""

    def __init__(self, labels: Sequence[str]) -> None:
        """Keep the labels.

        Raises:
            BadInput: a label stands there twice.
        """
        self.names = tuple(labels)
        self._places = {label: place for place, label in enumerate(self.names)}
        if len(self._places) < len(self.names):
            twice = next(label for place, label in enumerate(self.names) if self._places[label] != place)
            raise BadInput(f"the label {twice!r} stands twice in the vocabulary; give each label once")

    def __len__(self) -> int:
        return len(self.names)

    def class_id(self, label: str, row: Row) -> int:
        """Return the index of a label that a row has, from 0.

        Raises:
            BadInput: it is not in the vocabulary.
        """
        if label not in self._places:
            raise BadInput(
                f"{row.id!r} has the label {label!r}, which is not among the {len(self)} given; give the run's labels"
            )
        return self._places[label]


@dataclass(slots=True)
class Job:
    """One export: what is written, where and how, and a count of what has been written.

    path is the place that the caller named; an exporter of a folder writes into a hidden one that takes its place.
    """

    rows: Iterator[Row]
    labels: LabelIndex
    path: Path
    options: ExportOptions = field(default_factory=ExportOptions)
    unlinked: int = 0
    _count: dict[str, int] = field(init=False, default_factory=lambda: {"images": 0, "errors": 0, "detections": 0})

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows, once, and count them."""
        for row in self.rows:
            self._count["images" if row.status == "ok" else "errors"] += 1
            self._count["detections"] += 0 if row.detections is None else len(row.detections)
            yield row

    def image(self, row: Row) -> str:
        """Return how the row's image is named in the output."""
        name = split_frame(row.id)[0] if row.frames == 1 else row.id
        return self.options.prefix + _below(text_of(name), self.options.relative_to)

    def done(self) -> Exported:
        """Return what was written."""
        return Exported(str(self.path), unlinked=self.unlinked, **self._count)


def _below(name: str, folder: str | None) -> str:
    """Return the path from folder to name, with slashes, where name lies below it; else name."""
    if folder is None or "://" in name:
        return name
    inside = os.path.relpath(os.path.abspath(name), os.path.abspath(folder))
    return name if inside.startswith(os.pardir) else inside.replace(os.sep, "/")
