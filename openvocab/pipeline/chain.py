"""The chain: tags from the picture, boxes from the tags, masks from the boxes, one record as the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.pipeline.batch.sources import Names, items
from openvocab.pipeline.images import read_image
from openvocab.pipeline.record import ModelRecord, Regions, Result, RunRecord, Tag
from openvocab.pipeline.settings import SIGMOID_TAG, SOFTMAX_TAG, Settings
from openvocab.pipeline.stages import (
    Detector,
    MaskDetector,
    Picture,
    Queries,
    Segmenter,
    Tagger,
    TextEmbeddings,
)
from openvocab.pipeline.suppression import kept_regions
from openvocab.prompts.labels import read_labels
from openvocab.prompts.templates import PromptSet, prompt_set

if TYPE_CHECKING:
    from openvocab.pipeline.batch.engine import Answer
    from openvocab.pipeline.batch.writer import Summary

__all__ = ["Pipeline", "Vocabulary", "nothing_found", "views"]

Source = str | os.PathLike[str] | bytes | NDArray[np.uint8] | Any


@dataclass(frozen=True, eq=False, slots=True)
class Vocabulary:
    """Labels encoded once for every stage that reads words; make it with Pipeline.vocabulary and reuse it."""

    labels: tuple[str, ...]
    prompts: PromptSet
    texts: TextEmbeddings | None
    queries: Queries | None


def views(picture: Picture, windows: int) -> list[Picture]:
    """The picture, then windows x windows windows of half its height and width, evenly spread over it.

    Half-size windows overlap where windows > 2. A picture narrower than 2 pixels has no windows.
    """
    height, width = picture.shape[:2]
    if windows < 1 or min(height, width) < 2:
        return [picture]
    tall, wide = (height + 1) // 2, (width + 1) // 2
    tops = np.linspace(0, height - tall, windows).round().astype(int)
    lefts = np.linspace(0, width - wide, windows).round().astype(int)
    return [picture, *(picture[top : top + tall, left : left + wide] for top in tops for left in lefts)]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages and their settings. A stage that is None is left out: no tagger means every label is looked for.

    tagger      scores labels for whole pictures.
    detector    finds boxes for words.
    segmenter   cuts out what lies in a box; where it is None, a detector that brings masks (MaskDetector) does.
    settings    thresholds and limits.
    """

    tagger: Tagger | None
    detector: Detector | None
    segmenter: Segmenter[Any] | None
    settings: Settings

    def __post_init__(self) -> None:
        """Check that there is something to run.

        Raises:
            BadInput: neither tagger nor detector is given.
        """
        if self.tagger is None and self.detector is None:
            raise BadInput("a pipeline needs a tagger or a detector; a segmenter alone has no words to go by")

    def vocabulary(
        self,
        labels: str | Sequence[str] | Vocabulary,
        template: str | Sequence[str] | PromptSet | None = None,
        detector_template: str | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> Vocabulary:
        """Encode labels once for tagger and detector.

        Args:
            labels: label names, a named label set, a file of labels, or words separated by commas.
            template: the tagger's sentence or sentences; "This is a photo of a {label}" where not given.
            detector_template: the detector's sentence; the model family's own where not given.
            cache: the folder of a cache of embeddings, see run_to; kept there, the tagger's side is not encoded again.

        Raises:
            BadInput: labels or templates that cannot be used; the message says which and why.
        """
        if isinstance(labels, Vocabulary):
            return labels
        names, prompts = read_labels(labels), prompt_set(template)
        texts = None
        if self.tagger and cache is not None:
            from openvocab.pipeline.batch.embedding_cache import cached_labels

            texts = cached_labels(cache, self.tagger, names, prompts)
        elif self.tagger:
            texts = self.tagger.encode_labels(names, prompts)
        queries = self.detector.encode_labels(names, detector_template) if self.detector else None
        return Vocabulary(names, prompts, texts, queries)

    def __call__(
        self,
        picture: Source,
        labels: str | Sequence[str] | Vocabulary,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        **changes: Any,
    ) -> Result:
        """Run the chain on one picture.

        Args:
            picture: a path, the bytes of a file, a Pillow image, or a (H, W, 3) uint8 RGB array.
            labels: what to look for; see vocabulary.
            template: see vocabulary.
            changes: settings to change for this call, e.g. box_threshold=0.4.

        Raises:
            ImageError: the picture cannot be read.
            BadInput: labels, templates or settings that cannot be used.
            BadOutput: a model answered with numbers that are not finite.
        """
        settings = self.settings.changed(**changes)
        name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else "array"
        pixels = read_image(picture)
        return self._result(name, pixels, self.vocabulary(labels, template), settings)

    def run(
        self,
        pictures: Names,
        labels: str | Sequence[str] | Vocabulary,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        on_error: Callable[[Path, Exception], None] | None = None,
        allow_urls: bool = False,
        workers: int | None = None,
        isolate: bool = False,
        **changes: Any,
    ) -> Iterator[Result]:
        """Run the chain over many pictures, yielding results in order as they are made.

        Pictures are decoded ahead and tagged in batches; each is held until its result is let go of.

        Args:
            pictures: files, folders, patterns, lists, shards, datasets: see sources.items.
            on_error: called with what cannot be answered and why; where not given, the error is raised.
            allow_urls: fetch what is named by a web address.
            workers: threads that read and decode; one a processor core, 8 at most, where not given.
            isolate: decode in worker processes, which a decoder may take down.

        Raises:
            ImageError, BadInput, BadOutput: as in a call on one picture; BadInput where no picture is found.
            OutOfMemory: a picture is too much for the memory, even alone.
        """
        from openvocab.pipeline.batch.engine import Engine, Reading

        settings, vocabulary = self.settings.changed(**changes), self.vocabulary(labels, template)
        engine = Engine(self, vocabulary, settings, Reading(workers, isolate))
        answers = engine.answers(items(pictures, allow_urls=allow_urls))
        first = next(answers, None)
        if first is None:
            raise nothing_found(pictures)
        found = chain([first], answers)
        del first  # the caller alone holds a picture once it has the result
        yield from _results(found, self.record(vocabulary, settings), on_error)

    def run_to(
        self,
        folder: str | os.PathLike[str],
        pictures: Names,
        labels: str | Sequence[str] | Vocabulary,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        **options: Any,
    ) -> Summary:
        """Run the chain over many pictures into a run folder; the same call again goes on where the last one ended.

        Args:
            folder: the run folder; read it with openvocab.read_run.
            pictures: see run.
            options: those of RunOptions, e.g. embeddings="float16", cache="DIR", and settings to change.

        Raises:
            BadInput: the folder holds a run of other models, labels, templates or settings; the message says which.
            CannotWrite: the folder cannot be written, or another process is at it.
        """
        from openvocab.pipeline.batch.writer import RunOptions, write_run

        own = {each.name for each in fields(RunOptions)}
        chosen = RunOptions(**{name: value for name, value in options.items() if name in own})
        settings = self.settings.changed(**{name: value for name, value in options.items() if name not in own})
        known = self.vocabulary(labels, template, cache=chosen.cache)
        return write_run(self, os.fspath(folder), pictures, known, settings, chosen)

    def tags(self, picture: Picture, vocabulary: Vocabulary, **changes: Any) -> tuple[Tag, ...]:
        """Stage 1 alone: the labels over the threshold, best first (ties in the order of the vocabulary)."""
        settings = self.settings.changed(**changes)
        if self.tagger is None or vocabulary.texts is None:
            return ()
        return self.pick(self.tag_scores([picture], vocabulary, settings)[0], vocabulary, settings)

    def pick(self, scores: NDArray[np.float32], vocabulary: Vocabulary, settings: Settings) -> tuple[Tag, ...]:
        """Return the tags that (C,) scores mean."""
        return tuple(Tag(vocabulary.labels[row], float(scores[row])) for row in self.best(scores, settings))

    def best(self, scores: NDArray[np.float32], settings: Settings) -> NDArray[np.intp]:
        """Return the indices of the labels that (C,) scores make tags, best first."""
        least = settings.tag_threshold
        if least is None:
            least = SIGMOID_TAG if self.tagger is None or self.tagger.independent else SOFTMAX_TAG
        rows = np.flatnonzero(scores >= least)
        if len(rows) > settings.max_tags:  # of 100,000 labels few are sorted; all that tie with the last one are
            rows = rows[scores[rows] >= np.partition(scores[rows], -settings.max_tags)[-settings.max_tags]]
        return rows[np.argsort(-scores[rows], kind="stable")][: settings.max_tags]

    def tag_scores(
        self, pictures: Sequence[Picture], vocabulary: Vocabulary, settings: Settings | None = None
    ) -> NDArray[np.float32]:
        """(P, C) scores; where windows are asked for, each label's best over the picture and its windows."""
        return self.look(pictures, vocabulary, settings or self.settings)[0]

    def look(
        self, pictures: Sequence[Picture], vocabulary: Vocabulary, settings: Settings, *, embeddings: bool = False
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]] | None]:
        """Return tag_scores and, where asked for, P times the (V, D) embeddings of a picture and its windows.

        Raises:
            BadInput: there is no tagger.
            BadOutput: the model's answer is not finite.
        """
        if self.tagger is None or vocabulary.texts is None:
            raise BadInput("this pipeline has no tagger; load one with tagger=SPEC")
        seen = [views(picture, settings.windows) for picture in pictures]
        flat, size = [view for each in seen for view in each], settings.batch_size
        parts = [_score(self.tagger, flat[at : at + size], vocabulary, embeddings) for at in range(0, len(flat), size)]
        if not parts:
            return np.zeros((0, len(vocabulary.labels)), np.float32), None
        scores, starts = np.concatenate([part[0] for part in parts]), np.cumsum([0, *(len(each) for each in seen)])[:-1]
        rows = np.split(np.concatenate([part[1] for part in parts]), starts[1:]) if embeddings else None
        return np.maximum.reduceat(scores, starts, axis=0), rows

    def scores_of(self, rows: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        """Return the (N, C) scores of (N, D) embeddings.

        Raises:
            BadInput: there is no tagger.
        """
        if self.tagger is None or vocabulary.texts is None:
            raise BadInput("this pipeline has no tagger; load one with tagger=SPEC")
        return self.tagger.scores(rows, vocabulary.texts)

    def regions(
        self, picture: Picture, vocabulary: Vocabulary, wanted: Sequence[str] | None = None, **changes: Any
    ) -> Regions:
        """Stage 2 alone: boxes for the wanted labels (all of the vocabulary where not given), best first."""
        return self.detect([picture], vocabulary, wanted, self.settings.changed(**changes))[0]

    def detect(
        self, pictures: Sequence[Picture], vocabulary: Vocabulary, wanted: Sequence[str] | None, settings: Settings
    ) -> list[Regions]:
        """Stage 2 for several pictures in which the same labels are looked for.

        Raises:
            BadInput: there is no detector.
            BadOutput: the model's answer is not finite.
        """
        queries = vocabulary.queries
        if self.detector is None or queries is None:
            raise BadInput("this pipeline has no detector; load one with detector=SPEC")
        if wanted is not None and tuple(wanted) != queries.labels:
            picked = [vocabulary.labels.index(label) for label in wanted]
            queries = Queries(tuple(wanted), queries.template, queries.embeddings[picked])
        cutter = self.detector if self.segmenter is None and isinstance(self.detector, MaskDetector) else None
        if not queries.labels:
            return [Regions.none(picture.shape[:2] if cutter else None) for picture in pictures]
        if cutter is not None:
            cut = cutter.detect_masks(pictures, queries, settings.box_threshold)
            return [kept_regions(boxes, queries, settings, masks) for boxes, masks in cut]
        found = self.detector.detect(pictures, queries, settings.box_threshold)
        return [kept_regions(boxes, queries, settings) for boxes in found]

    def cut_out(self, picture: Picture, regions: Regions, encoded: Any = None) -> Regions:
        """Stage 3 alone: the same regions with masks; no model call where there is none.

        Args:
            encoded: the segmenter's encoding of this picture, where the caller holds it already.
        """
        if self.segmenter is None:
            return regions
        if not len(regions):
            return Regions.none(masks_of=picture.shape[:2])
        masks, sure = self.segmenter.masks(self.segmenter.encode(picture) if encoded is None else encoded, regions.xyxy)
        scores = regions.detector_scores * sure
        done = Regions(regions.xyxy, scores, regions.labels, regions.detector_scores, sure, masks)
        return done.take(np.argsort(-scores, kind="stable"))

    def _result(self, name: str, picture: Picture, vocabulary: Vocabulary, settings: Settings) -> Result:
        asked = Pipeline(self.tagger, self.detector, self.segmenter, settings)
        tags = asked.tags(picture, vocabulary)
        regions = Regions.none()
        if self.detector is not None:
            regions = asked.regions(picture, vocabulary, [tag.label for tag in tags] if self.tagger else None)
            regions = asked.cut_out(picture, regions)
        height, width = picture.shape[:2]
        return Result(name, width, height, tags, regions, self.record(vocabulary, settings), picture)

    def record(self, vocabulary: Vocabulary, settings: Settings | None = None) -> RunRecord:
        """Return what someone else needs to get the same numbers."""

        def of(stage: Tagger | Detector | Segmenter[Any] | None) -> ModelRecord | None:
            return None if stage is None else stage.record

        return RunRecord(
            openvocab.__version__,
            of(self.tagger),
            of(self.detector),
            of(self.segmenter),
            vocabulary.prompts.templates,
            vocabulary.prompts.digest,
            vocabulary.queries.template if vocabulary.queries else "",
            {name: value for name, value in asdict(settings or self.settings).items() if value is not None},
        )


def _results(
    answers: Iterator[Answer], record: RunRecord, on_error: Callable[[Path, Exception], None] | None
) -> Iterator[Result]:
    """Yield results; errors are raised or handed to on_error."""
    for answer in answers:
        if answer.error is None:
            yield answer.result(record)
        elif on_error is None:
            raise answer.error
        else:
            on_error(Path(answer.item.id), answer.error)
        del answer


def _score(
    tagger: Tagger, pictures: Sequence[Picture], vocabulary: Vocabulary, embeddings: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    texts = vocabulary.texts
    if texts is None:
        raise BadInput("this vocabulary was made without a tagger; make it with this pipeline's vocabulary()")
    if not embeddings:
        return tagger.score(pictures, texts), None
    rows = tagger.encode_pictures(pictures)
    return tagger.scores(rows, texts), rows


def nothing_found(named: Names) -> BadInput:
    """Return the error for names that mean no picture."""
    given = [named] if isinstance(named, str | os.PathLike) else named
    return BadInput(f"no picture in {', '.join(map(str, given))}; give a picture or a folder that holds some")
