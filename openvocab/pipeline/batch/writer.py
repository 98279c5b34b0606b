"""A run into its folder: the engine's answers through one writer thread, which alone touches the folder."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import openvocab
from openvocab.errors import BadInput
from openvocab.pipeline.batch.embedding_cache import open_cache
from openvocab.pipeline.batch.engine import Answer, Engine, Reading
from openvocab.pipeline.batch.picture_names import PictureNames
from openvocab.pipeline.batch.rows import Row, id_of, schema, text_of, to_table
from openvocab.pipeline.batch.run_folder import PICTURES, RunFolder, describe, make_folder, open_run, write_whole
from openvocab.pipeline.batch.sources import Item, Names, is_web_address, items
from openvocab.pipeline.chain import nothing_found
from openvocab.pipeline.record import RunRecord
from openvocab.pipeline.settings import Settings
from openvocab.pipeline.stages import NO_PIXELS

if TYPE_CHECKING:
    import pyarrow as pa

    from openvocab.pipeline.chain import Pipeline, Vocabulary

__all__ = ["RunOptions", "Summary", "noted", "refuse_target", "write_run"]

_WAITING = 16
_TICK = 0.2


def _never() -> bool:
    return False


def _ignore(answer: Answer, skipped: int) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run folder is written; settings of the chain are not among them.

    embeddings    also keep the tagger's unit-length embedding of each picture, in that precision.
    cache         the folder of a cache of embeddings, made where there is none: what the tagger has seen before is not
                  decoded, unless there is a detector or something to draw, and does not go through it again.
    draw          also write each picture with its regions drawn on it, as pictures/NAME.png.
    overwrite     begin anew, whatever the folder holds.
    strict        stop at the first input without an answer, raising its error; its row is not written.
    allow_urls, workers, isolate, decode_size    see Pipeline.run and engine.Reading.
    part_rows     rows after which a part is written,
    part_seconds  or seconds after its first row,
    part_bytes    or bytes that its rows take in memory, whichever comes first.
    on_answer     called with each answer, and how many inputs were skipped so far, before its row is written.
    stop          looked at between pictures; once true, the picture in hand is the last one.
    """

    embeddings: Literal["float16", "float32"] | None = None
    cache: str | os.PathLike[str] | None = None
    draw: bool = False
    overwrite: bool = False
    strict: bool = False
    allow_urls: bool = False
    workers: int | None = None
    isolate: bool = False
    decode_size: int | None = None
    part_rows: int = 4096
    part_seconds: float = 60.0
    part_bytes: int = 2**24
    on_answer: Callable[[Answer, int], None] = _ignore
    stop: Callable[[], bool] = _never

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            BadInput: one does not fit.
        """
        if self.embeddings not in (None, "float16", "float32"):
            raise BadInput(f"embeddings must be 'float16' or 'float32', got {self.embeddings!r}")
        if self.part_rows < 1:
            raise BadInput(f"part_rows must be a whole number of at least 1, got {self.part_rows!r}")


@dataclass(frozen=True, slots=True)
class Summary:
    """What one call did.

    folder       the run folder.
    ok           rows written for inputs that were answered.
    errors       rows written for others, by kind.
    skipped      inputs that had a row already.
    errors_kept  how many of the rows there before are errors.
    seconds      from the first look at the folder to the last file.
    stopped      whether it ended early because stop said so.
    batch_sizes  stage -> pictures at once in the end, where memory made it halve its batches.
    """

    folder: str
    ok: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    errors_kept: int = 0
    seconds: float = 0.0
    stopped: bool = False
    batch_sizes: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows written by this call."""
        return self.ok + sum(self.errors.values())


def write_run(
    pipe: Pipeline, folder: str, pictures: Names, vocabulary: Vocabulary, settings: Settings, options: RunOptions
) -> Summary:
    """Answer what has no row yet and write the rows; see Pipeline.run_to.

    Raises:
        BadInput: nothing is found, an input lies in the folder, or the folder holds another run.
        CannotWrite: the folder cannot be written, or another process is at it.
    """
    refuse_target(folder, pictures)
    reading = Reading(options.workers, options.isolate, options.decode_size)
    source = partial(items, pictures, allow_urls=options.allow_urls, without=folder)
    if next(source(), None) is None:
        raise nothing_found(pictures)
    record = pipe.record(vocabulary, settings)
    size = vocabulary.texts.embeddings.shape[1] if vocabulary.texts and options.embeddings else None
    more = {"embeddings": options.embeddings, "embedding_size": size, "decode_size": options.decode_size}
    made_by = describe(asdict(record), vocabulary.labels, **more)
    with ExitStack() as stack:
        cache = None if options.cache is None else stack.enter_context(open_cache(options.cache))
        engine = Engine(
            pipe,
            vocabulary,
            settings,
            reading,
            embeddings=bool(options.embeddings),
            pixels=options.draw,
            cache=cache,
            stop=options.stop,
        )
        run = stack.enter_context(open_run(Path(folder), made_by, overwrite=options.overwrite))
        kind = schema(size, options.embeddings == "float16")
        return _session(run, engine, source, _Drawing.of(run, record, options), kind, options)


