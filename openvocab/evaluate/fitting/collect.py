"""Run the models on labeled images, and return their answers as pairs to fit on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet
from openvocab.evaluate.data.labeled import LabeledImage, LabeledSet
from openvocab.evaluate.fitting.pairs import Pairs, box_pairs, tag_pairs
from openvocab.evaluate.metrics.detection import GroundTruth
from openvocab.evaluate.runs.detector import AnnotatedReader, has_annotated_size
from openvocab.evaluate.runs.images import Progress, decode_images, readable_batches
from openvocab.images.items import Item
from openvocab.pipeline.batching.groups import look_together
from openvocab.pipeline.chain import Stages, Tagged, conclude, score, tag
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.protocols import ImageArray, Vocabulary

__all__ = ["Answers", "box_answers", "collect_boxes", "collect_tags"]

_LOW = 0.05
"""Boxes are collected from this share of the box threshold on."""


@dataclass(slots=True)
class Answers:
    """What the tagger says of P images, and what is true.

    Attributes:
        labels: C labels.
        tagged: P answers, without features.
        truth: (P', C) blocks: whether the label is in the image.
        checked: (P', C) blocks: whether that is known.
        unread: Id and error of each image that could not be read.
    """

    labels: tuple[str, ...]
    tagged: list[Tagged] = field(default_factory=list)
    truth: list[NDArray[np.bool_]] = field(default_factory=list)
    checked: list[NDArray[np.bool_]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)

    def add(self, tagged: Sequence[Tagged], truth: NDArray[np.bool_], checked: NDArray[np.bool_] | None = None) -> None:
        """Add the answers for a batch of images and what is true."""
        self.tagged += [replace(each, features=np.zeros((0, 0), np.float32)) for each in tagged]
        self.truth.append(truth)
        self.checked.append(np.ones(truth.shape, np.bool_) if checked is None else checked)

    def pairs(self) -> Pairs:
        """Return the pairs of image and label."""
        scores = np.stack([each.scores for each in self.tagged])
        return tag_pairs(self.labels, scores, np.concatenate(self.truth), np.concatenate(self.checked))


def collect_tags(
    stages: Stages, data: LabeledSet | AnnotatedSet, vocabulary: Vocabulary, progress: Progress
) -> Answers:
    """Score every image with the tagger.

    Args:
        stages: Models with a tagger.
        data: Labeled images; a label that an image does not have is taken to be absent.
        vocabulary: The labels of the data, encoded.
        progress: Wraps the images.

    Raises:
        BadInput: no image can be read.
        BadOutput: a score is not finite.
    """
    made, every = Answers(data.labels), np.arange(len(data.labels))
    if isinstance(data, AnnotatedSet):
        for images, annotated in _annotated(data, stages.settings.batch_size, made.unread, progress):
            truth = np.array([np.isin(every, one.class_ids[~one.crowd]) for one in annotated])
            made.add(score(stages, images, vocabulary), truth, _checked(annotated, len(every)))
    else:
        for images, labeled in _labeled(data, stages.settings.batch_size, made.unread, progress):
            made.add(score(stages, images, vocabulary), np.array([np.isin(every, one.labels) for one in labeled]))
    if not made.tagged:
        raise BadInput(f"no image can be read{f': {made.unread[0][1]}' if made.unread else ''}; check the data")
    return made


def _labeled(
    data: LabeledSet, batch: int, unread: list[tuple[str, str]], progress: Progress
) -> Iterator[tuple[list[ImageArray], list[LabeledImage]]]:
    """Yield batches of decoded images with their labels."""
    waiting: list[LabeledImage] = []  # in the order of the items

    def items() -> Iterator[Item]:
        for one in data.images():
            waiting.append(replace(one, item=replace(one.item, data=None)))
            yield one.item

    decoded = ((waiting.pop(0), made) for _, made in decode_images(items(), batch))
    for readable in readable_batches(progress(decoded), batch, _id, unread):
        if readable:
            yield [made.pixels for _, made in readable], [one for one, _ in readable]


def _id(one: LabeledImage) -> str:
    return one.item.id


def _annotated(
    data: AnnotatedSet, batch: int, unread: list[tuple[str, str]], progress: Progress
) -> Iterator[tuple[list[ImageArray], list[AnnotatedImage]]]:
    """Yield batches of decoded images of the annotated size, with their annotations."""
    reader = AnnotatedReader(data, batch)
    for readable in reader.batches(progress):
        same = [(one, made) for one, made in readable if has_annotated_size(one, made)]
        if same:
            yield [made.pixels for _, made in same], [one for one, _ in same]
    unread += reader.unread
    unread += [(path, f"{path} has another size than annotated") for path in reader.resized]


def _checked(images: Sequence[AnnotatedImage], count: int) -> NDArray[np.bool_]:
    """Return (P, C) bool: the labels whose presence is known; of one that has only a crowd it is not."""
    made = np.ones((len(images), count), np.bool_)
    for row, one in zip(made, images, strict=True):
        if one.checked_labels is not None:
            row[:] = np.isin(np.arange(count), np.union1d(one.checked_labels, one.class_ids))
        row[np.setdiff1d(one.class_ids[one.crowd], one.class_ids[~one.crowd])] = False
    return made


def collect_boxes(
    stages: Stages, data: AnnotatedSet, vocabulary: Vocabulary, tagged: Sequence[Tagged] | None, progress: Progress
) -> tuple[Pairs, list[tuple[str, str]]]:
    """Detect what the chain would, but over a low box threshold.

    Args:
        stages: Models with a detector, whose settings decide the labels that it gets.
        data: Images with boxes.
        vocabulary: The labels of the data, encoded.
        tagged: The tagger's answers for the images that can be read; None without a tagger.
        progress: Wraps the images.

    Returns:
        The pairs, and id and error of each image that could not be read.

    Raises:
        BadInput: no image can be read.
        BadOutput: a score is not finite.
    """
    found, truth, unread = list[Detections](), list[GroundTruth](), list[tuple[str, str]]()
    answer = box_answers(stages, vocabulary)
    for images, annotated in _annotated(data, stages.settings.batch_size, unread, progress):
        said = [None] * len(images) if tagged is None else tagged[len(found) : len(found) + len(images)]
        for boxes, one in zip(answer(images, said), annotated, strict=True):
            known = slice(None) if one.checked_labels is None else np.isin(boxes.class_ids, one.checked_labels)
            found.append(boxes[known])
            truth.append(GroundTruth(one.height, one.width, one.xyxy, one.class_ids, one.crowd))
    if not found:
        raise BadInput(f"no image can be read{f': {unread[0][1]}' if unread else ''}; check the data")
    return box_pairs(data.labels, found, truth), unread


def box_answers(
    stages: Stages, vocabulary: Vocabulary
) -> Callable[[Sequence[ImageArray], Sequence[Tagged | None]], list[Detections]]:
    """Return a function that gives the boxes of each image over a low threshold, neither segmented nor verified."""
    settings = stages.settings.changed(verify=0)
    low = Stages(
        stages.tagger,
        stages.detector,
        None,
        replace(settings, box_threshold=settings.threshold("box_threshold") * _LOW),
    )

    def answer(images: Sequence[ImageArray], tagged: Sequence[Tagged | None]) -> list[Detections]:
        choices = [tag(low, None if one is None else one.scores, vocabulary.labels) for one in tagged]
        boxes, found = look_together(low, images, vocabulary, choices), list[Detections]()
        for pixels, one, choice, seen in zip(images, tagged, choices, boxes, strict=True):
            evidence = {} if one is None else one.evidence
            found.append(conclude(low, vocabulary, choice, evidence, seen, pixels.shape[:2])[0])
        return found

    return answer
