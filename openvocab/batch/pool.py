"""A pool of worker processes, one per device, whose answers come in the order of the source.

The processes are spawned, never forked, and load their own models; the parent loads none. A worker that dies is
restarted, and its pending inputs are retried one by one. An input that kills a worker twice gets an error row.
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
from openvocab.batch.jobs import Job, open_stage
from openvocab.errors import BadInput, ImageError
from openvocab.images.items import Item

__all__ = ["WorkerPool", "crashed", "open_worker_pool", "refuse_difference"]

_FLUSH, _END = "flush", "end"
_TICK = 0.1
_MAX_DEATHS = 10
"""The number of workers that may die without an answer in between before the run fails."""
_PATIENCE = 10.0
"""The number of seconds that a worker may take to exit."""


class _Inbox:
    """The inputs of a worker, as streams that end where a batch must not wait for more items."""

    def __init__(self, incoming: Connection, stop: Callable[[], bool]) -> None:
        self._incoming, self._stop, self.ended = incoming, stop, False

    def stream(self) -> Iterator[Item]:
        """Yield items up to the next flush or end message."""
        while not self.ended:
            if self._stop():
                self.ended = True
            elif self._incoming.poll(_TICK):
                try:
                    message = self._incoming.recv()
                except (EOFError, OSError):  # the parent has exited
                    message = _END
                self.ended = message == _END
                if message in (_FLUSH, _END):
                    return
                yield message


def _work(job: Job, device: str, incoming: Connection, outgoing: Connection, halt: Connection) -> None:
    """Load the models, report them, and answer items until the end message; the target of a worker process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends both to every process; the parent handles them
        signal.signal(number, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        try:
            with open_stage(job, device, halt.poll) as stage:
                outgoing.send(stage.about)
                inbox = _Inbox(incoming, halt.poll)
                while not inbox.ended:
                    for answer in stage.answers(inbox.stream()):
                        outgoing.send(answer)
                    outgoing.send(stage.batch_sizes)
        except BrokenPipeError:
            raise
        except Exception as error:
            outgoing.send(portable(error))


@dataclass(eq=False, slots=True)
class _Worker:
    """The parent's view of one worker.

    Attributes:
        device: The device of its models.
        process: The process.
        inbox: The connection that items are sent through.
        halt: The connection that stops it.
        pending: The numbers of its unanswered items, in order.
        unflushed: Whether it got items since the last flush.
        about: Its models and vocabulary, once they are loaded.
    """

    device: str
    process: SpawnProcess
    inbox: Connection
    halt: Connection
    pending: deque[int] = field(default_factory=deque)
    unflushed: bool = False
    about: About | None = None

    def flush(self) -> None:
        """Have the worker answer its items without waiting for more."""
        if self.unflushed:
            _send(self.inbox, _FLUSH)
            self.unflushed = False


def _send(to: Connection, message: Item | str | bool) -> None:
    """Send a worker an item or a message; a dead worker is noticed elsewhere."""
    with suppress(BrokenPipeError, ConnectionResetError):
        to.send(message)


Message = tuple[_Worker, Any]


class WorkerPool:
    """Worker processes that answer inputs; see open_worker_pool.

    Attributes:
        about: The models and the vocabulary, for run.json; None if the run was stopped before they were loaded.
        skipped: The number of skipped inputs so far.
        batch_sizes: The smallest final batch size of each stage that a worker halved because memory ran out.
    """

    def __init__(self, job: Job, devices: Iterable[str]) -> None:
        """Start the workers without waiting for them."""
        self._stop, self._batch = job.options.stop, 1
        self._sent = job.portable()
        self._messages: queue.Queue[Message] = queue.Queue()
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
        (theirs, inbox), (outbox, telling), (halted, halt) = (context.Pipe(duplex=False) for _ in range(3))
        process = context.Process(target=_work, args=(self._sent, device, theirs, telling, halted))
        process.start()
        for each in (theirs, telling, halted):
            each.close()
        worker = _Worker(device, process, inbox, halt)
        threading.Thread(target=self._listen, args=(worker, outbox), name="openvocab-pool", daemon=True).start()
        return worker

    def _listen(self, worker: _Worker, outbox: Connection) -> None:
        """Queue the messages of a worker, and None when it exits; runs in a thread of its own."""
        with outbox:
            try:
                while True:
                    self._messages.put((worker, outbox.recv()))
            except (EOFError, OSError):
                self._messages.put((worker, None))

    def answers(self, items: Iterable[Item]) -> Iterator[Answer]:
        """Yield one answer for each item that is not skipped, in order.

        Raises:
            BadInput: Workers die repeatedly.
            Exception: An error that a stage raises for every image, or an error of the source.
        """
        source, given = iter(items), 0
        while not self._stopping:
            self._hand_out(source, given)
            if self._exhausted and not self._items:
                break
            self._receive(_TICK)
            for answer in self._in_order(given):
                given += 1
                yield answer
            self._stopping = self._stop()
        self._shut_down()
        yield from self._in_order(given)

    def _in_order(self, given: int) -> Iterator[Answer]:
        """Yield the finished answers that are next in order."""
        while (answer := self._done.pop(given, None)) is not None:
            del self._items[given]
            self._strikes.pop(given, None)
            given += 1
            yield answer

    def _hand_out(self, source: Iterator[Item], given: int) -> None:
        """Send items to workers with few pending ones; items to retry go first, one at a time."""
        room = 8 * self._batch * len(self._workers)
        for worker in sorted(self._workers, key=lambda each: len(each.pending)):
            if worker.about is None or self._is_retrying(worker):
                continue
            if self._again and not worker.pending:
                self._assign(worker, self._again.popleft())
                worker.flush()
                continue
            while len(worker.pending) < 2 * self._batch and self._next - given < room and not self._exhausted:
                for number in self._draw(source):
                    self._assign(worker, number)
        if self._exhausted or self._next - given >= room:
            for worker in self._workers:
                worker.flush()

    def _is_retrying(self, worker: _Worker) -> bool:
        """Return whether a worker has an item that may kill it."""
        return any(number in self._strikes for number in worker.pending)

    def _draw(self, source: Iterator[Item]) -> list[int]:
        """Draw a batch from the source and return the numbers of its items."""
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

    def _assign(self, worker: _Worker, number: int) -> None:
        worker.pending.append(number)
        worker.unflushed = True
        _send(worker.inbox, self._items[number])

    def _receive(self, seconds: float) -> None:
        """Handle the messages of the workers; wait for the first one.

        Raises:
            Exception: A fatal error of a worker.
        """
        with suppress(queue.Empty):
            worker, message = self._messages.get(timeout=seconds)
            while True:
                self._take(worker, message)
                worker, message = self._messages.get_nowait()

    def _take(self, worker: _Worker, message: Any) -> None:
        if isinstance(message, Answer):
            self._done[worker.pending.popleft()] = message
            self._deaths = 0
        elif isinstance(message, About):
            worker.about = message
        elif isinstance(message, dict):
            for stage, size in message.items():
                self.batch_sizes[stage] = min(size, self.batch_sizes.get(stage, size))
        elif isinstance(message, Exception):
            raise message
        else:
            self._replace_dead(worker)

    def _replace_dead(self, worker: _Worker) -> None:
        """Replace a worker that died, and retry its pending items.

        Raises:
            BadInput: The worker had not loaded its models, or workers die repeatedly.
        """
        worker.process.join(_PATIENCE)
        self._workers.remove(worker)
        if self._stopping:
            return
        self._deaths += 1
        message = f"the worker on {worker.device} ended with status {worker.process.exitcode}"
        if worker.about is None:
            raise BadInput(f"{message} before its models were loaded; try that device alone")
        if self._deaths > _MAX_DEATHS:
            raise BadInput(f"{message}, as {_MAX_DEATHS} before it; try that device alone")
        for number in worker.pending:
            self._strikes[number] = self._strikes.get(number, 0) + 1
            if self._strikes[number] > 1:
                self._done[number] = crashed(self._items[number])
            else:
                self._again.append(number)
        self._again = deque(sorted(self._again))
        self._workers.append(self._start(worker.device))

    def _shut_down(self) -> None:
        """Let the workers finish their pending items, and handle their last messages."""
        for worker in self._workers:
            if self._stopping:
                _send(worker.halt, True)
            _send(worker.inbox, _END)
            if worker.about is None:
                worker.process.kill()
        self._stopping = True
        while self._workers:
            self._receive(_TICK)

    def wait(self) -> None:
        """Wait until every worker has loaded its models, or the run is stopped.

        Raises:
            BadInput: A worker died while loading, or the workers' models differ.
            Exception: An error of loading.
        """
        while any(worker.about is None for worker in self._workers):
            if self._stop():
                return
            self._receive(_TICK)
        found = [worker.about for worker in self._workers if worker.about is not None]
        for one in found[1:]:
            refuse_difference(found[0], one)
        self.about, self._batch = found[0], int(found[0].record.settings["batch_size"])

    def end(self) -> None:
        """Kill the remaining processes."""
        self._stopping = True
        for worker in self._workers:
            worker.process.kill()
            worker.process.join(_PATIENCE)


@contextmanager
def open_worker_pool(job: Job, devices: Iterable[str]) -> Iterator[WorkerPool]:
    """Start a worker process per device, and end them when the context exits.

    Raises:
        BadInput: A worker died while loading, or the devices use different precisions.
        Exception: An error of loading.
    """
    pool = WorkerPool(job, devices)
    try:
        pool.wait()
        yield pool
    finally:
        pool.end()


def refuse_difference(one: About, other: About) -> None:
    """Refuse two workers whose models would give different rows.

    Raises:
        BadInput: The weights or the precision of a stage differ.
    """
    for stage in ("tagger", "detector", "segmenter"):
        models = [getattr(each.record, stage) for each in (one, other)]
        kinds = [None if each is None else (each.sha256, each.dtype) for each in models]
        if kinds[0] != kinds[1]:
            first, second = (f"{each.dtype} on {each.device}" for each in models)
            raise BadInput(f"the {stage} is {first} and {second}; give dtype=DTYPE, so that all workers use the same")


def crashed(item: Item) -> Answer:
    """Return the error answer to an input that killed its workers."""
    error = ImageError("decoder_crashed", f"{item.id!r} crashed two workers; save it again with another program")
    return Answer(replace(item, data=None), error=error).light()
