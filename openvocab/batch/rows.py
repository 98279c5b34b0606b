"""Rows: the stored answer to each input, in memory and as an Arrow table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, ImageErrorKind
from openvocab.pipeline.detections import Detections, shortest
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.result import Presence, Result, Tag
from openvocab.pipeline.verdict import VERIFICATION, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ErrorKind",
    "Row",
    "detections_of_plain",
    "from_table",
    "id_of",
    "likely_labels",
    "plain_detections",
    "row_of",
    "schema",
    "text_of",
    "to_table",
]

_RAW = "bytes:"
_UNLIKELY = 0.01
"""Labels of a lower presence are not stored."""
_MAX_LIKELY = 100
"""Labels whose presence a row stores, the most likely ones; a vocabulary may have 100,000."""

ErrorKind = Literal[ImageErrorKind, "nonfinite", "oom", "failed"]
"""Why an input has no answer: a kind of ImageError, or a failure after decoding.

nonfinite: A model returned numbers that are not finite.
oom: The image ran out of memory, even alone.
failed: A model raised another error on this image, and not on others.
"""


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """The stored answer to one input, or its error.

    Attributes:
        id: The name of the input, unique and stable within its source.
        sha256: The digest of the decoded bytes, or None if the input could not be read.
        width: The width in pixels of the upright image, or None if it could not be decoded.
        height: The height in pixels of the upright image, or None if it could not be decoded.
        frames: The number of frames in the file.
        error_kind: Why the input has no answer, or None.
        error: The error in one sentence, or None.
        tags: The tags, best first; empty after an error.
        detections: The detections, best first; None after an error.
        notes: Why there are no tags and no detections.
        presence: The probability that a label is in the image, for the 100 likeliest of 0.01 or more, in the order of
            the vocabulary; the others are less likely. None if it was not computed.
        features: (D,) of length 1, if the run stores features.
        drawing: The path of the annotated image relative to the run folder, if it was drawn.
        rejected: What verification rejected, with the verdicts; None after an error.
        labels: The vocabulary in order, or empty if it is not known; a run stores it in run.json, not in its rows.
        corrected: Whether a person changed the detections; see openvocab.read_run.
        reviewed: Whether a person marked the image as reviewed.
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
    features: NDArray[np.floating[Any]] | None = None
    drawing: str | None = None
    labels: tuple[str, ...] = field(default=(), kw_only=True)
    presence: Mapping[str, float] | None = field(default=None, kw_only=True)
    rejected: Detections | None = field(default=None, kw_only=True)
    corrected: bool = field(default=False, kw_only=True)
    reviewed: bool = field(default=False, kw_only=True)

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
    """Return the row of a Result; id defaults to its source."""
    return Row(
        result.source if id is None else id,
        sha256,
        result.width,
        result.height,
        frames,
        tags=result.tags,
        detections=result.detections.encoded(),
        notes=result.notes,
        presence=likely_labels(result.presence),
        rejected=result.rejected.encoded(),
        labels=result.labels,
    )


def likely_labels(presence: Presence) -> dict[str, float] | None:
    """Return the labels of a presence that a row stores; None where there is none."""
    if not len(presence):
        return None
    names, chances = presence.labels, presence.probabilities
    rows = np.flatnonzero(chances >= _UNLIKELY)
    if len(rows) > _MAX_LIKELY:
        rows = np.sort(rows[np.argsort(-chances[rows], kind="stable")[:_MAX_LIKELY]])
    return {names[row]: shortest(chances[row]) for row in rows.tolist()}


def schema(features: int | None = None, half: bool = True) -> pa.Schema:
    """Return the Arrow schema of rows.

    Args:
        features: The length D of the features, a fixed-size list, or None for rows without them.
        half: Whether features are float16, else float32.
    """
    import pyarrow as pa

    verdict = pa.struct([("kind", pa.string()), ("label", pa.string()), ("probability", pa.float32())])
    detection = pa.struct(
        [
            ("label", pa.string()),
            ("score", pa.float32()),
            ("detector_score", pa.float32()),
            ("mask_score", pa.float32()),
            ("xyxy", pa.list_(pa.float32(), 4)),
            ("counts", pa.string()),
            ("verdict", verdict),
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
        ("rejected", pa.list_(detection)),
        ("presence", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
        ("notes", pa.list_(pa.string())),
        ("drawing", pa.string()),
    ]
    if features is not None:
        fields.append(("features", pa.list_(pa.float16() if half else pa.float32(), features)))
    return pa.schema(fields)


def to_table(rows: Iterable[Row], kind: pa.Schema) -> pa.Table:
    """Return rows as a table of a schema.

    Raises:
        BadInput: A row has features of another length than the schema.
    """
    import pyarrow as pa

    kept = list(rows)
    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in kept]
        for name in ("sha256", "width", "height", "frames", "status", "error_kind", "error", "notes", "drawing")
    }
    columns["id"] = [text_of(row.id) for row in kept]
    columns["tags"] = [[{"label": tag.label, "score": tag.score} for tag in row.tags] for row in kept]
    columns["presence"] = [_pairs(row.presence) for row in kept]
    for name in ("detections", "rejected"):
        found = [getattr(row, name) for row in kept]
        columns[name] = [None if each is None else plain_detections(each) for each in found]
    arrays = [pa.array(columns[each.name], each.type) for each in kind if each.name != "features"]
    if "features" in kind.names:
        arrays.append(_features(kept, kind.field("features").type))
    return pa.Table.from_arrays(arrays, schema=kind)


