"""A pool of Ray Data actors, for runs on several machines.

The actors read and decode images with this package's own code, so a broken image costs its row, not the job. Inputs go
to Ray in slabs, and answers come back in order. The pending inputs of a dead actor are retried one by one by another;
an input that kills an actor twice gets an error row.
"""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.batch.answers import About, Answer, portable
from openvocab.batch.jobs import Job, open_stage
from openvocab.batch.pool import crashed
from openvocab.errors import require
from openvocab.images.items import Item

__all__ = ["RayActors", "open_ray"]

_SLAB, _SLAB_BYTES = 20_000, 2**28
"""The maximum number of inputs in a slab, and of bytes of shard members in it."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
Columns = dict[str, NDArray[Any]]


class _Ledger:
    """The attempts at unfinished inputs; an actor of its own, which survives the death of others."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Count an attempt at an input, or at the batch that begins with it, and return the number of attempts."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    def done(self, number: int) -> None:
        """Forget an input that is finished."""
        self._begun.pop(number, None)


class _Actor:
    """One worker; Ray Data creates it and sends it batches."""

    def __init__(self, job: Job, device: str, ledger: Any) -> None:
        self._ledger = ledger
        self._held = open_stage(job, device, lambda: False)
        self._stage = self._held.__enter__()

    def __call__(self, batch: Columns) -> Columns:
        """Answer a batch with the columns number and item; the answers and batch sizes returned are pickled."""
        import ray

        numbers = [int(number) for number in batch["number"]]
        items = [pickle.loads(each) for each in batch["item"]]
        key = -1 - numbers[0]
        try:
            if ray.get(self._ledger.begin.remote(key)) == 1:
                made: list[Answer | Exception] = list(self._stage.answers(items))
            else:
                made = [self._alone(number, item) for number, item in zip(numbers, items, strict=True)]
        except Exception as error:  # the stage fails: the writer gets the error, and Ray does not retry
            made = [portable(error)] * len(items)
        ray.get(self._ledger.done.remote(key))
        sizes = pickle.dumps(self._stage.batch_sizes)
        return {"answer": _objects(map(pickle.dumps, made)), "sizes": _objects([sizes] * len(made))}

    def _alone(self, number: int, item: Item) -> Answer:
        import ray

        if ray.get(self._ledger.begin.remote(number)) > 1:
            return crashed(item)
        (answer,) = self._stage.answers([item])
        ray.get(self._ledger.done.remote(number))
        return answer


class RayActors:
    """Actors that answer inputs; see open_ray.

    Attributes:
        about: The models and the vocabulary, for run.json.
        skipped: The number of skipped inputs so far.
        batch_sizes: The smallest final batch size of each stage that an actor halved because memory ran out.
    """

    def __init__(self, job: Job, devices: tuple[str, ...], made: About, ledger: Any) -> None:
        self._job, self._devices, self._ledger, self.about = job.portable(), devices, ledger, made
        self._stop = job.options.stop
        self.skipped, self.batch_sizes = 0, dict[str, int]()

    def answers(self, items: Iterable[Item]) -> Iterator[Answer]:
        """Yield one answer for each item that is not skipped, in order.

        Raises:
            Exception: An error that a stage raises for every image, an error of the source, or one of Ray.
        """
        source, numbers = iter(items), count()
        while not self._stop() and (slab := self._slab(source)):
            for row in self._rows([{"number": next(numbers), "item": pickle.dumps(item)} for item in slab]):
                answer = pickle.loads(row["answer"])
                if isinstance(answer, Exception):
                    raise answer
                for stage, size in pickle.loads(row["sizes"]).items():
                    self.batch_sizes[stage] = min(size, self.batch_sizes.get(stage, size))
                yield answer
                if self._stop():
                    return

    def _slab(self, source: Iterator[Item]) -> list[Item]:
        """Draw the next slab of items."""
        wanted: list[Item] = []
        held = 0
        while len(wanted) < _SLAB and held < _SLAB_BYTES:
            item = next(source, None)
            if item is None:
                break
            if item.skipped:
                self.skipped += 1
                continue
            wanted.append(item)
            held += len(item.data or b"")
        return wanted

    def _rows(self, slab: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        import ray

        batch = 4 * int(self.about.record.settings["batch_size"])
        blocks = max(1, min(len(slab), -(-len(slab) // batch)))
        size, devices = len(self._devices), self._devices
        answered = ray.data.from_items(slab, override_num_blocks=blocks).map_batches(
            _Actor,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
            fn_constructor_args=(self._job, _plain(devices[0]), self._ledger),
            max_restarts=-1,
            max_task_retries=-1,
            **_needs(devices[0]),
        )
        yield from answered.iter_rows()


@contextmanager
def open_ray(job: Job, devices: tuple[str, ...]) -> Iterator[RayActors]:
    """Join or start Ray, and leave it and remove its folder when the context exits.

    Args:
        job: The job of the actors.
        devices: One device per actor, all of one kind; Ray assigns each actor that does not use the CPU its own GPU.

    Raises:
        MissingExtra: Ray is not installed.
        UnknownName, BadInput, BadWeights: As open_stage.
    """
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update(_QUIET)
    ray = require("ray", extra="ray")
    require("ray.data", extra="ray")
    try:
        with _joined(ray, devices):
            told = ray.remote(**_needs(devices[0]), max_retries=0)(_about).remote(job.portable(), _plain(devices[0]))
            made = ray.get(told)
            if isinstance(made, Exception):
                raise made
            yield RayActors(job, devices, made, ray.remote(num_cpus=0)(_Ledger).remote())
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _joined(ray: Any, devices: tuple[str, ...]) -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS, or start a local one in a temporary folder."""
    own = "RAY_ADDRESS" not in os.environ
    with tempfile.TemporaryDirectory(prefix="ov-", ignore_cleanup_errors=True) as place:
        start = {"include_dashboard": False, "_temp_dir": place, "num_cpus": len(devices) + 1} if own else {}
        logging.getLogger("ray").setLevel(logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.init(log_to_driver=False, logging_level="error", **start)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        try:
            yield
        finally:
            with suppress(Exception):
                ray.shutdown()


def _about(job: Job, device: str) -> About | Exception:
    """Load the models on a machine of the cluster, and return their description."""
    try:
        with open_stage(job, device, lambda: False) as stage:
            return stage.about
    except Exception as error:
        return portable(error)


def _plain(device: str) -> str:
    """Return a device without its index: Ray shows each actor only its own GPU."""
    return device.partition(":")[0]


def _needs(device: str) -> dict[str, Any]:
    return {"num_cpus": 1} if _plain(device) == "cpu" else {"num_cpus": 1, "num_gpus": 1}


def _objects(values: Iterable[bytes]) -> NDArray[Any]:
    kept = list(values)
    made = np.empty(len(kept), object)
    made[:] = kept
    return made
