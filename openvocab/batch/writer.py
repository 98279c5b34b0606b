"""A run into its folder: the engine's answers through one writer thread, which alone touches the folder."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
from openvocab.batch.embedding_cache import open_cache
from openvocab.batch.engine import Engine, Reading
from openvocab.batch.part_files import Place
from openvocab.batch.rows import Row, schema, to_table
from openvocab.batch.run_folder import RunFolder, describe, open_run
from openvocab.batch.run_options import RunOptions, Summary
from openvocab.errors import BadInput, ImageError
from openvocab.images.frames import frame_items, whole_file_items
from openvocab.images.items import Item, Skip
from openvocab.images.sources import Images, Names, is_web_address, items, refuse_in_memory
from openvocab.pipeline.chain import Stages, run_record
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.protocols import NO_PIXELS

if TYPE_CHECKING:
    import pyarrow as pa

    from openvocab.pipeline.protocols import Vocabulary
    from openvocab.pipeline.result import Result

__all__ = [
    "RunOptions",
    "Source",
    "Summary",
    "about",
    "noted",
    "opened_engine",
    "refuse_target",
    "source_of",
    "stream",
    "write_answers",
    "write_run",
]

Source = Callable[[Skip], Iterator[Item]]
"""What yields the inputs of a run, those that are to be skipped with nothing to read."""

_WAITING = 16
_TICK = 0.2


def write_run(stages: Stages, folder: str, images: Names, vocabulary: Vocabulary, options: RunOptions) -> Summary:
    """Answer what has no row yet and write the rows; see Pipeline.run_to.

    Raises:
        BadInput: nothing is found, an input lies in the folder, or the folder holds another run.
        CannotWrite: the folder cannot be written, or another process is at it.
    """
    source = source_of(folder, images, options)
    with opened_engine(stages, vocabulary, options) as engine:
        return write_answers(folder, source, engine, about(stages, vocabulary, options), options)


def source_of(folder: str, images: Names, options: RunOptions) -> Source:
    """Return what yields the inputs of a run; its one argument tells which ids to skip.

    Raises:
        BadInput: nothing is found, or an input lies in the folder.
    """
    refuse_target(folder, images)
    source = _source(images, options, folder)
    if next(source(lambda _: True), None) is None:
        raise _nothing_found(images)
    return source


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
    """Yield results as they are made, and write nothing; see Pipeline.run.

    Raises:
        BadInput: nothing is found; as Engine.
        Exception: the error of an input, where on_error is not given.
    """
    with opened_engine(stages, vocabulary, replace(options, draw=True)) as engine:
        answers = engine.answers(_source(images, options)(lambda _: False))
        first = next(answers, None)
        if first is None:
            raise _nothing_found(images)
        found = chain([first], answers)
        del first  # the caller alone holds an image once it has the result
        yield from results(found, run_record(stages, vocabulary), vocabulary.labels, on_error)


def _nothing_found(named: Images) -> BadInput:
    """Return the error for names that mean no image."""
    given: Any = [named] if isinstance(named, str | os.PathLike) else named
    return BadInput(f"no image in {', '.join(map(str, given))}; give an image or a folder that holds some")


def about(stages: Stages, vocabulary: Vocabulary, options: RunOptions) -> About:
    """Return what run.json says of a pipeline."""
    size = vocabulary.texts.embeddings.shape[1] if vocabulary.texts and options.embeddings else None
    return About(run_record(stages, vocabulary), vocabulary.labels, size)


@contextmanager
def opened_engine(stages: Stages, vocabulary: Vocabulary, options: RunOptions) -> Iterator[Engine]:
    """Give an engine as the options say, with its cache open.

    Raises:
        BadInput: as Engine.
    """
    reading = Reading(options.workers, options.isolate, options.decode_size, options.max_pixels)
    with ExitStack() as stack:
        cache = None if options.cache is None else stack.enter_context(open_cache(options.cache))
        yield Engine(
            stages,
            vocabulary,
            reading,
            embeddings=bool(options.embeddings),
            pixels=options.draw,
            cache=cache,
            stop=options.stop,
        )


def write_answers(folder: str, source: Source, engine: Answering, made: About, options: RunOptions) -> Summary:
    """Write what is missing of a run folder, whoever answers.

    Raises:
        BadInput: the folder holds another run, or the inputs have changed and options refuse that.
        CannotWrite: the folder cannot be written, or another process is at it.
    """
    more: dict[str, Any] = {
        "embeddings": options.embeddings,
        "embedding_size": made.embedding_size,
        "decode_size": options.decode_size,
    }
    if options.frames != "first":
        more["frames"] = options.frames
    if options.asked is not None:
        more["asked"] = dict(options.asked)
    record = describe(asdict(made.record), made.labels, **more)
    with open_run(Path(folder), record, overwrite=options.overwrite) as run:
        changes, again = _changed(run, source, options)
        if options.retry_errors:
            again += run.drop_errors()
        kind = schema(made.embedding_size, options.embeddings == "float16")
        drawing = Drawing(run.path, made.record) if options.draw else None
        return _session(run, engine, source, drawing, kind, options, Known(run.path, frozenset(again)), changes)


def _changed(run: RunFolder, source: Source, options: RunOptions) -> tuple[Changes | None, list[str]]:
    """Look at the inputs of rows before anything is written, where options ask for that.

    Returns:
        (changes, ids): what has changed; whose rows were removed, so that they are answered again.

    Raises:
        BadInput: something has changed, and options refuse that.
        CannotWrite: as RunFolder.drop.
    """
    if options.on_change == "keep":
        return None, []
    known = Known(run.path)
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
    """Write what is missing, and note in run.json what was done."""
    began, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    kind = dated(kind, time.time())
    finished, counts = run.finished(), Counter[str]()
    if drawing:
        drawing.name_all(finished.ids)
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
        finished.errors,
        round(time.monotonic() - started, 3),
        options.stop(),
        engine.batch_sizes,
        _counted(known, changes, options).counts,
    )
    if summary.rows:
        devices = {"devices": list(options.devices)} if options.devices else {}
        run.note({"began": began, "openvocab": openvocab.__version__, **devices, **noted(summary)})
    return summary


def _counted(known: Known, changes: Changes | None, options: RunOptions) -> Changes:
    """Return what has changed: as it was found first, or else as it came by; of a run that was ended, in part."""
    return changes or (known.changes if options.stop() else known.finish())


def noted(summary: Summary) -> dict[str, Any]:
    """Return what run.json keeps of a session."""
    kept = asdict(summary)
    return {name: kept[name] for name in ("ok", "errors", "skipped", "seconds", "stopped", "batch_sizes", "changed")}


def refuse_target(folder: str, images: Names) -> None:
    """Look at a folder that is to be written to.

    Raises:
        BadInput: it is no folder, or what is read lies in it or has no name.
    """
    refuse_in_memory(images)
    target = os.path.realpath(folder)
    if os.path.exists(target) and not os.path.isdir(target):
        raise BadInput(f"--out {folder!r} cannot be made a folder (a file of that name exists); give another path")
    if isinstance(images, Mapping):
        images = [file for file in images.values() if not isinstance(file, ImageError)]
    for one in [images] if isinstance(images, str | os.PathLike) else images:
        name = os.fsdecode(one)
        real = os.path.realpath(name)
        if not is_web_address(name) and (real == target or real.startswith(os.path.join(target, ""))):
            raise BadInput(f"{name} lies in --out {folder} and could be overwritten; give another folder")


class _Writer:
    """The one thread that writes: rows gather here until they make a part."""

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
        """Write what is left, also after an error elsewhere; raise the writer's own where there is no other."""
        self._put(None)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def put(self, answer: Answer) -> None:
        """Hand an answer to the writer, waiting while it is behind.

        Raises:
            CannotWrite: what it had before could not be written.
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
            to_table((), self._kind)  # pyarrow loads its parts on first use: now, not when a signal waits for a part
            while (answer := self._next()) is not None:
                drawing = None if self._drawing is None else self._drawing(answer)
                self._keep(replace(answer.row(), drawing=drawing))
                del answer
            self._flush()
        except Exception as error:  # raised where the next answer is put
            self._error = error

    def _next(self) -> Answer | None:
        """Wait for an answer, and write the part meanwhile if its time has come."""
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
        self._bytes += _weight(row)
        if len(self._rows) >= self._options.part_rows or self._bytes >= self._options.part_bytes:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._run.add(self._rows, self._kind, self._place)
            self._rows, self._bytes = [], 0


def _weight(row: Row) -> int:
    """Bytes that a row takes in memory, roughly."""
    found = row.detections
    masks = sum(map(len, found.masks.counts)) if found is not None and isinstance(found.masks, EncodedMasks) else 0
    detections = 0 if found is None else 200 * len(found)
    return 500 + 100 * len(row.tags) + detections + masks + (0 if row.embedding is None else row.embedding.nbytes)
