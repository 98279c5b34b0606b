"""What a worker is told: how to load its models and what to answer; all of it can pass between processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.batch.answers import About, Answer
from openvocab.batch.writer import RunOptions, about, opened_engine
from openvocab.errors import BadInput
from openvocab.prompts.templates import PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openvocab.images.items import Item
    from openvocab.pipeline.pipeline import Pipeline

__all__ = ["Job", "Loader", "Stage", "opened_stage", "read_devices"]


@dataclass(frozen=True, slots=True)
class Loader:
    """How a worker loads its models: what openvocab.load takes, but for the device.

    tags_alone   load the tagger and nothing else, also of a preset.
    settings     settings to change.
    """

    preset: str | None = None
    tagger: str | None = None
    detector: str | None = None
    segmenter: str | None = None
    dtype: str | None = None
    tags_alone: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, device: str | None = None) -> Pipeline:
        """Load the pipeline on a device; the best there is where not given.

        Raises:
            UnknownName, BadInput, BadWeights: as openvocab.load.
        """
        given = {"tagger": self.tagger, "detector": self.detector, "segmenter": self.segmenter}
        specs: dict[str, Any] = {stage: spec for stage, spec in given.items() if spec}
        where: dict[str, Any] = {"device": device, "dtype": self.dtype, "tags_alone": self.tags_alone}
        return openvocab.load(self.preset, **specs, **where, **self.settings)


@dataclass(frozen=True, slots=True)
class Job:
    """One run, as each of its workers is told of it.

    load      makes the pipeline on a device; see Loader. It must be picklable.
    labels    all of them, in order; prompts are the tagger's sentences.
    changes   settings to change.
    options   those of the run; on_answer and stop stay with who writes.
    """

    load: Callable[[str], Pipeline]
    labels: tuple[str, ...]
    prompts: PromptSet
    changes: Mapping[str, Any]
    options: RunOptions

    def portable(self) -> Job:
        """Return it without what stays with who writes."""
        plain = RunOptions()
        return replace(self, options=replace(self.options, stop=plain.stop, on_answer=plain.on_answer))


class Stage:
    """The loaded models of one worker: inputs in, light answers out; opened_stage makes it.

    about         what run.json says of it.
    batch_sizes   as Engine's.
    """

    def __init__(self, engine: Any, made: About, draw: bool) -> None:
        self._engine, self.about, self._draw = engine, made, draw

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Stage -> images at once, where memory made it halve its batches."""
        sizes: dict[str, int] = self._engine.batch_sizes
        return sizes

    def answers(self, items: Iterable[Item]) -> Iterator[Answer]:
        """Yield an answer for each item, in order, fit to pass between processes."""
        record = self.about.record if self._draw else None
        for answer in self._engine.answers(items):
            yield answer.light(record)
            del answer


@contextmanager
def opened_stage(job: Job, device: str, stop: Callable[[], bool]) -> Iterator[Stage]:
    """Load the models on a device, encode the labels, and give what answers.

    Raises:
        UnknownName, BadInput, BadWeights: as the loader, Pipeline.vocabulary and Engine do.
    """
    pipe = job.load(device).changed(**job.changes)
    options = replace(job.options, stop=stop)
    vocabulary = pipe.vocabulary(job.labels, job.prompts, cache=options.cache)
    with opened_engine(pipe, vocabulary, options) as engine:
        yield Stage(engine, about(pipe, vocabulary, options), options.draw)


def read_devices(text: str) -> tuple[str, ...]:
    """Return the devices that words separated by commas mean; NAME*N stands for N workers on that device.

    Raises:
        BadInput: there is none, or N is no whole number of at least 1.
    """
    found: list[str] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, star, count = word.partition("*")
        if star and not (count.isdecimal() and int(count)):
            raise BadInput(f"{word!r} is no number of workers; write for example cuda*2")
        found += [name.strip()] * (int(count) if star else 1)
    if not found:
        raise BadInput("no device is named; write for example cuda:0,cuda:1")
    return tuple(found)
