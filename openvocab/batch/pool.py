"""Several devices of one machine: a worker process for each, and answers from all of them in the order of the source.

The processes are spawned, never forked, and load their own models; this one loads none. A worker that dies is started
again. What it had in hand is tried again one input at a time, so that the one that takes its worker down is found: at
the second time it is answered with an error, and the others are answered as ever.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from openvocab.batch.answers import About, Answer, portable
from openvocab.batch.jobs import Job, opened_stage
from openvocab.errors import BadInput, ImageError
from openvocab.images.items import Item

__all__ = ["Crew", "crashed", "opened_crew", "refuse_difference"]

_FLUSH, _END = "flush", "end"
_TICK = 0.1
_MOST_DEATHS = 10
"""Workers that may die with no answer between them; then the fault is not an image's."""
_PATIENCE = 10.0
"""Seconds that a worker may take to leave once it was told to."""


class _Inbox:
    """The worker's side: what it is handed, as streams that end where a batch is not to wait for more."""

    def __init__(self, handed: Connection, stop: Callable[[], bool]) -> None:
        self._handed, self._stop, self.ended = handed, stop, False

    def stream(self) -> Iterator[Item]:
        """Yield items up to the next mark."""
        while not self.ended:
            if self._stop():
                self.ended = True
            elif self._handed.poll(_TICK):
                try:
                    said = self._handed.recv()
                except (EOFError, OSError):  # who handed them out is gone
                    said = _END
                self.ended = said == _END
                if said in (_FLUSH, _END):
                    return
                yield said


def _work(job: Job, device: str, handed: Connection, told: Connection, halt: Connection) -> None:
    """What a worker process does: load, say so, and answer until it is told to end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both reach every process of a terminal or a job; one decides
        signal.signal(number, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        try:
            with opened_stage(job, device, halt.poll) as stage:
                told.send(stage.about)
                inbox = _Inbox(handed, halt.poll)
                while not inbox.ended:
                    for answer in stage.answers(inbox.stream()):
                        told.send(answer)
                    told.send(stage.batch_sizes)
        except BrokenPipeError:
            raise
        except Exception as error:
            told.send(portable(error))


@dataclass(eq=False, slots=True)
class _Worker:
    """One worker, as the process that hands out sees it.

    hand   the numbers of the inputs that it has and did not answer, in order.
    open   whether it was handed inputs since the last mark.
    about  what it said once its models were loaded.
    """

    device: str
    process: SpawnProcess
    handed: Connection
    halt: Connection
    hand: deque[int] = field(default_factory=deque)
    open: bool = False
    about: About | None = None

    def send(self, said: Item | str) -> None:
        """Hand something over; whether it lives is found out elsewhere."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.handed.send(said)

    def flush(self) -> None:
        """Let it answer what it has without waiting for more."""
        if self.open:
            self.send(_FLUSH)
            self.open = False


Said = tuple[_Worker, Any]


