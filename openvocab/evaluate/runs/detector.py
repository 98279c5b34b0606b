"""A detector run over annotated images, and the reader of annotated images that every run shares."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet, require_objects
from openvocab.evaluate.metrics.detection import GroundTruth
from openvocab.evaluate.runs.images import Progress, decode_images, no_progress, readable_batches
from openvocab.images.items import Item
from openvocab.images.read import Decoded
from openvocab.pipeline.chain import detect
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.pipeline import Pipeline
from openvocab.pipeline.result import ModelRecord

__all__ = ["AnnotatedReader", "DetectorRun", "has_annotated_size", "run_detector", "scored_detections"]

_BOX_SETTINGS = ("box_threshold", "nms_iou", "duplicates", "duplicate_iou", "max_boxes", "tiles", "min_object")
"""Settings that boxes depend on."""


@dataclass(slots=True)
class AnnotatedReader:
    """Reads the images of a data set in batches and keeps a record of what was read.

    Attributes:
        data: The data set.
        batch: Images per batch.
        masks: Include the true masks in the ground truth and in the digest.
        unread: Path and error of each image that could not be read.
        resized: Paths of images of another size than annotated.
        digest: sha256 over all images' bytes and annotations, in order.
    """

    data: AnnotatedSet
    batch: int
    masks: bool = False
    unread: list[tuple[str, str]] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)

    def batches(self, progress: Progress) -> Iterator[list[tuple[AnnotatedImage, Decoded]]]:
        """Yield batches of the images that could be read."""
        items = (Item(one.path, one.path, listed=True) for one in self.data.images)
        decoded = decode_images(items, self.batch)
        images = ((one, made) for one, (_, made) in zip(self.data.images, decoded, strict=True))
        for readable in readable_batches(progress(images), self.batch, _path, self.unread):
            for one, made in readable:
                self.digest.update(f"{made.sha256} {self._annotation(one)}\n".encode())
                if not has_annotated_size(one, made):
                    self.resized.append(one.path)
            yield readable

    def measured(self, images: Sequence[AnnotatedImage]) -> tuple[GroundTruth, ...]:
        """Return the ground truth of the images that were measured.

        Raises:
            BadInput: There is no image, or none of them has an object.
        """
        if not images:
            raise self.nothing_measured()
        require_objects(replace(self.data, images=tuple(images)))
        return tuple(
            GroundTruth(
                one.height,
                one.width,
                one.xyxy,
                one.class_ids,
                one.crowd,
                one.masks if self.masks else None,
                one.areas,
            )
            for one in images
        )

    def nothing_measured(self) -> BadInput:
        """Return the error for data of which no image can be measured, with the first cause."""
        cause = "none has the annotated size" if self.resized else "none has labels that were annotated"
        cause = self.unread[0][1] if self.unread else cause if self.data.images else "it lists none"
        return BadInput(f"no image of {self.data.source!r} can be measured: {cause}")

    def _annotation(self, one: AnnotatedImage) -> list[object]:
        plain = [one.xyxy.tolist(), [self.data.labels[row] for row in one.class_ids], one.crowd.tolist()]
        return [*plain, [each["counts"] for each in one.masks or ()]] if self.masks else plain


def _path(one: AnnotatedImage) -> str:
    return one.path


def has_annotated_size(one: AnnotatedImage, made: Decoded) -> bool:
    """Return whether an image has the size that its annotation states."""
    return (made.height, made.width) == (one.height, one.width)


def scored_detections(detections: Detections, labels: Sequence[str], one: AnnotatedImage) -> Detections:
    """Return the detections that can be scored, with class_ids into labels.

    Detections of a label that was not annotated in the image are left out.
    """
    indexed = detections.indexed(labels)
    return indexed if one.checked_labels is None else indexed[np.isin(indexed.class_ids, one.checked_labels)]


@dataclass(frozen=True, eq=False, slots=True)
class DetectorRun:
    """A detector's boxes in P images, with the ground truth.

    Attributes:
        names: P paths.
        labels: C labels.
        truth: P annotations.
        predictions: P detections; class_ids are indices into labels.
        unread: Path and error of each image that could not be read; it is in no metric.
        resized: Paths of images of another size than annotated.
        digest: sha256 over all images' bytes, boxes and labels, in order; it identifies the data.
        model: The detector's record.
        template: The sentence that labels are put into.
        settings: The settings that boxes depend on.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    truth: tuple[GroundTruth, ...]
    predictions: tuple[Detections, ...]
    unread: tuple[tuple[str, str], ...]
    resized: tuple[str, ...]
    digest: str
    model: ModelRecord
    template: str
    settings: dict[str, Any]


def run_detector(pipe: Pipeline, data: AnnotatedSet, *, progress: Progress = no_progress) -> DetectorRun:
    """Detect all labels in all images with the pipeline's detector and settings, without its tagger and segmenter.

    Args:
        pipe: A pipeline with a detector.
        data: The data set.
        progress: Wraps the images, for example in a progress bar.

    Raises:
        BadInput: There is no detector, no image could be read, or no readable image has an object.
        BadOutput: The model's output is not finite.
    """
    alone = Pipeline(None, pipe.detector, None, pipe.settings)
    if alone.detector is None:
        raise BadInput("this pipeline has no detector; load one with detector=SPEC")
    vocabulary, reader = alone.vocabulary(data.query()), AnnotatedReader(data, pipe.settings.batch_size)
    images, predictions = list[AnnotatedImage](), list[Detections]()
    for readable in reader.batches(progress):
        pixels = [made.pixels for _, made in readable]
        answers = detect(alone, pixels, vocabulary) if readable else []
        images += [one for one, _ in readable]
        predictions += [
            replace(scored_detections(each, data.labels, one), masks=None, mask_scores=None)
            for (one, _), each in zip(readable, answers, strict=True)
        ]
    truth = reader.measured(images)
    return DetectorRun(
        tuple(one.path for one in images),
        data.labels,
        truth,
        tuple(predictions),
        tuple(reader.unread),
        tuple(reader.resized),
        reader.digest.hexdigest(),
        alone.detector.record,
        vocabulary.queries.template if vocabulary.queries else "",
        {name: getattr(pipe.settings, name) for name in _BOX_SETTINGS},
    )
