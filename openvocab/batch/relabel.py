"""New labels for a run with stored features: no image is read, and only the tagger's text tower runs.

A row has the features of the whole image, so that is scored even if the run also scored windows or tiles. Features
stored as float16 give scores that differ from the run's by that rounding.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.batch.changes import Known
from openvocab.batch.inputs.target import refuse_target
from openvocab.batch.part_files import Place
from openvocab.batch.rows import id_of, schema
from openvocab.batch.run_folder import Run, RunFolder, describe, open_run
from openvocab.batch.writer import Summary, session_record
from openvocab.errors import BadInput, BadOutput
from openvocab.images.items import Item
from openvocab.pipeline.chain import score_features, tag
from openvocab.pipeline.gate import best_labels
from openvocab.pipeline.result import ModelRecord
from openvocab.pipeline.stages import Stages, run_record

if TYPE_CHECKING:
    import pyarrow as pa

    from openvocab.pipeline.protocols import Tagger, Vocabulary
    from openvocab.pipeline.settings import Settings

__all__ = ["refuse_without_features", "relabel"]

_SCORES = 2**22
"""The maximum number of scores in memory at once, but at least one row."""


def relabel(
    run: Run,
    tagger: Tagger,
    folder: str | os.PathLike[str],
    vocabulary: Vocabulary,
    settings: Settings,
    *,
    overwrite: bool = False,
) -> Summary:
    """Write a run folder with the rows of a run and tags for another vocabulary.

    Ids, digests, sizes, errors and features are copied; detections are dropped, since they belong to the old labels.
    Calling it again resumes.

    Args:
        run: A run whose rows have features.
        tagger: The tagger of the run.
        folder: The run folder to write.
        vocabulary: The new labels, encoded with that tagger.
        settings: tag_threshold, max_tags and calibration are used; windows and tiles are recorded as 0.
        overwrite: Whether an existing run in the folder is replaced.

    Raises:
        BadInput: The run has no features, or those of another tagger; or the folder is that of the run, or holds
            another run.
        BadOutput: A score is not finite.
        CannotWrite: The folder cannot be written, or another process is writing it.
    """
    refuse_without_features(run)
    _refuse_another(run, tagger.record)
    refuse_target(os.fspath(folder), [run.path])
    settings = replace(settings, windows=0, tiles=0)
    stages = Stages(tagger, None, None, settings)
    kept = {name: run.record.get(name) for name in ("features", "feature_size", "decode_size")}
    made_by = describe(asdict(run_record(stages, vocabulary)), vocabulary.labels, **kept)
    kind = schema(kept["feature_size"], kept["features"] == "float16")
    with open_run(Path(folder), made_by, overwrite=overwrite) as target:
        return _session(run, target, partial(_relabeled, kind=kind, stages=stages, vocabulary=vocabulary))


def _session(run: Run, target: RunFolder, relabeled: Callable[[pa.Table], pa.Table]) -> Summary:
    """Write what is missing, and note in run.json what was done."""
    began, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    counts, known = Counter[str](), Known(target)
    for table, place in _missing(run, known):
        target.add_table(relabeled(table), place)
        counts.update(each or "ok" for each in table.column("error_kind").to_pylist())
    seconds, ok, skipped = round(time.monotonic() - started, 3), counts.pop("ok", 0), len(known)
    summary = Summary(str(target.path), ok, dict(counts), skipped, known.errors, seconds)
    if summary.rows:
        said = {"began": began, "openvocab": openvocab.__version__, "relabeled_from": str(run.path)}
        target.note(said | session_record(summary))
    return summary


_LEFT_OUT = ("presence", "detections", "rejected", "drawing")
"""The columns that relabeled rows leave empty."""


def refuse_without_features(run: Run) -> None:
    """Refuse a run without features.

    Raises:
        BadInput: The run has no features.
    """
    if not run.record.get("features"):
        raise BadInput(f"{run.path} holds no features, so it cannot be relabeled; run it with features='float32'")


def _refuse_another(run: Run, loaded: ModelRecord) -> None:
    """Raise BadInput unless the run's features come from the loaded tagger, in the same precision."""
    made: Mapping[str, Any] = run.record.get("tagger") or {}
    same = made.get("sha256") == loaded.sha256 and (loaded.sha256 is not None or made.get("spec") == loaded.spec)
    if not same or made.get("dtype") != loaded.dtype:
        before = _named(made.get("spec"), made.get("sha256"), made.get("dtype"))
        now = _named(loaded.spec, loaded.sha256, loaded.dtype)
        raise BadInput(f"the features in {run.path} were made by {before}, not by {now}; load that tagger")


