"""The chain: tags from the image, boxes from the tags, masks from the boxes, one record as the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.images.read import read_image
from openvocab.images.sources import Images, Names
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.gate import Choice, choose, effective
from openvocab.pipeline.protocols import (
    Detector,
    ImageArray,
    MaskDetector,
    Queries,
    Segmenter,
    Tagger,
    Vocabulary,
)
from openvocab.pipeline.result import ModelRecord, Result, RunRecord, Tag
from openvocab.pipeline.settings import Settings
from openvocab.pipeline.suppression import kept_detections
from openvocab.pipeline.views import views
from openvocab.prompts.labels import read_labels
from openvocab.prompts.templates import PromptSet, prompt_set

if TYPE_CHECKING:
    from openvocab.batch.writer import Summary
    from openvocab.images.frames import Frames
    from openvocab.pipeline.explore import Encoded, Explored, Stage

__all__ = ["Pipeline", "Vocabulary", "views"]

Source = str | os.PathLike[str] | bytes | NDArray[np.uint8] | Any


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages and their settings. A stage that is None is left out: no tagger means every label is looked for.

    tagger      scores labels for whole images.
    detector    finds boxes for words.
    segmenter   cuts out what lies in a box; where it is None, a detector that brings masks (MaskDetector) does.
    settings    thresholds and limits; a threshold that is None becomes the checkpoint's own.
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
        object.__setattr__(self, "settings", self._effective(self.settings))

    def _effective(self, settings: Settings) -> Settings:
        return effective(settings, self.tagger, self.detector)

    @property
    def independent(self) -> bool:
        """Whether each tag's score stands alone (sigmoid); True without a tagger."""
        return self.tagger is None or self.tagger.independent

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
            BadInput: labels or templates that cannot be used, or templates for labels that are encoded already.
        """
        if isinstance(labels, Vocabulary):
            if template is not None or detector_template is not None:
                raise BadInput(
                    "these labels are encoded already; give the template to vocabulary(), or the labels here"
                )
            return labels
        names, prompts = read_labels(labels), prompt_set(template)
        texts = None
        if self.tagger and cache is not None:
            from openvocab.batch.embedding_cache import cached_labels

            texts = cached_labels(cache, self.tagger, names, prompts)
        elif self.tagger:
            texts = self.tagger.encode_labels(names, prompts)
        queries = self.detector.encode_labels(names, detector_template) if self.detector else None
        return Vocabulary(names, prompts, texts, queries)

    def __call__(
        self,
        image: Source,
        labels: str | Sequence[str] | Vocabulary,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        **changes: Any,
    ) -> Result:
        """Run the chain on one image.

        Args:
            image: a path, the bytes of a file, a Pillow image, or a (H, W, 3) uint8 RGB array.
            labels: what to look for; see vocabulary.
            template: see vocabulary.
            changes: settings to change for this call, e.g. box_threshold=0.4.

        Raises:
            ImageError: the image cannot be read.
            BadInput: labels, templates or settings that cannot be used.
            BadOutput: a model answered with numbers that are not finite.
        """
        settings = self.settings.changed_in(Pipeline.__call__, changes)
        name = os.fspath(image) if isinstance(image, str | os.PathLike) else "array"
        pixels = read_image(image)
        return self._result(name, pixels, self.vocabulary(labels, template), settings)

    def run(
        self,
        images: Images,
        labels: str | Sequence[str] | Vocabulary,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        on_error: Callable[[Path, Exception], None] | None = None,
        allow_urls: bool = False,
        workers: int | None = None,
        isolate: bool = False,
        cache: str | os.PathLike[str] | None = None,
        frames: Frames = "first",
        **changes: Any,
    ) -> Iterator[Result]:
        """Run the chain over many images, yielding results in order as they are made.

        Images are decoded ahead and tagged in batches; each is held until its result is let go of.

        Args:
            images: files, folders, patterns, lists, shards, datasets (see sources.items), and what a call takes.
            on_error: called with what cannot be answered and why; where not given, the error is raised.
            allow_urls: fetch what is named by a web address.
            workers: threads that read and decode; one a processor core, 8 at most, where not given.
            isolate: decode in worker processes, which a decoder may take down.
            cache, frames: see writer.RunOptions.

        Raises:
            ImageError, BadInput, BadOutput: as in a call on one image; BadInput where no image is found.
            OutOfMemory: an image is too much for the memory, even alone.
        """
        from openvocab.batch.writer import RunOptions, stream

        options = RunOptions(allow_urls=allow_urls, workers=workers, isolate=isolate, cache=cache, frames=frames)
        settings = self.settings.changed_in(Pipeline.run, changes)
        vocabulary = self.vocabulary(labels, template, cache=cache)
        yield from stream(self, images, vocabulary, settings, options, on_error)

    def run_to(
        self,
        folder: str | os.PathLike[str],
        images: Names,
        labels: str | Sequence[str] | Vocabulary,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        **options: Any,
    ) -> Summary:
        """Run the chain over many images into a run folder; the same call again goes on where the last one ended.

        Args:
            folder: the run folder; read it with openvocab.read_run.
            images: see run.
            options: those of RunOptions, e.g. embeddings="float16", cache="DIR", and settings to change.

        Raises:
            BadInput: the folder holds a run of other models, labels, templates or settings; the message says which.
            CannotWrite: the folder cannot be written, or another process is at it.
        """
        from openvocab.batch.writer import RunOptions, write_run

        chosen, changes = RunOptions.parted(options)
        settings = self.settings.changed_in(Pipeline.run_to, changes, RunOptions.names())
        known = self.vocabulary(labels, template, cache=chosen.cache)
        return write_run(self, os.fspath(folder), images, known, settings, chosen)

    def tags(self, image: ImageArray, vocabulary: Vocabulary, **changes: Any) -> tuple[Tag, ...]:
        """Stage 1 alone: the labels over the threshold, best first (ties in the order of the vocabulary)."""
        settings = self.settings.changed(**changes)
        if self.tagger is None or vocabulary.texts is None:
            return ()
        return self.choose(self.tag_scores([image], vocabulary, settings)[0], vocabulary.labels, settings).tags

    def choose(self, scores: NDArray[np.float32] | None, labels: Sequence[str], settings: Settings) -> Choice:
        """Return what (C,) scores of C labels mean: tags, and what the detector looks for; None without a tagger."""
        known = self._effective(settings)
        return choose(scores, tuple(labels), known, self.independent, detects=self.detector is not None)

    def tag_scores(
        self, images: Sequence[ImageArray], vocabulary: Vocabulary, settings: Settings | None = None
    ) -> NDArray[np.float32]:
        """(P, C) scores; where windows are asked for, each label's best over the image and its windows."""
        return self.look(images, vocabulary, settings or self.settings)[0]

    def look(
        self, images: Sequence[ImageArray], vocabulary: Vocabulary, settings: Settings, *, embeddings: bool = False
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]] | None]:
        """Return tag_scores and, where asked for, P times the (V, D) embeddings of an image and its windows.

        Raises:
            BadInput: there is no tagger.
            BadOutput: the model's answer is not finite.
        """
        if self.tagger is None or vocabulary.texts is None:
            raise BadInput("this pipeline has no tagger; load one with tagger=SPEC")
        seen = [views(image, settings.windows) for image in images]
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

    def detections(
        self, image: ImageArray, vocabulary: Vocabulary, wanted: Sequence[str] | None = None, **changes: Any
    ) -> Detections:
        """Stage 2 alone: boxes for the wanted labels (all of the vocabulary where not given), best first."""
        return self.detect([image], vocabulary, wanted, self.settings.changed(**changes))[0]

    def detect(
        self, images: Sequence[ImageArray], vocabulary: Vocabulary, wanted: Sequence[str] | None, settings: Settings
    ) -> list[Detections]:
        """Stage 2 for several images in which the same labels are looked for.

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
        threshold = self._effective(settings).threshold("box_threshold")
        cutter = self.detector if self.segmenter is None and isinstance(self.detector, MaskDetector) else None
        if not queries.labels:
            return [Detections.none(image.shape[:2] if cutter else None) for image in images]
        if cutter is not None:
            cut = cutter.detect_masks(images, queries, threshold)
            return [kept_detections(boxes, queries, settings, masks) for boxes, masks in cut]
        found = self.detector.detect(images, queries, threshold)
        return [kept_detections(boxes, queries, settings) for boxes in found]

    def cut_out(self, image: ImageArray, detections: Detections, encoded: Any = None, **changes: Any) -> Detections:
        """Return the same detections with masks, less those of a low-scoring or empty mask.

        Args:
            encoded: the segmenter's encoding of this image, where the caller holds it already.
            changes: settings to change for this call.
        """
        if self.segmenter is None:
            return detections
        if not len(detections):
            return Detections.none(masks_of=image.shape[:2])
        masks, sure = self.segmenter.masks(
            self.segmenter.encode(image) if encoded is None else encoded, detections.xyxy
        )
        scores = detections.detector_scores * sure
        done = Detections(detections.xyxy, scores, detections.labels, detections.detector_scores, sure, masks)
        good = (sure >= self.settings.changed(**changes).mask_threshold) & masks.any(axis=(1, 2))
        return done.take([at for at in np.argsort(-scores, kind="stable") if good[at]])

    def encode(self, image: Source | Encoded, stages: Sequence[Stage] = ("tags", "boxes", "masks")) -> Encoded:
        """Encode one image for some stages, or what is missing of an encoding; hold it for explore and prompt.

        Raises:
            ImageError, BadOutput: as in a call on one image.
            BadInput: no stage of that name, or the encoding was made by other models.
        """
        from openvocab.pipeline import explore as exploring

        return exploring.encode(self, image, stages)

    def explore(
        self,
        image: Source | Encoded,
        labels: str | Sequence[str] | Vocabulary,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        floor: float = 0.05,
        most: int = 60,
        **changes: Any,
    ) -> Iterator[Explored]:
        """Answer one image stage by stage, so that thresholds can be moved later without a model call; see Explored.

        Args:
            image: as in a call on one image, or what an earlier answer holds as `encoded`: then other labels cost
                no encoding of the image.
            labels, template, changes: as in a call on one image.
            floor: keep boxes whose best label scores this or more, whatever the box threshold.
            most: keep at most this many of them, best first; each costs a mask.

        Raises:
            ImageError, BadInput: as in a call on one image; at once, before the first stage is asked for.
            BadOutput: a model answered with numbers that are not finite.
        """
        from openvocab.pipeline import explore as exploring

        settings = self.settings.changed_in(Pipeline.explore, changes)
        vocabulary = self.vocabulary(labels, template)
        return exploring.explore(self, image, vocabulary, settings, exploring.Room(floor, most))

    def prompt(
        self,
        encoded: Encoded,
        points: NDArray[np.float32] | None = None,
        point_labels: NDArray[np.int64] | None = None,
        box: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Cut out what points and a box mean: three candidates, (3, H, W) masks and (3,) scores in 0 to 1, not sorted.

        Args:
            encoded: what encode returned for the image, or what a last answer of explore holds.
            points: (P, 2) x and y in pixels of the image.
            point_labels: (P,) 1 where the thing is, 0 where it is not.
            box: (4,) left, top, right, bottom in pixels of the image.

        Raises:
            BadInput: the segmenter takes no points, the image is not encoded for it, or a prompt says nothing.
            BadOutput: a mask or its score is not finite.
        """
        from openvocab.pipeline import explore as exploring

        return exploring.prompt(self, encoded, points, point_labels, box)

    def _result(self, name: str, image: ImageArray, vocabulary: Vocabulary, settings: Settings) -> Result:
        asked = Pipeline(self.tagger, self.detector, self.segmenter, settings)
        scores = asked.tag_scores([image], vocabulary)[0] if self.tagger else None
        choice, detections = asked.choose(scores, vocabulary.labels, settings), Detections.none()
        if self.detector is not None:
            detections = asked.cut_out(image, asked.detections(image, vocabulary, choice.to_find))
        (height, width), record = image.shape[:2], self.record(vocabulary, settings)
        known: dict[str, Any] = {"notes": choice.notes_of(len(detections)), "labels": vocabulary.labels}
        return Result(name, width, height, choice.tags, detections, record, image, **known)

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
            self._effective(settings or self.settings).given(),
        )


def _score(
    tagger: Tagger, images: Sequence[ImageArray], vocabulary: Vocabulary, embeddings: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    texts = vocabulary.texts
    if texts is None:
        raise BadInput("this vocabulary was made without a tagger; make it with this pipeline's vocabulary()")
    if not embeddings:
        return tagger.score(images, texts), None
    rows = tagger.encode_images(images)
    return tagger.scores(rows, texts), rows