class Crew:
    """Worker processes that answer inputs; opened_crew makes it.

    about         what run.json says of them; None where stop said so before their models were loaded.
    skipped       inputs so far that the source had been told to skip.
    batch_sizes   stage -> images at once in the end, where memory made a worker halve its batches: the least.
    """

    def __init__(self, job: Job, devices: Iterable[str]) -> None:
        """Start the workers; opened_crew waits for them."""
        self._stop, self._batch = job.options.stop, 1
        self._sent = job.portable()
        self._said: queue.Queue[Said] = queue.Queue()
        self.skipped, self.batch_sizes = 0, dict[str, int]()
        self._items: dict[int, Item] = {}
        self._done: dict[int, Answer] = {}
        self._again: deque[int] = deque()
        self._strikes: dict[int, int] = {}
        self._deaths, self._stopping, self._exhausted, self._next = 0, False, False, 0
        self.about: About | None = None
        self._workers = [self._start(device) for device in devices]

    def _start(self, device: str) -> _Worker:
        context = get_context("spawn")
        (theirs, handed), (told, telling), (halted, halt) = (context.Pipe(duplex=False) for _ in range(3))
        process = context.Process(target=_work, args=(self._sent, device, theirs, telling, halted))
        process.start()
        for each in (theirs, telling, halted):
            each.close()
        worker = _Worker(device, process, handed, halt)
        threading.Thread(target=self._listen, args=(worker, told), name="openvocab-crew", daemon=True).start()
        return worker

    def _listen(self, worker: _Worker, told: Connection) -> None:
        """Pass on what a worker says, None at its end; runs in a thread of its own."""
        with told:
            try:
                while True:
                    self._said.put((worker, told.recv()))
            except (EOFError, OSError):
                self._said.put((worker, None))

    def answers(self, items: Iterable[Item]) -> Iterator[Answer]:
        """Yield one answer for each item that is not skipped, in order.

        Raises:
            BadInput: workers die again and again.
            Exception: what a stage raises for every image, and what the source raises.
        """
        source, given = iter(items), 0
        while not self._stopping:
            self._hand_out(source, given)
            if self._exhausted and not self._items:
                break
            self._hear(_TICK)
            for answer in self._in_order(given):
                given += 1
                yield answer
            self._stopping = self._stop()
        self._finish()
        yield from self._in_order(given)

    def _in_order(self, given: int) -> Iterator[Answer]:
        """Yield the answers that are next."""
        while (answer := self._done.pop(given, None)) is not None:
            del self._items[given]
            self._strikes.pop(given, None)
            given += 1
            yield answer

    def _hand_out(self, source: Iterator[Item], given: int) -> None:
        """Give work to the workers that have little: first what is to be tried again, one at a time."""
        room = 8 * self._batch * len(self._workers)
        for worker in sorted(self._workers, key=lambda each: len(each.hand)):
            if worker.about is None or self._tries_again(worker):
                continue
            if self._again and not worker.hand:
                self._give(worker, self._again.popleft())
                worker.flush()
                continue
            while len(worker.hand) < 2 * self._batch and self._next - given < room and not self._exhausted:
                for number in self._numbered(source):
                    self._give(worker, number)
        if self._exhausted or self._next - given >= room:
            for worker in self._workers:
                worker.flush()

    def _tries_again(self, worker: _Worker) -> bool:
        """Whether a worker has an input that may take it down."""
        return any(number in self._strikes for number in worker.hand)

    def _numbered(self, source: Iterator[Item]) -> list[int]:
        """Take a batch from the source, and return the numbers that it was given."""
        wanted: list[int] = []
        for item in source:
            if item.skipped:
                self.skipped += 1
                continue
            self._items[self._next] = item
            wanted.append(self._next)
            self._next += 1
            if len(wanted) == self._batch:
                return wanted
        self._exhausted = True
        return wanted

    def _give(self, worker: _Worker, number: int) -> None:
        worker.hand.append(number)
        worker.open = True
        worker.send(self._items[number])

    def _hear(self, seconds: float) -> None:
        """Take what the workers have said, waiting for the first word.

        Raises:
            Exception: what a worker could not go on after.
        """
        with suppress(queue.Empty):
            worker, said = self._said.get(timeout=seconds)
            while True:
                self._take(worker, said)
                worker, said = self._said.get_nowait()

    def _take(self, worker: _Worker, said: Any) -> None:
        if isinstance(said, Answer):
            self._done[worker.hand.popleft()] = said
            self._deaths = 0
        elif isinstance(said, About):
            worker.about = said
        elif isinstance(said, dict):
            for stage, size in said.items():
                self.batch_sizes[stage] = min(size, self.batch_sizes.get(stage, size))
        elif isinstance(said, Exception):
            raise said
        else:
            self._mourn(worker)

    def _mourn(self, worker: _Worker) -> None:
        """Put another in the place of a worker that died, and have its inputs tried again.

        Raises:
            BadInput: it had not loaded its models yet, or one after the other dies.
        """
        worker.process.join(_PATIENCE)
        self._workers.remove(worker)
        if self._stopping:
            return
        self._deaths += 1
        said = f"the worker on {worker.device} ended with status {worker.process.exitcode}"
        if worker.about is None:
            raise BadInput(f"{said} before its models were loaded; try that device alone with --device")
        if self._deaths > _MOST_DEATHS:
            raise BadInput(f"{said}, as {_MOST_DEATHS} before it; try that device alone with --device")
        for number in worker.hand:
            self._strikes[number] = self._strikes.get(number, 0) + 1
            if self._strikes[number] > 1:
                self._done[number] = crashed(self._items[number])
            else:
                self._again.append(number)
        self._again = deque(sorted(self._again))
        self._workers.append(self._start(worker.device))

    def _finish(self) -> None:
        """Let the workers end what is in hand, and hear what they say last."""
        for worker in self._workers:
            if self._stopping:
                worker.halt.send(True)
            worker.send(_END)
            if worker.about is None:
                worker.process.kill()
        self._stopping = True
        while self._workers:
            self._hear(_TICK)

    def wait(self) -> None:
        """Wait until each has loaded its models, or stop says so.

        Raises:
            BadInput: one died over it, or their records differ.
            Exception: what loading raised.
        """
        while any(worker.about is None for worker in self._workers):
            if self._stop():
                return
            self._hear(_TICK)
        found = [worker.about for worker in self._workers if worker.about is not None]
        for one in found[1:]:
            refuse_difference(found[0], one)
        self.about, self._batch = found[0], int(found[0].record.settings["batch_size"])

    def end(self) -> None:
        """End every process that is left."""
        self._stopping = True
        for worker in self._workers:
            worker.process.kill()
            worker.process.join(_PATIENCE)


@contextmanager
def opened_crew(job: Job, devices: Iterable[str]) -> Iterator[Crew]:
    """Start a worker process a device, and end them all when this is left.

    Raises:
        BadInput: a worker died before its models were loaded, or the devices answer in different precision.
        Exception: what loading raised.
    """
    crew = Crew(job, devices)
    try:
        crew.wait()
        yield crew
    finally:
        crew.end()


def refuse_difference(one: About, other: About) -> None:
    """Compare what two workers loaded.

    Raises:
        BadInput: they would not give the same rows.
    """
    for stage in ("tagger", "detector", "segmenter"):
        models = [getattr(each.record, stage) for each in (one, other)]
        kinds = [None if each is None else (each.sha256, each.dtype) for each in models]
        if kinds[0] != kinds[1]:
            first, second = (f"{each.dtype} on {each.device}" for each in models)
            raise BadInput(f"the {stage} is {first} and {second}; give --dtype, so that all rows are alike")


def crashed(item: Item) -> Answer:
    """Return the answer to an input that took its workers down."""
    error = ImageError("decoder_crashed", f"{item.id!r} took two workers down; save it anew with another program")
    return Answer(replace(item, data=None), error=error).light()
