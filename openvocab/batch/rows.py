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
from openvocab.pipeline.masks import decode_mask, encode_mask
from openvocab.pipeline.result import Regions, Result, Tag

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ErrorKind", "Row", "RowRegions", "from_table", "id_of", "row_of", "schema", "text_of", "to_table"]

_RAW = "bytes:"

ErrorKind = Literal[ImageErrorKind, "nonfinite", "oom", "failed"]
"""Why an input has no answer: the kinds of ImageError, and what can go wrong after decoding.

nonfinite  a model answered with numbers that are not finite.
oom        the image was too much for the memory, even alone.
failed     a model raised an error of another kind on this image, and not on others.
"""


@dataclass(frozen=True, eq=False, slots=True)
class RowRegions:
    """N labeled regions with their masks as COCO run-length encoding; the other fields are those of Regions.

    counts  N strings: pycocotools' compressed counts over (height, width) of the image; None where no segmenter ran.
    """

    labels: tuple[str, ...]
    scores: NDArray[np.float32]
    detector_scores: NDArray[np.float32]
    xyxy: NDArray[np.float32]
    mask_scores: NDArray[np.float32] | None = None
    counts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, regions: Regions) -> RowRegions:
        """Encode the masks of Regions."""
        plain = (regions.labels, regions.scores, regions.detector_scores, regions.xyxy, regions.mask_scores)
        return cls(*plain, None if regions.masks is None else tuple(_encode(mask) for mask in regions.masks))

    def masks(self, height: int, width: int) -> NDArray[np.bool_] | None:
        """Decode to (N, height, width); None where no segmenter ran."""
        if self.counts is None:
            return None
        found = np.zeros((len(self), height, width), np.bool_)
        for row, counts in enumerate(self.counts):
            found[row] = decode_mask({"size": [height, width], "counts": counts})
        return found


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """What is known of one input, whether it could be answered or not.

    id             names the input: unique and stable within a source.
    sha256         of the bytes that were decoded; None where none could be read.
    width, height  pixels of the upright image; None where it could not be decoded.
    frames         how many the file holds; the first one is answered.
    error_kind     None where the input was answered.
    error          one sentence; None where the input was answered.
    tags           best first; regions best first; both empty where there is an error.
    notes          why there is neither a tag nor a region.
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
    regions: RowRegions | None = None
    notes: tuple[str, ...] = ()
    embedding: NDArray[np.floating[Any]] | None = None
    drawing: str | None = None
    labels: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in the order of class ids; see Result.classes."""
        found = () if self.regions is None else self.regions.labels
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
        regions=RowRegions.of(result.regions),
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

    region = pa.struct(
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
        ("regions", pa.list_(region)),
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
    columns["regions"] = [None if row.regions is None else _plain(row.regions) for row in kept]
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
            regions=None if plain["regions"] is None else _regions(plain["regions"]),
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


def _encode(mask: NDArray[np.bool_]) -> str:
    counts: bytes = encode_mask(mask)["counts"]
    return counts.decode()


def _plain(regions: RowRegions) -> list[dict[str, Any]]:
    count = len(regions)
    return [
        {"label": label, "score": score, "detector_score": found, "mask_score": sure, "xyxy": box, "counts": counts}
        for label, score, found, sure, box, counts in zip(
            regions.labels,
            regions.scores.tolist(),
            regions.detector_scores.tolist(),
            [None] * count if regions.mask_scores is None else regions.mask_scores.tolist(),
            regions.xyxy.tolist(),
            regions.counts or [None] * count,
            strict=True,
        )
    ]


def _regions(plain: Sequence[dict[str, Any]]) -> RowRegions:
    masked = bool(plain) and plain[0]["counts"] is not None
    return RowRegions(
        tuple(one["label"] for one in plain),
        np.array([one["score"] for one in plain], np.float32),
        np.array([one["detector_score"] for one in plain], np.float32),
        np.array([one["xyxy"] for one in plain], np.float32).reshape(-1, 4),
        np.array([one["mask_score"] for one in plain], np.float32) if masked else None,
        tuple(one["counts"] for one in plain) if masked else None,
    )


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