def _named(spec: Any, sha256: Any, dtype: Any) -> str:
    digest = sha256[:12] if isinstance(sha256, str) else "unknown"
    return f"{spec} (sha256 {digest}, {dtype})"


def _missing(run: Run, known: Known) -> Iterator[tuple[pa.Table, Place | None]]:
    """Yield a run's parts as tables without finished rows, each with the place of its new part; see Known.place."""
    import pyarrow as pa

    for table in run.tables(without=("tags", "presence", "detections", "rejected")):
        ids = table.column("id").to_pylist()
        wanted = table.filter(pa.array([name not in known for name in ids])) if known else table
        places = [known.place(item.id) for item in known.over(Item(id_of(name)) for name in ids)]
        if len(wanted):
            yield wanted, next((place for place in places if place is not None), None)


def _relabeled(table: pa.Table, kind: pa.Schema, stages: Stages, vocabulary: Vocabulary) -> pa.Table:
    """Return a table of the schema with the copied columns, new tags, and no detections."""
    import pyarrow as pa

    columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
    columns["tags"], notes = _tags(table, kind.field("tags").type, stages, vocabulary)
    columns["notes"] = pa.array(notes, kind.field("notes").type)
    columns |= {name: pa.nulls(len(table), kind.field(name).type) for name in _LEFT_OUT}
    return pa.Table.from_arrays([columns[name] for name in kind.names], schema=kind)


def _tags(
    table: pa.Table, kind: pa.DataType, stages: Stages, vocabulary: Vocabulary
) -> tuple[pa.Array, list[tuple[str, ...]]]:
    """Return the tags and the notes of each row; both are empty for an error."""
    import pyarrow as pa

    answered = np.flatnonzero(np.array(table.column("error_kind").is_null()))
    rows = _features(table.column("features").combine_chunks().take(pa.array(answered)), table)
    counts, labels, scores = np.zeros(len(table), np.int32), [np.zeros(0, np.intp)], [np.zeros(0, np.float32)]
    notes: list[tuple[str, ...]] = [()] * len(table)
    step = max(1, _SCORES // len(vocabulary.labels))
    for start in range(0, len(rows), step):
        block = score_features(stages, rows[start : start + step], vocabulary)
        for row, given in zip(answered[start : start + step], block, strict=True):
            best, best_scores = best_labels(given, vocabulary.labels, stages.settings)
            counts[row] = len(best)
            if not len(best):
                notes[row] = tag(stages, given, vocabulary.labels).notes
            labels.append(best)
            scores.append(best_scores)
    names = pa.array(vocabulary.labels, pa.string()).take(pa.array(np.concatenate(labels)))
    pairs = pa.StructArray.from_arrays([names, pa.array(np.concatenate(scores))], fields=list(kind.value_type))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pairs, type=kind), notes


def _features(column: pa.FixedSizeListArray, table: pa.Table) -> NDArray[np.float32]:
    """Return (N, D) float32 rows.

    Raises:
        BadInput: An answered row has no features.
        BadOutput: Features are not finite.
    """
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32)
    if len(flat) < len(column) * column.type.list_size or np.isnan(flat).any():
        raise BadInput(f"a row near {table.column('id')[0]} is answered and has no features; run it again")
    rows = flat.reshape(len(column), column.type.list_size)
    if not np.isfinite(rows).all():
        raise BadOutput(f"features near {table.column('id')[0]} are not finite; run it again")
    return rows
