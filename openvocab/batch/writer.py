"""Writing a run: one thread writes the answers of an engine into the run folder."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.batch.answers import About, Answer, Answering, results
from openvocab.batch.changes import Changes, Known, dated, refuse_changes
from openvocab.batch.drawing import Drawing
from openvocab.batch.engine import Engine, Reading
from openvocab.batch.feature_cache import open_cache
from openvocab.batch.inputs.target import outside, refuse_target
from openvocab.batch.part_files import Place
from openvocab.batch.rows import Row, schema, to_table
from openvocab.batch.run_folder import RunFolder, describe, open_run
from openvocab.batch.run_options import RunOptions, Summary
from openvocab.errors import BadInput
from openvocab.images.frames import frame_items, whole_file_items
from openvocab.images.items import Item, Skip
from openvocab.images.sources import Images, Names, items
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.protocols import NO_PIXELS
from openvocab.pipeline.stages import Stages, run_record

if TYPE_CHECKING:
    import pyarrow as pa

    from openvocab.pipeline.protocols import Vocabulary
    from openvocab.pipeline.result import Result

__all__ = [
    "RunOptions",
    "Source",
    "Summary",
    "about",
    "open_engine",
    "session_record",
    "source_of",
    "stream",
    "write_answers",
    "write_run",
]

Source = Callable[[Skip], Iterator[Item]]
"""Yields the items of a run; takes a function that returns whether an id is skipped."""

_WAITING = 16
_TICK = 0.2


def write_run(stages: Stages, folder: str, images: Names, vocabulary: Vocabulary, options: RunOptions) -> Summary:
    """Answer the inputs without a row and write their rows; see Pipeline.run_to.

    Raises:
        BadInput: There is no image, an input is in the folder, or the folder holds another run.
        CannotWrite: The folder cannot be written, or another process is writing it.
    """
    source = source_of(folder, images, options)
    with open_engine(stages, vocabulary, options) as engine:
        return write_answers(folder, source, engine, about(stages, vocabulary, options), options)


def source_of(folder: str, images: Names, options: RunOptions) -> Source:
    """Return the source of a run.

    Raises:
        BadInput: There is no image, or an input is in the folder; of links in a long list, the source raises it.
    """
    refuse_target(folder, images, overwrite=options.overwrite)
    source = _source(images, options, folder)
    if next(source(lambda *_: True), None) is None:
        raise _nothing_found(images)
    return (lambda skip: outside(source(skip), folder)) if os.path.isdir(folder) else source


def _source(images: Images, options: RunOptions, without: str | None = None) -> Source:
    read = partial(items, images, allow_urls=options.allow_urls, without=without)
    if options.frames == "first":
        return partial(whole_file_items, lambda skip: read(skip=skip))
    return lambda skip: frame_items(read(), options.frames, skip)


def stream(
    stages: Stages,
    images: Images,
    vocabulary: Vocabulary,
    options: RunOptions,
    on_error: Callable[[Path, Exception], None] | None,
) -> Iterator[Result]:
    """Yield results as they are computed, without writing them; see Pipeline.run.

    Raises:
        BadInput: There is no image; or as Engine.
        Exception: The error of an input, if on_error is not given.
    """
    with open_engine(stages, vocabulary, replace(options, draw=True)) as engine:
        answers = engine.answers(_source(images, options)(lambda *_: False))
        first = next(answers, None)
        if first is None:
            raise _nothing_found(images)
        found = chain([first], answers)
        del first  # only the caller references an image once it has the result
        yield from results(found, run_record(stages, vocabulary), vocabulary.labels, on_error)


def _nothing_found(named: Images) -> BadInput:
    """Return the error for a source without images."""
    given: Any = [named] if isinstance(named, str | os.PathLike) else named
    return BadInput(f"no image in {', '.join(map(str, given))}; give an image or a folder with images")


def about(stages: Stages, vocabulary: Vocabulary, options: RunOptions) -> About:
    """Return the models and the vocabulary of a pipeline, for run.json."""
    size = None
    if vocabulary.texts and options.features:
        size = getattr(stages.tagger, "feature_size", vocabulary.texts.embeddings.shape[1])
    return About(run_record(stages, vocabulary), vocabulary.labels, size)


@contextmanager
def open_engine(stages: Stages, vocabulary: Vocabulary, options: RunOptions) -> Iterator[Engine]:
    """Open an engine and its cache for run options.

    Raises:
        BadInput: As Engine.
    """
    reading = Reading(options.workers, options.isolate, options.decode_size, options.max_pixels)
    with ExitStack() as stack:
        cache = None if options.cache is None else stack.enter_context(open_cache(options.cache))
        yield Engine(
            stages.for_vocabulary(vocabulary),
            vocabulary,
            reading,
            features=bool(options.features),
            pixels=options.draw,
            cache=cache,
            stop=options.stop,
        )


def write_answers(folder: str, source: Source, engine: Answering, made: About, options: RunOptions) -> Summary:
    """Write the missing rows of a run folder with the answers of an engine or of workers.

    Raises:
        BadInput: The folder holds another run, or inputs have changed and the options refuse that.
        CannotWrite: The folder cannot be written, or another process is writing it.
    """
    more: dict[str, Any] = {
        "features": options.features,
        "feature_size": made.feature_size,
        "decode_size": options.decode_size,
    }
    if options.frames != "first":
        more["frames"] = options.frames
    if options.command is not None:
        more["asked"] = dict(options.command)
    record = describe(asdict(made.record), made.labels, **more)
    with open_run(Path(folder), record, overwrite=options.overwrite) as run:
        changes, again = _changed(run, source, options)
        if options.retry_errors:
            again += run.drop_errors()
        kind = schema(made.feature_size, options.features == "float16")
        drawing = Drawing(run.path, made.record) if options.draw else None
        return _session(run, engine, source, drawing, kind, options, Known(run, frozenset(again)), changes)


def _changed(run: RunFolder, source: Source, options: RunOptions) -> tuple[Changes | None, list[str]]:
    """Compare the inputs with their rows before anything is written, if the options require it.

    Returns:
        (changes, ids): the changes, or None; and the ids whose rows were removed to be answered again.

    Raises:
        BadInput: Inputs have changed, and the options refuse that.
        CannotWrite: As RunFolder.drop.
    """
    if options.on_change == "keep":
        return None, []
    known = Known(run)
    changes = known.survey(source)
    if options.on_change == "refuse":
        refuse_changes(run.path, changes)
    return changes, run.drop("id", known.replaced) if known.replaced else []


def _session(
    run: RunFolder,
    engine: Answering,
    source: Source,
    drawing: Drawing | None,
    kind: pa.Schema,
    options: RunOptions,
    known: Known,
    changes: Changes | None,
) -> Summary:
    """Write the missing rows, and add the session to run.json."""
    began, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    kind = dated(kind, time.time())
    counts = Counter[str]()
    if drawing:
        drawing.reserve_names(known)
    with _Writer(run, kind, drawing, known, options) as writer:
        for answer in engine.answers(known.over(source(known.skip))):
            if answer.error is not None and options.strict:
                raise answer.error
            counts[answer.kind or "ok"] += 1
            options.on_answer(answer, engine.skipped)
            writer.put(answer)
            del answer
    summary = Summary(
        str(run.path),
        counts.pop("ok", 0),
        dict(counts),
        engine.skipped,
        known.errors,
        round(time.monotonic() - started, 3),
        options.stop(),
        engine.batch_sizes,
        _counted(known, changes, options).counts,
    )
    if summary.rows:
        devices = {"devices": list(options.devices)} if options.devices else {}
        run.note({"began": began, "openvocab": openvocab.__version__, **devices, **session_record(summary)})
    return summary


def _counted(known: Known, changes: Changes | None, options: RunOptions) -> Changes:
    """Return the changes: those found before writing, or those found while reading; partial for a stopped run."""
    return changes or (known.changes if options.stop() else known.finish())


def session_record(summary: Summary) -> dict[str, Any]:
    """Return the record of a session for run.json."""
    kept = asdict(summary)
    return {name: kept[name] for name in ("ok", "errors", "skipped", "seconds", "stopped", "batch_sizes", "changed")}


class _Writer:
    """The writer thread, which collects rows into parts."""

    def __init__(
        self, run: RunFolder, kind: pa.Schema, drawing: Drawing | None, known: Known, options: RunOptions
    ) -> None:
        self._run, self._kind, self._drawing, self._known, self._options = run, kind, drawing, known, options
        self._place: Place | None = None
        self._queue: queue.Queue[Answer | None] = queue.Queue(_WAITING)
        self._rows: list[Row] = []
        self._bytes, self._since = 0, 0.0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="openvocab-writer")

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Write the remaining rows, also after an error; raise the writer's error if there is no other."""
        self._put(None)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def put(self, answer: Answer) -> None:
        """Queue an answer; wait while the queue is full.

        Raises:
            CannotWrite: An earlier answer could not be written.
        """
        if self._drawing is None and answer.decoded is not None:
            answer.decoded = replace(answer.decoded, pixels=NO_PIXELS)
        self._put(answer)
        if self._error is not None:
            raise self._error

    def _put(self, answer: Answer | None) -> None:
        while self._thread.is_alive():
            try:
                self._queue.put(answer, timeout=_TICK)
                break
            except queue.Full:
                continue

    def _work(self) -> None:
        try:
            to_table((), self._kind)  # loads pyarrow's modules now, not while a signal waits for a part
            while (answer := self._next()) is not None:
                drawing = None if self._drawing is None else self._drawing(answer)
                self._keep(replace(answer.row(), drawing=drawing))
                del answer
            self._flush()
        except Exception as error:  # put raises it
            self._error = error

    def _next(self) -> Answer | None:
        """Wait for an answer; meanwhile write the part when part_seconds have passed."""
        while True:
            if self._rows and time.monotonic() - self._since >= self._options.part_seconds:
                self._flush()
            try:
                return self._queue.get(timeout=_TICK)
            except queue.Empty:
                continue

    def _keep(self, row: Row) -> None:
        place = self._known.place(row.id)
        if place != self._place:
            self._flush()
            self._place = place
        self._since = self._since if self._rows else time.monotonic()
        self._rows.append(row)
        self._bytes += _memory_size(row)
        if len(self._rows) >= self._options.part_rows or self._bytes >= self._options.part_bytes:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._run.add(self._rows, self._kind, self._place)
            self._rows, self._bytes = [], 0


def _memory_size(row: Row) -> int:
    """Return the approximate size of a row in memory, in bytes."""
    found = row.detections
    masks = sum(map(len, found.masks.counts)) if found is not None and isinstance(found.masks, EncodedMasks) else 0
    detections = 0 if found is None else 200 * len(found)
    return 500 + 100 * len(row.tags) + detections + masks + (0 if row.features is None else row.features.nbytes)
