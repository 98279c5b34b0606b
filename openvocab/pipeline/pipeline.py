"""Pipeline: the chain for people. Words in; tags, boxes and masks out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.images.read import read_image
from openvocab.images.sources import Images, Names, is_web_address
from openvocab.images.urls import fetch
from openvocab.pipeline import chain, explore
from openvocab.pipeline.answer import answer
from openvocab.pipeline.candidates import CandidateLimits
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.everything import EverythingChoices, EverythingOptions, everything
from openvocab.pipeline.explore import Encoded, Explored, Stage
from openvocab.pipeline.prompting.prompts import answer_marked
from openvocab.pipeline.prompting.vocabularies import encode_vocabulary
from openvocab.pipeline.protocols import ImageArray, Tagger, TextEmbeddings, Vocabulary
from openvocab.pipeline.result import Result, RunRecord, Tag
from openvocab.pipeline.settings import SettingChanges
from openvocab.pipeline.stages import Stages, run_record
from openvocab.prompts.prompt import Prompt
from openvocab.prompts.sets import LabelSet
from openvocab.prompts.templates import PromptSet

if TYPE_CHECKING:
    from openvocab.batch.run_options import RunChoices, Summary
    from openvocab.images.frames import Frames

__all__ = ["Pipeline"]

Source = str | os.PathLike[str] | bytes | NDArray[np.uint8] | Any
Labels = str | Sequence[str] | LabelSet | Prompt | Vocabulary
Template = str | Sequence[str] | PromptSet | None


@dataclass(frozen=True, slots=True)
class Pipeline(Stages):
    """The models of the chain and its settings; call it with an image and labels.

    Attributes:
        tagger: Scores labels for whole images; None: the detector gets every label.
        detector: Finds boxes for labels; None: tags only.
        segmenter: Segments what lies in a box; where it is None, a MaskDetector's own masks are used.
        settings: Thresholds and limits; a threshold that is None becomes the checkpoint's own.
    """

    def vocabulary(
        self,
        labels: Labels,
        template: Template = None,
        detector_template: str | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> Vocabulary:
        """Encode labels once for tagger and detector.

        Args:
            labels: Names, a named label set, a file of labels, words separated by commas, a LabelSet, or a Prompt.
            template: The tagger's sentence or sentences; "This is a photo of a {label}" where not given.
            detector_template: The detector's sentence; the model family's own where not given.
            cache: Folder of a cache of features, see run_to; labels in it are not encoded again for the tagger.

        Raises:
            BadInput: labels or templates that cannot be used, templates for labels that are encoded already, or a
                Prompt with marks, or with exemplars or negatives that the detector does not take.
        """
        if isinstance(labels, Vocabulary):
            if template is not None or detector_template is not None:
                raise BadInput(
                    "these labels are encoded already; give the template to vocabulary(), or the labels here"
                )
            return labels
        encode = None if self.tagger is None else partial(_encode_labels, self.tagger, cache)
        return encode_vocabulary(self, labels, template, detector_template, encode)

    @overload
    def __call__(
        self,
        image: list[Any] | tuple[Any, ...],
        labels: Labels,
        *,
        template: Template = None,
        allow_urls: bool = False,
        **changes: Unpack[SettingChanges],
    ) -> list[Result]: ...
    @overload
    def __call__(
        self,
        image: Source,
        labels: Labels,
        *,
        template: Template = None,
        allow_urls: bool = False,
        **changes: Unpack[SettingChanges],
    ) -> Result: ...
    def __call__(
        self,
        image: Source | list[Any] | tuple[Any, ...],
        labels: Labels,
        *,
        template: Template = None,
        allow_urls: bool = False,
        **changes: Unpack[SettingChanges],
    ) -> Result | list[Result]:
        """Run the chain on one image, or on each of a list.

        Args:
            image: What read_image takes: a path, the bytes of a file, an open file, a Pillow image, a (H, W, 3) uint8
                RGB array or a (3, H, W) tensor. A list gives a list of results, in order; see run for many images.
            labels: What to look for; see vocabulary.
            template: See vocabulary.
            allow_urls: Fetch an image that is named by a web address.
            changes: Settings to change for this call, e.g. box_threshold=0.4.

        Raises:
            ImageError: the image cannot be read.
            BadInput: labels, templates or settings that cannot be used.
            BadOutput: a model answered with numbers that are not finite.
        """
        stages = replace(self, settings=self.settings.changed_in(Pipeline.__call__, changes))
        if isinstance(image, list | tuple):
            vocabulary = self.vocabulary(labels, template)
            return list(stages.run(image, vocabulary, allow_urls=allow_urls)) if image else []
        name = os.fsdecode(image) if isinstance(image, str | os.PathLike) else "array"
        pixels = read_image(fetch(name) if allow_urls and is_web_address(name) else image)
        if isinstance(labels, Prompt) and labels.marks:
            return answer_marked(stages, labels, pixels, name, lambda plain: stages(pixels, plain, template=template))
        return answer(stages, name, pixels, self.vocabulary(labels, template))

    predict = __call__

    def __repr__(self) -> str:
        stages = [stage for stage in (self.tagger, self.detector, self.segmenter) if stage is not None]
        models = ", ".join(stage.record.spec for stage in stages) or "closed"
        return f"Pipeline({', '.join([models, *({stage.record.device: 0 for stage in stages})])})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the models; a call on a closed pipeline raises BadInput."""
        for name in ("tagger", "detector", "segmenter"):
            object.__setattr__(self, name, None)

    def run(
        self,
        images: Images,
        labels: Labels,
        *,
        template: Template = None,
        on_error: Callable[[Path, Exception], None] | None = None,
        allow_urls: bool = False,
        workers: int | None = None,
        isolate: bool = False,
        cache: str | os.PathLike[str] | None = None,
        frames: Frames = "first",
        **changes: Unpack[SettingChanges],
    ) -> Iterator[Result]:
        """Run the chain over many images and yield results in the order of the images.

        Images are decoded ahead and tagged in batches; an image is kept until its result is released.

        Args:
            images: Files, folders, patterns, lists, shards, datasets (see sources.items), and what a call takes.
            labels: What to look for; see vocabulary.
            template: See vocabulary.
            on_error: Called with the path and the error of an image that fails; where not given, the error is raised.
            allow_urls: Fetch images that are named by a web address.
            workers: Threads that read and decode; one a processor core where not given.
            isolate: Decode in worker processes, so that a crashing decoder costs one image.
            cache: Folder of a cache of features; see RunOptions.
            frames: Frames of an animation to answer; see RunOptions.
            changes: Settings to change for this call.

        Raises:
            BadInput: no image is found, or as in a call on one image, like ImageError and BadOutput.
            OutOfMemory: an image does not fit into memory, even alone.
        """
        from openvocab.batch.writer import RunOptions, stream

        options = RunOptions(allow_urls=allow_urls, workers=workers, isolate=isolate, cache=cache, frames=frames)
        stages = replace(self, settings=self.settings.changed_in(Pipeline.run, changes))
        vocabulary = self.vocabulary(labels, template, cache=cache)
        yield from stream(stages, images, vocabulary, options, on_error)

    def run_to(
        self,
        folder: str | os.PathLike[str],
        images: Names,
        labels: Labels,
        *,
        template: Template = None,
        **options: Unpack[RunChoices],
    ) -> Summary:
        """Run the chain over many images into a run folder; the same call again resumes it.

        Args:
            folder: The run folder; read it with openvocab.read_run.
            images: See run.
            labels: What to look for; see vocabulary.
            template: See vocabulary.
            options: Those of RunOptions, e.g. features="float16", cache="DIR", and settings to change.

        Raises:
            BadInput: the folder holds a run of other models, labels, templates or settings; the message says which.
            CannotWrite: the folder cannot be written, or another process is writing it.
        """
        from openvocab.batch.writer import RunOptions, write_run

        chosen, changes = RunOptions.parted(options)
        stages = replace(self, settings=self.settings.changed_in(Pipeline.run_to, changes, RunOptions.names()))
        vocabulary = self.vocabulary(labels, template, cache=chosen.cache)
        return write_run(stages, os.fspath(folder), images, vocabulary, chosen)

    def everything(
        self, image: Source, labels: Labels, *, template: Template = None, **options: Unpack[EverythingChoices]
    ) -> Result:
        """Segment every object of an image, and name each by a label, or "unknown" where none fits.

        Args:
            image: As in a call on one image.
            labels: As in a call on one image.
            template: As in a call on one image.
            options: Fields of EverythingOptions, e.g. unknown_threshold=0.4.

        Raises:
            BadInput: a stage is missing, or labels or options cannot be used.
            ImageError, BadOutput: as in a call on one image.
        """
        name = os.fspath(image) if isinstance(image, str | os.PathLike) else "array"
        vocabulary, chosen = self.vocabulary(labels, template), EverythingOptions(**options)
        return everything(self, name, read_image(image), vocabulary, chosen)

    def tag_scores(
        self, images: Sequence[ImageArray], vocabulary: Vocabulary, **changes: Unpack[SettingChanges]
    ) -> NDArray[np.float32]:
        """Return (P, C) scores; with windows, each label's best over the image and its windows.

        Raises:
            BadInput: there is no tagger.
            BadOutput: the model's answer is not finite.
        """
        rows = [each.scores for each in chain.score(self.changed(**changes), images, vocabulary)]
        return np.stack(rows) if rows else np.zeros((0, len(vocabulary.labels)), np.float32)

    def tag(self, image: ImageArray, vocabulary: Vocabulary, **changes: Unpack[SettingChanges]) -> tuple[Tag, ...]:
        """Stage 1 alone: the labels over the threshold, best first; ties keep the order of the vocabulary."""
        if self.tagger is None or vocabulary.texts is None:
            return ()
        stages = self.changed(**changes)
        return chain.tag(stages, chain.score(stages, [image], vocabulary)[0].scores, vocabulary.labels).tags

    def detect(
        self,
        image: ImageArray,
        vocabulary: Vocabulary,
        wanted: Sequence[str] | None = None,
        **changes: Unpack[SettingChanges],
    ) -> Detections:
        """Stage 2 alone: boxes of the wanted labels (all of the vocabulary where not given), best first, not verified.

        Raises:
            BadInput: there is no detector, or a label is not in the vocabulary.
            BadOutput: the model's answer is not finite.
        """
        return chain.detect(self.changed(**changes), [image], vocabulary, wanted)[0]

    def segment(
        self, image: ImageArray, detections: Detections, encoded: Any = None, **changes: Unpack[SettingChanges]
    ) -> Detections:
        """Stage 3 alone: the detections with masks, without those of a low-scoring or empty mask.

        Args:
            image: (H, W, 3) uint8 RGB.
            detections: Boxes in pixels of the image.
            encoded: The segmenter's encoding of this image, where the caller has it already.
            changes: Settings to change for this call.

        Raises:
            BadOutput: the model's answer is not finite.
        """
        return chain.segment(self.changed(**changes), image, detections, encoded)

    def encode(self, image: Source | Encoded, stages: Sequence[Stage] = ("tags", "boxes", "masks")) -> Encoded:
        """Encode one image for some stages, or what is missing of an encoding, for explore and prompt.

        Raises:
            BadInput: no stage of that name, or the encoding was made by other models.
            ImageError, BadOutput: as in a call on one image.
        """
        return explore.encode(self, image, stages)

    def explore(
        self,
        image: Source | Encoded,
        labels: Labels,
        *,
        template: Template = None,
        min_score: float = 0.05,
        max_candidates: int = 60,
        **changes: Unpack[SettingChanges],
    ) -> Iterator[Explored]:
        """Answer one image stage by stage, so that thresholds can be moved later without a model call; see Explored.

        Args:
            image: As in a call on one image, or an earlier answer's `encoded`: then other labels cost no encoding
                of the image.
            labels: As in a call on one image.
            template: As in a call on one image.
            min_score: Keep boxes whose best label scores this or more, whatever the box threshold.
            max_candidates: Keep at most this many of them, the best; each costs a mask.
            changes: Settings to change.

        Raises:
            BadInput: as in a call on one image; at once, before the first stage is asked for.
            ImageError, BadOutput: as in a call on one image.
        """
        stages = replace(self, settings=self.settings.changed_in(Pipeline.explore, changes))
        vocabulary = self.vocabulary(labels, template)
        return explore.explore(stages, image, vocabulary, CandidateLimits(min_score, max_candidates))

    def verified(self, explored: Explored, **changes: Unpack[SettingChanges]) -> Explored:
        """Return the answer with what explored.result(**changes) lacks for its verdicts; the same one if nothing.

        Raises:
            BadInput: a setting that does not fit, or the answer was made by other models.
            BadOutput: the model's answer is not finite.
        """
        return explore.verified(self, explored, changes)

    def prompt(
        self,
        encoded: Encoded,
        points: NDArray[np.float32] | None = None,
        point_labels: NDArray[np.int64] | None = None,
        box: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Segment what points and a box mean: three candidates, (3, H, W) masks and (3,) scores in 0 to 1, not sorted.

        Args:
            encoded: What encode returned for the image, or the `encoded` of explore's last answer.
            points: (P, 2) x and y in pixels of the image.
            point_labels: (P,) 1 on the object, 0 beside it.
            box: (4,) left, top, right, bottom in pixels of the image.

        Raises:
            BadInput: the segmenter takes no points, the image is not encoded for it, or the prompt is empty.
            BadOutput: a mask or its score is not finite.
        """
        return explore.prompt(self, encoded, points, point_labels, box)

    def record(self, vocabulary: Vocabulary) -> RunRecord:
        """Return what someone else needs to get the same numbers."""
        return run_record(self, vocabulary)

    def changed(self, **changes: Unpack[SettingChanges]) -> Pipeline:
        """Return the same models with some settings changed; None leaves a setting as it is.

        Raises:
            BadInput: no setting of that name, or a value that does not fit.
        """
        return replace(self, settings=self.settings.changed(**changes)) if changes else self


def _encode_labels(
    tagger: Tagger, cache: str | os.PathLike[str] | None, prompts: PromptSet, names: tuple[str, ...]
) -> TextEmbeddings:
    """Encode labels, or take them from the cache in a folder."""
    if cache is None:
        return tagger.encode_labels(names, prompts)
    from openvocab.batch.feature_cache import cached_labels

    return cached_labels(cache, tagger, names, prompts)
