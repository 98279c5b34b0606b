"""One row per input: what a run keeps of each image, in memory and as an Arrow table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, ImageErrorKind
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.result import Result, Tag

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ErrorKind", "Row", "from_table", "id_of", "row_of", "schema", "text_of", "to_table"]

_RAW = "bytes:"

ErrorKind = Literal[ImageErrorKind, "nonfinite", "oom", "failed"]
"""Why an input has no answer: the kinds of ImageError, and what can go wrong after decoding.

nonfinite  a model answered with numbers that are not finite.
oom        the image was too much for the memory, even alone.
failed     a model raised an error of another kind on this image, and not on others.
"""


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """What is known of one input, whether it could be answered or not.

    id             names the input: unique and stable within a source.
    sha256         of the bytes that were decoded; None where none could be read.
    width, height  pixels of the upright image; None where it could not be decoded.
    frames         how many the file holds; the first one is answered.
    error_kind     None where the input was answered.
    error          one sentence; None where the input was answered.
    tags           best first; detections best first; both empty where there is an error.
    notes          why there is neither a tag nor a detection.
    embedding      (D,) of length 1, where it was asked for.
    drawing        the annotated image, as a path from the run folder; None where none was drawn.
    labels         the vocabulary, in its order; empty where it is not known. A run has it in run.json, not in its rows.
    """

    id: str
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    error_kind: ErrorKind | None = None
    error: str | None = None
    tags: tuple[Tag, ...] = ()
    detections: Detections | None = None
    notes: tuple[str, ...] = ()
    embedding: NDArray[np.floating[Any]] | None = None
    drawing: str | None = None
    labels: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in the order of class ids; see Result.classes."""
        found = () if self.detections is None else self.detections.labels
        return tuple(dict.fromkeys([*self.labels, *found, *(tag.label for tag in self.tags)]))

    @property
    def status(self) -> Literal["ok", "error"]:
        """Whether the input was answered."""
        return "ok" if self.error_kind is None else "error"


def row_of(result: Result, *, id: str | None = None, sha256: str | None = None, frames: int | None = None) -> Row:  # noqa: A002
    """Return the row of a Result; id is its source where none is given."""
    return Row(
        result.source if id is None else id,
        sha256,
        result.width,
        result.height,
        frames,
        tags=result.tags,
        detections=result.detections.encoded(),
        notes=result.notes,
        labels=result.labels,
    )


def schema(embedding: int | None = None, half: bool = True) -> pa.Schema:
    """Return the Arrow schema of rows.

    Args:
        embedding: the length D of embeddings, where rows have one: a fixed-size list.
        half: embeddings as float16, else float32.
    """
    import pyarrow as pa

    detection = pa.struct(
        [
            ("label", pa.string()),
            ("score", pa.float32()),
            ("detector_score", pa.float32()),
            ("mask_score", pa.float32()),
            ("xyxy", pa.list_(pa.float32(), 4)),
            ("counts", pa.string()),
        ]
    )
    fields = [
        ("id", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("frames", pa.int32()),
        ("status", pa.string()),
        ("error_kind", pa.string()),
        ("error", pa.string()),
        ("tags", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))),
        ("detections", pa.list_(detection)),
        ("notes", pa.list_(pa.string())),
        ("drawing", pa.string()),
    ]
    if embedding is not None:
        fields.append(("embedding", pa.list_(pa.float16() if half else pa.float32(), embedding)))
    return pa.schema(fields)


def to_table(rows: Iterable[Row], kind: pa.Schema) -> pa.Table:
    """Return the rows as a table of that schema.

    Raises:
        BadInput: the schema has embeddings and an answered row has none, or one of another length.
    """
    import pyarrow as pa

    kept = list(rows)
    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in kept]
        for name in ("sha256", "width", "height", "frames", "status", "error_kind", "error", "notes", "drawing")
    }
    columns["id"] = [text_of(row.id) for row in kept]
    columns["tags"] = [[{"label": tag.label, "score": tag.score} for tag in row.tags] for row in kept]
    columns["detections"] = [None if row.detections is None else _plain(row.detections) for row in kept]
    arrays = [pa.array(columns[each.name], each.type) for each in kind if each.name != "embedding"]
    if "embedding" in kind.names:
        arrays.append(_embeddings(kept, kind.field("embedding").type))
    return pa.Table.from_arrays(arrays, schema=kind)


