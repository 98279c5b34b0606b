"""The input of an exporter: rows, the vocabulary, the path and the options."""

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
    """The summary of an export.

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
    """The vocabulary in order, and the index of each label in it."""

    def __init__(self, labels: Sequence[str]) -> None:
        """Index the labels.

        Raises:
            BadInput: A label is duplicated.
        """
        self.names = tuple(labels)
        self._indices = {label: index for index, label in enumerate(self.names)}
        if len(self._indices) < len(self.names):
            twice = next(label for index, label in enumerate(self.names) if self._indices[label] != index)
            raise BadInput(f"the label {twice!r} is in the vocabulary twice; give each label once")

    def __len__(self) -> int:
        return len(self.names)

    def class_id(self, label: str, row: Row) -> int:
        """Return the index of a label of a row.

        Raises:
            BadInput: The label is not in the vocabulary.
        """
        if label not in self._indices:
            raise BadInput(
                f"{row.id!r} has the label {label!r}, which is not among the {len(self)} given; give the run's labels"
            )
        return self._indices[label]


@dataclass(slots=True)
class Job:
    """One export.

    Attributes:
        rows: The rows; they are read once.
        labels: The vocabulary.
        path: The file or folder to write; exporters write to a temporary path and rename it.
        options: The options.
        unlinked: The number of images that could not be linked or copied so far.
    """

    rows: Iterator[Row]
    labels: LabelIndex
    path: Path
    options: ExportOptions = field(default_factory=ExportOptions)
    unlinked: int = 0
    _count: dict[str, int] = field(init=False, default_factory=lambda: {"images": 0, "errors": 0, "detections": 0})

    def __iter__(self) -> Iterator[Row]:
        """Yield and count the rows."""
        for row in self.rows:
            self._count["images" if row.status == "ok" else "errors"] += 1
            self._count["detections"] += 0 if row.detections is None else len(row.detections)
            yield row

    def image(self, row: Row) -> str:
        """Return the name of a row's image in the output."""
        name = split_frame(row.id)[0] if row.frames == 1 else row.id
        return self.options.prefix + _below(text_of(name), self.options.relative_to)

    def done(self) -> Exported:
        """Return the summary."""
        return Exported(str(self.path), unlinked=self.unlinked, **self._count)


def _below(name: str, folder: str | None) -> str:
    """Return the path of name relative to folder, with slashes, if it is inside; else name."""
    if folder is None or "://" in name:
        return name
    try:
        inside = os.path.relpath(os.path.abspath(name), os.path.abspath(folder))
    except ValueError:  # on another drive of Windows
        return name
    return name if inside.split(os.sep)[0] == os.pardir else inside.replace(os.sep, "/")
