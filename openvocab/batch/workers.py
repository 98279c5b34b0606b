"""A run by workers that load their own models: a process a device here, or Ray actors here and on other machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from openvocab.batch.jobs import Job, Loader
from openvocab.batch.pool import opened_crew
from openvocab.batch.writer import RunOptions, Summary, source_of, write_answers
from openvocab.errors import BadInput
from openvocab.images.sources import Names
from openvocab.pipeline.settings import Settings
from openvocab.prompts.labels import read_labels
from openvocab.prompts.templates import PromptSet, prompt_set

if TYPE_CHECKING:
    from openvocab.batch.pool import Crew
    from openvocab.batch.ray_actors import RayActors
    from openvocab.pipeline.pipeline import Pipeline

__all__ = ["Workers"]


@dataclass(frozen=True, slots=True)
class Workers:
    """Who answers a run in place of one loaded pipeline; this process then loads no model.

    A script that uses it needs the usual `if __name__ == "__main__":`, since worker processes are spawned.

    loader    how each loads its models: a Loader, or any picklable function from a device to a Pipeline.
    devices   one worker each; a name may be there more than once.
    engine    "process": a process a device on this machine. "ray": actors of Ray Data, which need the extra `ray`, on
              the cluster that the environment variable RAY_ADDRESS names, or else on this machine alone.
    """

    loader: Loader | Callable[[str], Pipeline]
    devices: tuple[str, ...]
    engine: Literal["process", "ray"] = "process"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            BadInput: no device, or no such engine.
        """
        if not self.devices:
            raise BadInput("no device is named; give for example devices=('cuda:0', 'cuda:1')")
        if self.engine not in ("process", "ray"):
            raise BadInput(f"engine must be 'process' or 'ray', got {self.engine!r}")

    def run_to(
        self,
        folder: str | os.PathLike[str],
        images: Names,
        labels: str | Sequence[str],
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        **options: Any,
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
        job = Job(self.loader, read_labels(labels), prompt_set(template), changes, chosen)
        source = source_of(os.fspath(folder), images, chosen)
        with self._opened(job) as crew:
            if crew.about is None:
                return Summary(os.fspath(folder), stopped=True)
            return write_answers(os.fspath(folder), source, crew, crew.about, chosen)

    @contextmanager
    def _opened(self, job: Job) -> Iterator[Crew | RayActors]:
        if self.engine == "process":
            with opened_crew(job, self.devices) as crew:
                yield crew
            return
        from openvocab.batch.ray_actors import opened_ray

        with opened_ray(job, self.devices) as actors:
            yield actors