def from_table(table: pa.Table | pa.RecordBatch, labels: tuple[str, ...] = ()) -> Iterator[Row]:
    """Yield the rows of a table made by to_table, each with the vocabulary."""
    has_features = "features" in table.schema.names
    index = {label: row for row, label in enumerate(dict.fromkeys(labels))}
    for plain in table.to_pylist():
        given = plain["features"] if has_features else None
        yield Row(
            id_of(plain["id"]),
            **{name: plain[name] for name in ("sha256", "width", "height", "frames", "error_kind", "error")},
            tags=tuple(Tag(tag["label"], tag["score"]) for tag in plain["tags"]),
            detections=_detections(plain, "detections", index),
            rejected=_detections(plain, "rejected", index),
            notes=tuple(plain.get("notes") or ()),
            presence=_presence(plain.get("presence")),
            features=None if given is None or given[0] != given[0] else np.asarray(given, np.float32),  # NaN
            drawing=plain.get("drawing"),  # rows of an earlier version have none
            labels=labels,
        )


def _pairs(presence: Mapping[str, float] | None) -> list[dict[str, Any]] | None:
    return None if presence is None else [{"label": label, "probability": value} for label, value in presence.items()]


def _presence(pairs: list[dict[str, Any]] | None) -> dict[str, float] | None:
    return None if pairs is None else {pair["label"]: shortest(pair["probability"]) for pair in pairs}


def text_of(name: str) -> str:
    """Return an id as stored in a table: itself, or "bytes:" and its percent-encoded bytes if it is not Unicode."""
    try:
        name.encode()
        plain = not name.startswith(_RAW)
    except UnicodeEncodeError:
        plain = False
    return name if plain else _RAW + quote(os.fsencode(name))


def id_of(text: str) -> str:
    """Return the id of a stored text, the inverse of text_of; os.fsencode of it is the file name."""
    return os.fsdecode(unquote_to_bytes(text.removeprefix(_RAW))) if text.startswith(_RAW) else text


def plain_detections(detections: Detections) -> list[dict[str, Any]]:
    """Return detections as plain JSON types, each with its mask's run-length counts; boxes and scores are exact."""
    masks = detections.encoded().masks
    verdicts = detections.data.get(VERIFICATION, ())
    counts = masks.counts if isinstance(masks, EncodedMasks) else [None] * len(detections)
    mask_scores = [None] * len(detections) if detections.mask_scores is None else detections.mask_scores.tolist()
    columns: dict[str, Sequence[Any]] = {
        "label": detections.labels,
        "score": detections.scores.tolist(),
        "detector_score": detections.detector_scores.tolist(),
        "mask_score": mask_scores,
        "xyxy": detections.xyxy.tolist(),
        "counts": counts,
        "verdict": [asdict(each) for each in verdicts] if verdicts else [None] * len(detections),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _detections(plain: dict[str, Any], name: str, index: dict[str, int]) -> Detections | None:
    """Return the detections of a column of a row, or None; labels that the index lacks come after it."""
    rows = plain.get(name)
    return None if rows is None else detections_of_plain(rows, index, plain["height"], plain["width"])


def detections_of_plain(
    rows: Sequence[Mapping[str, Any]], index: Mapping[str, int], height: int | None, width: int | None
) -> Detections:
    """Return the detections that plain_detections wrote.

    Args:
        rows: N plain detections.
        index: Label -> class id; labels that it lacks come after it.
        height: The height of the image in pixels; used if there are masks.
        width: The width of the image in pixels.
    """
    masked = bool(rows) and rows[0]["counts"] is not None
    labels = tuple(one["label"] for one in rows)
    verdicts = tuple(verdict for one in rows if (verdict := _verdict(one)))
    found = Detections(
        np.array([one["xyxy"] for one in rows], np.float32).reshape(-1, 4),
        np.array([one["score"] for one in rows], np.float32),
        labels,
        np.array([one["detector_score"] for one in rows], np.float32),
        np.array([one["mask_score"] for one in rows], np.float32) if masked else None,
        EncodedMasks(tuple(one["counts"] for one in rows), height or 0, width or 0) if masked else None,
        data={VERIFICATION: verdicts} if verdicts else {},
    )
    new = [label for label in dict.fromkeys(labels) if label not in index]
    return found.indexed({**index, **{label: len(index) + at for at, label in enumerate(new)}} if new else index)


def _verdict(plain: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict of a plain detection, which has its text alone in rows of an earlier version; or None."""
    if (made := plain.get("verdict")) is not None:
        known = made["probability"]
        return Verdict(made["kind"], made["label"], None if known is None else shortest(known))
    text = plain.get(VERIFICATION)
    return None if text is None else Verdict.from_text(text)


def _features(rows: Sequence[Row], kind: pa.DataType) -> pa.Array:
    """Return a fixed-size list array, with NaN for rows without features: pyarrow before 26 cannot read nulls."""
    import pyarrow as pa

    length, narrow = kind.list_size, np.float16 if kind.value_type == pa.float16() else np.float32
    flat = np.full((len(rows), length), np.nan, narrow)
    for number, row in enumerate(rows):
        if row.features is not None:
            if row.features.shape != (length,):
                raise BadInput(f"{row.id}: its features have shape {row.features.shape}, not ({length},)")
            flat[number] = row.features
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), type=kind)