def _session(
    run: RunFolder,
    engine: Engine,
    source: Callable[..., Iterator[Item]],
    drawing: _Drawing | None,
    kind: pa.Schema,
    options: RunOptions,
) -> Summary:
    """Write what is missing, and note in run.json what was done."""
    began, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    finished = run.finished()
    done, counts = frozenset(finished.ids), Counter[str]()
    if drawing:
        drawing.name_all(finished.ids)
    with _Writer(run, kind, drawing, options) as writer:
        for answer in engine.answers(source(skip=lambda name: text_of(name) in done)):
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
    )
    if summary.rows:
        run.note({"began": began, "openvocab": openvocab.__version__, **noted(summary)})
    return summary


def noted(summary: Summary) -> dict[str, Any]:
    """Return what run.json keeps of a session."""
    kept = asdict(summary)
    return {name: kept[name] for name in ("ok", "errors", "skipped", "seconds", "stopped", "batch_sizes")}


def refuse_target(folder: str, pictures: Names) -> None:
    """Look at a folder that is to be written to.

    Raises:
        BadInput: it is no folder, or what is read lies in it.
    """
    target = os.path.realpath(folder)
    if os.path.exists(target) and not os.path.isdir(target):
        raise BadInput(f"--out {folder!r} cannot be made a folder (a file of that name exists); give another path")
    for one in [pictures] if isinstance(pictures, str | os.PathLike) else pictures:
        name = os.fsdecode(one)
        real = os.path.realpath(name)
        if not is_web_address(name) and (real == target or real.startswith(os.path.join(target, ""))):
            raise BadInput(f"{name} lies in --out {folder} and could be overwritten; give another folder")


class _Drawing:
    """Annotated pictures of a run, beside its parts."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self._folder, self._record, self._names = folder, record, PictureNames()

    @classmethod
    def of(cls, run: RunFolder, record: RunRecord, options: RunOptions) -> _Drawing | None:
        """Return the drawing that the options ask for."""
        return cls(run.path / PICTURES, record) if options.draw else None

    def name_all(self, texts: Sequence[str]) -> None:
        """Give the names of the rows there are, so that new ones get others."""
        for text in texts:
            self._names(id_of(text))

    def __call__(self, answer: Answer) -> None:
        """Write the picture of an answer.

        Raises:
            CannotWrite: the disk is full, or the folder read-only.
        """
        name = self._names(answer.item.id)
        if answer.error is None:
            data = BytesIO()
            answer.result(self._record).draw().save(data, "PNG")
            make_folder(self._folder)
            write_whole(self._folder / name, data.getbuffer())


class _Writer:
    """The one thread that writes: rows gather here until they make a part."""

    def __init__(self, run: RunFolder, kind: pa.Schema, drawing: _Drawing | None, options: RunOptions) -> None:
        self._run, self._kind, self._drawing, self._options = run, kind, drawing, options
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
                if self._drawing is not None:
                    self._drawing(answer)
                self._keep(answer.row())
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
        self._since = self._since if self._rows else time.monotonic()
        self._rows.append(row)
        self._bytes += _weight(row)
        if len(self._rows) >= self._options.part_rows or self._bytes >= self._options.part_bytes:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._run.add(self._rows, self._kind)
            self._rows, self._bytes = [], 0


def _weight(row: Row) -> int:
    """Bytes that a row takes in memory, roughly."""
    masks = sum(map(len, row.regions.counts)) if row.regions is not None and row.regions.counts else 0
    regions = 0 if row.regions is None else 200 * len(row.regions)
    return 500 + 100 * len(row.tags) + regions + masks + (0 if row.embedding is None else row.embedding.nbytes)
