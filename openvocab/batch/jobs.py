"""The picklable description of a worker's job: how to load its models, and what to answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.batch.answers import About, Answer
from openvocab.batch.writer import RunOptions, about, open_engine
from openvocab.errors import BadInput
from openvocab.prompts.prompt import Prompt
from openvocab.prompts.sets import LabelSet
from openvocab.prompts.templates import PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openvocab.images.items import Item
    from openvocab.pipeline.pipeline import Pipeline

__all__ = ["Job", "Loader", "Stage", "open_stage", "read_devices"]


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads the models of a worker: the arguments of openvocab.load, except the device.

    Attributes:
        preset: The preset.
        tagger: The SPEC of the tagger.
        detector: The SPEC of the detector.
        segmenter: The SPEC of the segmenter.
        dtype: The precision.
        tags_alone: Whether only the tagger is loaded.
        settings: The settings to change.
    """

    preset: str | None = None
    tagger: str | None = None
    detector: str | None = None
    segmenter: str | None = None
    dtype: str | None = None
    tags_alone: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, device: str | None = None) -> Pipeline:
        """Load the pipeline on a device, by default the best available.

        Raises:
            UnknownName, BadInput, BadWeights: As openvocab.load.
        """
        given = {"tagger": self.tagger, "detector": self.detector, "segmenter": self.segmenter}
        specs: dict[str, Any] = {stage: spec for stage, spec in given.items() if spec}
        where: dict[str, Any] = {"device": device, "dtype": self.dtype, "tags_alone": self.tags_alone}
        return openvocab.load(self.preset, **specs, **where, **self.settings)


@dataclass(frozen=True, slots=True)
class Job:
    """One run, as every worker gets it.

    Attributes:
        load: Loads the pipeline on a device; it must be picklable. See Loader.
        labels: The vocabulary, in order, or a LabelSet or a Prompt.
        prompts: The tagger's templates.
        changes: The settings to change.
        options: The options of the run; on_answer and stop stay in the writing process.
    """

    load: Callable[[str], Pipeline]
    labels: tuple[str, ...] | LabelSet | Prompt
    prompts: PromptSet
    changes: Mapping[str, Any]
    options: RunOptions

    def portable(self) -> Job:
        """Return a picklable copy, without the callbacks of the writing process."""
        plain = RunOptions()
        return replace(self, options=replace(self.options, stop=plain.stop, on_answer=plain.on_answer))


class Stage:
    """The loaded models of one worker; see open_stage.

    Attributes:
        about: The models and the vocabulary, for run.json.
    """

    def __init__(self, engine: Any, made: About, draw: bool) -> None:
        self._engine, self.about, self._draw = engine, made, draw

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The final batch size of each stage that halved it because memory ran out."""
        sizes: dict[str, int] = self._engine.batch_sizes
        return sizes

    def answers(self, items: Iterable[Item]) -> Iterator[Answer]:
        """Yield a picklable answer per item, in order."""
        record = self.about.record if self._draw else None
        for answer in self._engine.answers(items):
            yield answer.light(record)
            del answer


@contextmanager
def open_stage(job: Job, device: str, stop: Callable[[], bool]) -> Iterator[Stage]:
    """Load the models on a device, encode the labels, and open a Stage.

    Raises:
        UnknownName, BadInput, BadWeights: As the loader, Pipeline.vocabulary and Engine do.
    """
    pipe = job.load(device).changed(**job.changes)
    options = replace(job.options, stop=stop)
    vocabulary = pipe.vocabulary(job.labels, job.prompts, cache=options.cache)
    with open_engine(pipe, vocabulary, options) as engine:
        yield Stage(engine, about(pipe, vocabulary, options), options.draw)


def read_devices(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of devices; NAME*N means N workers on that device.

    Raises:
        BadInput: There is no device, or N is not an integer of at least 1.
    """
    found: list[str] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, star, count = word.partition("*")
        if star and not (count.isdecimal() and int(count)):
            raise BadInput(f"{word!r} is not a number of workers; write for example cuda*2")
        found += [name.strip()] * (int(count) if star else 1)
    if not found:
        raise BadInput("no device is named; write for example cuda:0,cuda:1")
    return tuple(found)
