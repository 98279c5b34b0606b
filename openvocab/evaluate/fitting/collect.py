"""Run the models on labeled images, and return their answers as pairs to fit on."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet
from openvocab.evaluate.data.labeled import LabeledImage, LabeledSet
from openvocab.evaluate.fitting.pairs import ASKED, Pairs, box_pairs, tag_pairs
from openvocab.evaluate.fitting.presence import EvidencePairs
from openvocab.evaluate.metrics.detection import GroundTruth
from openvocab.evaluate.runs.detector import AnnotatedReader, has_annotated_size
from openvocab.evaluate.runs.images import Progress, decode_images, readable_batches
from openvocab.images.items import Item
from openvocab.pipeline.batching.groups import look_together
from openvocab.pipeline.candidates import Candidates
from openvocab.pipeline.chain import Tagged, conclude, score, tag
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.gate import Choice
from openvocab.pipeline.phrases.rows import columns
from openvocab.pipeline.presence import Evidence, box_evidence
from openvocab.pipeline.protocols import ImageArray, Vocabulary
from openvocab.pipeline.stages import Stages
from openvocab.pipeline.verification.settle import finish

__all__ = [
    *("Answers", "BoxAnswers", "Found", "box_answers", "collect_boxes", "collect_tags"),
    *("evidence_pairs", "kept_looks", "known_looks"),
]

_LOW, _LOW_VERIFIED = 0.05, 0.25
"""Boxes are collected from this share of the box threshold on; each that is verified costs a mask and a crop."""
_Looks = Callable[[Stages, Sequence[ImageArray], Vocabulary, Sequence[Choice]], list[Candidates | None]]


class Found(NamedTuple):
    """The boxes of one image over a low threshold.

    Attributes:
        detections: The boxes, as verification leaves them if the settings ask for it.
        evidence: Of presence, with those of a LabelSet's negatives after the labels'.
    """

    detections: Detections
    evidence: Evidence


class BoxAnswers(NamedTuple):
    """What the chain answers about P images.

    Attributes:
        pairs: The boxes.
        presence: The pairs of image and label whose truth is known.
        unread: Id and error of each image that could not be read.
    """

    pairs: Pairs
    presence: EvidencePairs
    unread: list[tuple[str, str]]


def kept_looks(
    file: IO[bytes], stages: Stages, images: Sequence[ImageArray], vocabulary: Vocabulary, choices: Sequence[Choice]
) -> list[Candidates | None]:
    """Return what look_together returns, and append it to a file for known_looks."""
    seen = look_together(stages, images, vocabulary, choices)
    pickle.dump(seen, file)
    return seen


def known_looks(file: IO[bytes], stages: Stages, *_: object) -> list[Candidates | None]:
    """Return the next batch of a file of kept_looks; a detector's own masks only where there is no segmenter.

    It is the answer for these images where they want the same labels, and no box of a lower score.
    """
    seen: list[Candidates | None] = pickle.load(file)
    if stages.segmenter is None:
        return seen
    return [None if each is None else replace(each, masks=None, mask_scores=None) for each in seen]


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

    def presence(self) -> EvidencePairs:
        """Return the pairs of image and label with the tagger's evidence."""
        evidence = [each.evidence for each in self.tagged]
        return evidence_pairs(evidence, np.concatenate(self.truth), np.concatenate(self.checked))


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
            made.add(score(stages, images, vocabulary), *_truth(annotated, len(every)))
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


