"""The chain run over annotated images, and again with each stage given the true output of the stage before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet
from openvocab.evaluate.metrics.detection import GroundTruth, Predictions
from openvocab.evaluate.runs.detector import AnnotatedReader, has_annotated_size, scored_detections
from openvocab.evaluate.runs.images import Progress, no_progress
from openvocab.pipeline.batching.groups import encode_for_masks, look_together
from openvocab.pipeline.candidates import Candidates
from openvocab.pipeline.chain import Tagged, conclude, detect, score, segment, tag, tiling_of
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.gate import present_rows
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.pipeline import Pipeline
from openvocab.pipeline.protocols import ImageArray, LateFusionDetector, Segmenter, Vocabulary
from openvocab.pipeline.result import RunRecord
from openvocab.pipeline.tiled import segment_tiles
from openvocab.pipeline.verification.settle import finish

__all__ = ["ChainRun", "run_chain", "run_segmenter"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class ChainRun:
    """The chain's predictions for P images, with the ground truth. Masks are run-length encoded.

    Attributes:
        names: P paths.
        labels: C labels.
        record: The models, templates and settings.
        truth: P annotations; masks only if the data have them.
        predictions: P detections; None without a detector.
        with_true_labels: P detections, with the true labels of each image in place of its tags; None without a tagger.
        true_box_masks: P predictions with one mask for each true box; None without a segmenter or true masks.
        scores: (P, C) float32 tag scores; None without a tagger.
        queried: (P, C) bool, whether the label may have boxes (Settings.gate and presence_threshold); None without a
            tagger.
        unread: Path and error of each image that could not be read; it is in no metric.
        resized: Paths of images of another size than annotated; they are in no metric.
        presence: (P, C) float32, the probability that the label is in the image; None where it is not known.
        digest: sha256 over all images' bytes, boxes, labels and masks, in order; it identifies the data.
        checked: For each image, the indices of the labels that were annotated in it; None if all were.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    record: RunRecord
    truth: tuple[GroundTruth, ...]
    predictions: tuple[Detections, ...] | None
    with_true_labels: tuple[Detections, ...] | None
    true_box_masks: tuple[Predictions, ...] | None
    scores: NDArray[np.float32] | None
    queried: NDArray[np.bool_] | None
    unread: tuple[tuple[str, str], ...]
    resized: tuple[str, ...]
    digest: str
    presence: NDArray[np.float32] | None = None
    checked: tuple[NDArray[np.int64] | None, ...] = ()

    @property
    def masked(self) -> bool:
        """Whether both the truth and the predictions have masks."""
        predictions = self.predictions or self.true_box_masks or ()
        return all(one.masks is not None for one in (*self.truth, *predictions))


def run_chain(pipe: Pipeline, data: AnnotatedSet, *, progress: Progress = no_progress) -> ChainRun:
    """Run the chain over a data set, and again with the true labels and with the true boxes.

    Args:
        pipe: A pipeline with a detector; without a tagger all labels are queried.
        data: The data set.
        progress: Wraps the images, for example in a progress bar.

    Raises:
        BadInput: There is no detector, no image can be measured, or no measurable image has an object.
        BadOutput: A model's output is not finite.
    """
    if pipe.detector is None:
        raise BadInput("this pipeline has no detector, and the chain needs one; load one with detector=SPEC")
    vocabulary = pipe.vocabulary(data.query())
    pipe = pipe.for_vocabulary(vocabulary)
    return _run(_Models(pipe, vocabulary, pipe.segmenter), data, pipe.record(vocabulary), progress)


def run_segmenter(segmenter: Segmenter[Any], data: AnnotatedSet, *, progress: Progress = no_progress) -> ChainRun:
    """Segment the true boxes of a data set; see run_chain."""
    record = RunRecord(openvocab.__version__, None, None, segmenter.record, (), "", "")
    return _run(_Models(None, None, segmenter), data, record, progress)


