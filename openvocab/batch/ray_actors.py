"""Ray Data: the same stage as an actor class in map_batches, for runs past one machine.

Images are read and decoded within the actors by this package's own code, so that one that is broken costs its row and
not the job. Inputs go to Ray a slab at a time, and answers come back in their order. What a dead actor had in hand is
tried again by another, one input at a time; the one that takes its actor down twice is answered with an error.
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
from openvocab.batch.jobs import Job, opened_stage
from openvocab.batch.pool import crashed
from openvocab.errors import require
from openvocab.images.items import Item

__all__ = ["RayActors", "opened_ray"]

_SLAB, _SLAB_BYTES = 20_000, 2**28
"""Inputs that go to Ray at once, at most, and bytes of members of shards among them."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
Columns = dict[str, NDArray[Any]]


class _Ledger:
    """What was begun and not finished; an actor of its own, so that it outlives those that die."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Note that an input, or the batch that begins with it, is tried, and return how often it was now."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    def done(self, number: int) -> None:
        """Note that it was finished."""
        self._begun.pop(number, None)


class _Actor:
    """One worker: Ray Data makes it and hands it batches."""

    def __init__(self, job: Job, device: str, ledger: Any) -> None:
        self._ledger = ledger
        self._held = opened_stage(job, device, lambda: False)
        self._stage = self._held.__enter__()

    def __call__(self, batch: Columns) -> Columns:
        """Answer a batch: columns number and item in, number and answer out, both pickled."""
        import ray

        numbers = [int(number) for number in batch["number"]]
        items = [pickle.loads(each) for each in batch["item"]]
        key = -1 - numbers[0]
        try:
            if ray.get(self._ledger.begin.remote(key)) == 1:
                made: list[Answer | Exception] = list(self._stage.answers(items))
            else:
                made = [self._alone(number, item) for number, item in zip(numbers, items, strict=True)]
        except Exception as error:  # the stage is at fault: who writes is told, and Ray does not try again
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
    """A pool of actors that answers inputs; opened_ray makes it.

    about         what run.json says of them.
    skipped       inputs so far that the source had been told to skip.
    batch_sizes   stage -> images at once in the end, where memory made an actor halve its batches: the least.
    """

    def __init__(self, job: Job, devices: tuple[str, ...], made: About, ledger: Any) -> None:
        self._job, self._devices, self._ledger, self.about = job.portable(), devices, ledger, made
        self._stop = job.options.stop
        self.skipped, self.batch_sizes = 0, dict[str, int]()

    def answers(self, items: Iterable[Item]) -> Iterator[Answer]:
        """Yield one answer for each item that is not skipped, in order.

        Raises:
            Exception: what a stage raises for every image, what the source raises, and what Ray does.
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
        """Take what goes to Ray together."""
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
def opened_ray(job: Job, devices: tuple[str, ...]) -> Iterator[RayActors]:
    """Join or start Ray, and leave it, with its folder removed, when this is left.

    Args:
        devices: an actor each, all of one kind; Ray gives each that is not for the cpu a graphics card of its own.

    Raises:
        MissingExtra: Ray is not installed.
        UnknownName, BadInput, BadWeights: as opened_stage does.
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
    """Connect to the cluster of RAY_ADDRESS, or start one here in a folder that is removed."""
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
    """Load the models where the actors will, to know what they are."""
    try:
        with opened_stage(job, device, lambda: False) as stage:
            return stage.about
    except Exception as error:
        return portable(error)


def _plain(device: str) -> str:
    """Return a device as an actor sees it: Ray shows each its own graphics card alone."""
    return device.partition(":")[0]


def _needs(device: str) -> dict[str, Any]:
    return {"num_cpus": 1} if _plain(device) == "cpu" else {"num_cpus": 1, "num_gpus": 1}


def _objects(values: Iterable[bytes]) -> NDArray[Any]:
    kept = list(values)
    made = np.empty(len(kept), object)
    made[:] = kept
    return made