def _truth(images: Sequence[AnnotatedImage], count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (P, C) bool twice: which labels are present, and of which that is known; of a mere crowd it is not."""
    present = np.array([np.isin(np.arange(count), one.class_ids[~one.crowd]) for one in images])
    made = np.ones((len(images), count), np.bool_)
    for row, one in zip(made, images, strict=True):
        if one.checked_labels is not None:
            row[:] = np.isin(np.arange(count), np.union1d(one.checked_labels, one.class_ids))
        row[np.setdiff1d(one.class_ids[one.crowd], one.class_ids[~one.crowd])] = False
    return present, made


def evidence_pairs(evidence: Sequence[Evidence], truth: NDArray[np.bool_], checked: NDArray[np.bool_]) -> EvidencePairs:
    """Return the pairs of image and label whose truth is known.

    Args:
        evidence: Of P images, the same of each.
        truth: (P, C) whether the image has the label.
        checked: (P, C) whether that is known.
    """
    count = truth.shape[1]
    known = {name: np.stack([each[name][:count] for each in evidence])[checked] for name in evidence[0]}
    image, label = np.nonzero(checked)
    return EvidencePairs(known, truth[checked], image, label)


def collect_boxes(
    stages: Stages,
    data: AnnotatedSet,
    vocabulary: Vocabulary,
    tagged: Sequence[Tagged] | None,
    progress: Progress,
    looks: _Looks = look_together,
) -> BoxAnswers:
    """Detect what the chain would, but over a low box threshold; if the settings ask for it, verify all boxes.

    Args:
        stages: Models with a detector, whose settings decide the labels that it gets.
        data: Images with boxes.
        vocabulary: The labels of the data, encoded.
        tagged: The tagger's answers for the images that can be read; None without a tagger.
        progress: Wraps the images.
        looks: Gives what the detector sees.

    Raises:
        BadInput: no image can be read.
        BadOutput: a score is not finite.
    """
    found, truth, unread = list[Detections](), list[GroundTruth](), list[tuple[str, str]]()
    evidence, known = list[Evidence](), list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]()
    answer = box_answers(stages, vocabulary, looks)
    for images, annotated in _annotated(data, stages.settings.batch_size, unread, progress):
        said = [None] * len(images) if tagged is None else tagged[len(found) : len(found) + len(images)]
        known.append(_truth(annotated, len(data.labels)))
        for (boxes, odds), one in zip(answer(images, said), annotated, strict=True):
            rows = slice(None) if one.checked_labels is None else np.isin(boxes.class_ids, one.checked_labels)
            found.append(boxes[rows])
            evidence.append(odds)
            truth.append(GroundTruth(one.height, one.width, one.xyxy, one.class_ids, one.crowd))
    if not found:
        raise BadInput(f"no image can be read{f': {unread[0][1]}' if unread else ''}; check the data")
    presence = evidence_pairs(evidence, *map(np.concatenate, zip(*known, strict=True)))
    return BoxAnswers(box_pairs(data.labels, found, truth), presence, unread)


def box_answers(
    stages: Stages, vocabulary: Vocabulary, looks: _Looks = look_together
) -> Callable[[Sequence[ImageArray], Sequence[Tagged | None]], list[Found]]:
    """Return a function that gives the boxes of each image over a low threshold, without masks.

    If the settings verify boxes, all of these are segmented and verified, since a threshold decides how many are.
    """
    settings, verify = stages.settings, stages.settings.verify > 0
    least = settings.threshold("box_threshold") * (_LOW_VERIFIED if verify else _LOW)
    changed = replace(settings, verify=sys.maxsize if verify else 0, box_threshold=least)
    low = Stages(stages.tagger, stages.detector, stages.segmenter if verify else None, changed)
    unseen = np.full(len(columns(vocabulary)), np.nan, np.float32)

    def answer(images: Sequence[ImageArray], tagged: Sequence[Tagged | None]) -> list[Found]:
        choices = [tag(low, None if one is None else one.scores, vocabulary.labels) for one in tagged]
        seen, found = looks(low, images, vocabulary, choices), list[Found]()
        for pixels, one, choice, boxes in zip(images, tagged, choices, seen, strict=True):
            evidence = {} if one is None else one.evidence
            made, presence = conclude(low, vocabulary, choice, evidence, boxes, pixels.shape[:2])
            if verify:
                made = replace(made, data={**made.data, ASKED: tuple(made.class_ids.tolist())})
                made = finish(low, pixels, vocabulary, presence, made).detections
            best = unseen if boxes is None else box_evidence(low.detector, boxes.best)
            found.append(Found(replace(made, masks=None, mask_scores=None), {**evidence, "box": best}))
        return found

    return answer
