"""Runs by workers that load their own models: one process per device, or Ray actors on one or more machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Unpack

from openvocab.batch.jobs import Job, Loader
from openvocab.batch.pool import open_worker_pool
from openvocab.batch.run_options import RunChoices
from openvocab.batch.writer import RunOptions, Summary, source_of, write_answers
from openvocab.errors import BadInput
from openvocab.images.sources import Names
from openvocab.pipeline.prompting.prompts import refuse_marked
from openvocab.pipeline.settings import Settings
from openvocab.prompts.prompt import Prompt
from openvocab.prompts.sets import LabelSet, read_label_set
from openvocab.prompts.templates import PromptSet, prompt_set

if TYPE_CHECKING:
    from openvocab.batch.pool import WorkerPool
    from openvocab.batch.ray_actors import RayActors
    from openvocab.pipeline.pipeline import Pipeline

__all__ = ["Workers"]


@dataclass(frozen=True, slots=True)
class Workers:
    """Runs with several workers in place of one loaded pipeline; this process loads no model.

    A script that uses this class needs `if __name__ == "__main__":`, since worker processes are spawned.

    Attributes:
        loader: Loads the models of each worker: a Loader, or any picklable function from a device to a Pipeline.
        devices: One device per worker; a device may be repeated.
        engine: "process" runs one process per device on this machine. "ray" runs actors of Ray Data, which need the
            extra `ray`, on the cluster of the environment variable RAY_ADDRESS, or on this machine.
    """

    loader: Loader | Callable[[str], Pipeline]
    devices: tuple[str, ...]
    engine: Literal["process", "ray"] = "process"

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            BadInput: There is no device, or the engine is unknown.
        """
        if not self.devices:
            raise BadInput("no device is named; give for example devices=('cuda:0', 'cuda:1')")
        if self.engine not in ("process", "ray"):
            raise BadInput(f"engine must be 'process' or 'ray', got {self.engine!r}")

    def run_to(
        self,
        folder: str | os.PathLike[str],
        images: Names,
        labels: str | Sequence[str] | LabelSet | Prompt,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        **options: Unpack[RunChoices],
    ) -> Summary:
        """Write the rows that Pipeline.run_to would, in the same order, into the same kind of folder.

        Args:
            folder: The run folder.
            images: Files, folders, patterns, lists, shards or datasets.
            labels: What to look for; see Pipeline.vocabulary.
            template: See Pipeline.vocabulary.
            options: Those of RunOptions and Settings, as for Pipeline.run_to.

        Raises:
            BadInput: as Pipeline.run_to; a device cannot be used, or the devices answer in different precision.
            CannotWrite: as Pipeline.run_to.
            MissingExtra: engine is "ray", and it is not installed.
        """
        chosen, changes = RunOptions.parted({**options, "devices": self.devices})
        Settings().changed_in(Workers.run_to, changes, RunOptions.names())
        refuse_marked(labels)
        names = labels if isinstance(labels, Prompt) else read_label_set(labels)
        job = Job(self.loader, names, prompt_set(template), changes, chosen)
        source = source_of(os.fspath(folder), images, chosen)
        with self._opened(job) as pool:
            if pool.about is None:
                return Summary(os.fspath(folder), stopped=True)
            return write_answers(os.fspath(folder), source, pool, pool.about, chosen)

    @contextmanager
    def _opened(self, job: Job) -> Iterator[WorkerPool | RayActors]:
        if self.engine == "process":
            with open_worker_pool(job, self.devices) as pool:
                yield pool
            return
        from openvocab.batch.ray_actors import open_ray

        with open_ray(job, self.devices) as actors:
            yield actors