def from_table(table: pa.Table | pa.RecordBatch, labels: tuple[str, ...] = ()) -> Iterator[Row]:
    """Yield the rows of a table that to_table made, each with the vocabulary."""
    has_embedding = "embedding" in table.schema.names
    for plain in table.to_pylist():
        given = plain["embedding"] if has_embedding else None
        yield Row(
            id_of(plain["id"]),
            **{name: plain[name] for name in ("sha256", "width", "height", "frames", "error_kind", "error")},
            tags=tuple(Tag(tag["label"], tag["score"]) for tag in plain["tags"]),
            detections=_detections(plain, labels),
            notes=tuple(plain.get("notes") or ()),
            embedding=None if given is None or given[0] != given[0] else np.asarray(given, np.float32),  # NaN
            drawing=plain.get("drawing"),  # rows of an earlier version have none
            labels=labels,
        )


def text_of(name: str) -> str:
    """Return an id as the table holds it: itself, or bytes: and its percent-encoded bytes where it is not Unicode."""
    try:
        name.encode()
        plain = not name.startswith(_RAW)
    except UnicodeEncodeError:
        plain = False
    return name if plain else _RAW + quote(os.fsencode(name))


def id_of(text: str) -> str:
    """Return the id that text_of made the text from; os.fsencode of it is the file's name."""
    return os.fsdecode(unquote_to_bytes(text.removeprefix(_RAW))) if text.startswith(_RAW) else text


def _plain(detections: Detections) -> list[dict[str, Any]]:
    masks = detections.encoded().masks
    counts = masks.counts if isinstance(masks, EncodedMasks) else [None] * len(detections)
    mask_scores = [None] * len(detections) if detections.mask_scores is None else detections.mask_scores.tolist()
    columns: dict[str, Sequence[Any]] = {
        "label": detections.labels,
        "score": detections.scores.tolist(),
        "detector_score": detections.detector_scores.tolist(),
        "mask_score": mask_scores,
        "xyxy": detections.xyxy.tolist(),
        "counts": counts,
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _detections(plain: dict[str, Any], classes: tuple[str, ...]) -> Detections | None:
    """Return the detections of a row of a table; None where it has none."""
    rows = plain["detections"]
    if rows is None:
        return None
    masked = bool(rows) and rows[0]["counts"] is not None
    labels = tuple(one["label"] for one in rows)
    found = Detections(
        np.array([one["xyxy"] for one in rows], np.float32).reshape(-1, 4),
        np.array([one["score"] for one in rows], np.float32),
        labels,
        np.array([one["detector_score"] for one in rows], np.float32),
        np.array([one["mask_score"] for one in rows], np.float32) if masked else None,
        EncodedMasks(tuple(one["counts"] for one in rows), plain["height"], plain["width"]) if masked else None,
    )
    return found.indexed(tuple(dict.fromkeys([*classes, *labels])))


def _embeddings(rows: Sequence[Row], kind: pa.DataType) -> pa.Array:
    """Return a fixed-size list array; NaN where a row has none, since pyarrow before 26 cannot read null ones."""
    import pyarrow as pa

    length, narrow = kind.list_size, np.float16 if kind.value_type == pa.float16() else np.float32
    flat = np.full((len(rows), length), np.nan, narrow)
    for number, row in enumerate(rows):
        if row.embedding is not None:
            if row.embedding.shape != (length,):
                raise BadInput(f"{row.id}: its embedding has shape {row.embedding.shape}, not ({length},)")
            flat[number] = row.embedding
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), type=kind)