@dataclass(frozen=True, slots=True)
class _ImageRun:
    """One image of a ChainRun."""

    image: AnnotatedImage
    predictions: Detections | None = None
    with_true_labels: Detections | None = None
    true_box_masks: Predictions | None = None
    scores: NDArray[np.float32] | None = None
    queried: NDArray[np.bool_] | None = None
    presence: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class _Models:
    """A pipeline with a detector and its vocabulary, or a segmenter alone."""

    pipe: Pipeline | None
    vocabulary: Vocabulary | None
    segmenter: Segmenter[Any] | None

    def run(self, images: Sequence[tuple[AnnotatedImage, ImageArray]], labels: Sequence[str]) -> list[_ImageRun]:
        """Run the models over a batch of images; the tagger scores them together."""
        tagged: list[Tagged | None] = [None] * len(images)
        if self.pipe and self.vocabulary and self.pipe.tagger and images:
            tagged = [*score(self.pipe, [pixels for _, pixels in images], self.vocabulary)]
        every, seen = [pixels for _, pixels in images], self._seen([pixels for _, pixels in images], tagged)
        size = getattr(self.segmenter, "batch", 1)
        made = list[_ImageRun]()
        for at in range(0, len(images), size):
            some = slice(at, at + size)
            encoded = encode_for_masks(self.segmenter, every[some]) if self.segmenter else [None] * len(every[some])
            rows = zip(images[some], tagged[some], seen[some], encoded, strict=True)
            made += [self._run_image(*one, labels, row, boxes, code) for one, row, boxes, code in rows]
        return made

    def _seen(self, images: Sequence[ImageArray], tagged: Sequence[Tagged | None]) -> list[Candidates | None]:
        """Return the detector's boxes of each image."""
        if self.pipe is None or self.vocabulary is None:
            return [None] * len(images)
        choices = [tag(self.pipe, one.scores if one else None, self.vocabulary.labels) for one in tagged]
        return look_together(self.pipe, images, self.vocabulary, choices)

    def _run_image(
        self,
        one: AnnotatedImage,
        pixels: ImageArray,
        labels: Sequence[str],
        tagged: Tagged | None,
        seen: Candidates | None,
        encoded: Any,
    ) -> _ImageRun:
        masks = self._true_box_masks(one, pixels, encoded) if self.segmenter and one.masks is not None else None
        if self.pipe is None or self.vocabulary is None:
            return _ImageRun(one, true_box_masks=masks)
        choice = tag(self.pipe, tagged.scores if tagged else None, self.vocabulary.labels)
        evidence = tagged.evidence if tagged else {}
        found, presence = conclude(self.pipe, self.vocabulary, choice, evidence, seen, pixels.shape[:2])
        made = finish(self.pipe, pixels, self.vocabulary, presence, found, encoded).detections
        own = scored_detections(made, labels, one).encoded()
        values = presence.probabilities if len(presence) else None
        if tagged is None:
            return _ImageRun(one, own, true_box_masks=masks, presence=values)
        queried = present_rows(choice.wanted, presence, self.pipe.settings)
        present = np.unique(one.class_ids)
        oracle = own  # the same if the tags are the true labels and nothing was verified
        if self.pipe.settings.verify or not np.array_equal(np.sort(queried), present):
            oracle = scored_detections(self._detect(self.pipe, pixels, present, seen, encoded), labels, one).encoded()
        asked = np.isin(np.arange(len(labels)), queried)
        return _ImageRun(one, own, oracle, masks, tagged.scores, asked, values)

    def _detect(
        self, pipe: Pipeline, pixels: ImageArray, rows: NDArray[np.intp], seen: Candidates | None, encoded: Any
    ) -> Detections:
        """Return the detections of the labels of those rows; with masks if there is a segmenter.

        They are not verified: the true labels take the place of all that the tagger says. A late-fusion detector has
        scored all labels already.
        """
        if self.vocabulary is None:
            return Detections.none()
        labels = self.vocabulary.labels
        if seen is not None and isinstance(pipe.detector, LateFusionDetector):
            found = seen.detections(labels, rows, pipe.settings.changed(verify=0), pixels.shape[:2])
        else:
            found = detect(pipe, [pixels], self.vocabulary, [labels[row] for row in rows])[0]
        return segment(pipe, pixels, found, encoded)

    def _true_box_masks(self, one: AnnotatedImage, pixels: ImageArray, encoded: Any) -> Predictions:
        """Return one mask for each true box."""
        if not len(one.xyxy) or self.segmenter is None:
            return Predictions(one.xyxy, np.zeros(0, np.float32), one.class_ids, ())
        xyxy = one.xyxy.astype(np.float32)
        if self.pipe and self.pipe.settings.tiles:
            tiled, scores = segment_tiles(self.segmenter, pixels, xyxy, tiling_of(self.pipe, pixels), encoded)
            return Predictions(one.xyxy, scores, one.class_ids, tiled)
        masks, scores = self.segmenter.masks(encoded, xyxy)
        return Predictions(one.xyxy, scores, one.class_ids, EncodedMasks.encode(masks))


def _run(models: _Models, data: AnnotatedSet, record: RunRecord, progress: Progress) -> ChainRun:
    reader = AnnotatedReader(data, models.pipe.settings.batch_size if models.pipe else 1, masks=True)
    runs = list[_ImageRun]()
    for readable in reader.batches(progress):
        same_size = [(one, made.pixels) for one, made in readable if has_annotated_size(one, made)]
        runs += models.run(same_size, data.labels)
    truth = reader.measured([each.image for each in runs])
    scores, queried = _all([each.scores for each in runs]), _all([each.queried for each in runs])
    presence = _all([each.presence for each in runs])
    return ChainRun(
        tuple(each.image.path for each in runs),
        data.labels,
        record,
        truth,
        _all([each.predictions for each in runs]),
        _all([each.with_true_labels for each in runs]),
        _all([each.true_box_masks for each in runs]),
        None if scores is None else np.stack(scores),
        None if queried is None else np.stack(queried),
        tuple(reader.unread),
        tuple(reader.resized),
        reader.digest.hexdigest(),
        None if presence is None else np.stack(presence),
        tuple(each.image.checked_labels for each in runs),
    )


def _all(values: Sequence[T | None]) -> tuple[T, ...] | None:
    """Return all values, or None if one is missing."""
    present = tuple(each for each in values if each is not None)
    return present if len(present) == len(values) else None
