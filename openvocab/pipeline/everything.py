"""Everything in an image: masks of all objects, each with a label of the vocabulary or "unknown"."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.crops import object_crop
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.masks import EncodedMasks, mask_box
from openvocab.pipeline.phrases.rows import best_phrases, columns
from openvocab.pipeline.presence import coefficients, presence_of, tag_log_odds
from openvocab.pipeline.protocols import ImageArray, PromptSegmenter, ProposingDetector, Vocabulary
from openvocab.pipeline.result import Result, Tag
from openvocab.pipeline.stages import Stages, run_record
from openvocab.prompts.labels import check_threshold

__all__ = [
    "UNKNOWN",
    "EverythingChoices",
    "EverythingOptions",
    "everything",
    "label_objects",
    "named",
    "segment_everything",
]

Floats = NDArray[np.float32]

UNKNOWN = "unknown"
"""The label of an object that no label of the vocabulary fits."""
_VIEWS = ((0.1, False), (0.3, False), (0.3, True))
"""Views of an object that the tagger sees: the margin around its box in shares of the longer side, and whether the
ground takes the image's mean color. Chosen on composed scenes of seed 990001."""
_MIN_POINT_SCORE = 0.2
"""Score from which the mask of a point of the grid is an object."""
_BOX_IOU = 0.7
"""Proposed boxes that overlap more are one object."""


class EverythingChoices(TypedDict, total=False):
    """Keywords that change fields of EverythingOptions."""

    min_objectness: float | None
    unknown_threshold: float
    mask_iou: float
    points: int
    max_objects: int


@dataclass(frozen=True, slots=True)
class EverythingOptions:
    """What counts as an object, and when it has a label.

    Attributes:
        min_objectness: Proposals of the detector, or masks of the point grid, score this or more. None is what the
            detector has as its own; 0.2 for the point grid.
        unknown_threshold: An object whose best label scores less is "unknown".
        mask_iou: Of two masks that overlap more, the better is kept.
        points: Points along the longer side of the grid, for a detector that proposes no objects.
        max_objects: At most this many objects, the best.
    """

    min_objectness: float | None = None
    unknown_threshold: float = 0.5
    mask_iou: float = 0.7
    points: int = 16
    max_objects: int = 100

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            BadInput: a threshold outside 0 to 1, or a count that is not a whole number of at least 1.
        """
        for name in ("min_objectness", "unknown_threshold", "mask_iou"):
            if getattr(self, name) is not None:
                check_threshold(name, getattr(self, name))
        for name in ("points", "max_objects"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInput(f"{name} must be a whole number of at least 1, got {value!r}")

    def least(self, detector: Any) -> float:
        """Return min_objectness, or that of a detector, where none is given."""
        if self.min_objectness is not None:
            return self.min_objectness
        return detector.min_objectness if isinstance(detector, ProposingDetector) else _MIN_POINT_SCORE


def everything(
    stages: Stages, name: str, image: ImageArray, vocabulary: Vocabulary, options: EverythingOptions
) -> Result:
    """Return all objects of an image with their labels.

    The tags are the labels that were given, each with its best score.

    Args:
        stages: The models.
        name: The source of the result.
        image: (H, W, 3) uint8 RGB.
        vocabulary: The labels.
        options: What counts as an object.

    Raises:
        BadInput: a stage is missing, or "unknown" is one of the labels.
        BadOutput: a model's answer is not finite.
    """
    if UNKNOWN in vocabulary.labels:
        raise BadInput(f"{UNKNOWN!r} is the label of objects outside the vocabulary; leave it out of the labels")
    objects = segment_everything(stages, image, options)
    found = named(objects, label_objects(stages, image, objects, vocabulary), vocabulary, options)
    best = dict[str, float]()
    for label, score in zip(found.labels, found.data["label_score"].tolist(), strict=True):
        best[label] = max(score, best.get(label, 0.0))
    best.pop(UNKNOWN, None)
    tags = tuple(Tag(label, best[label]) for label in sorted(best, key=lambda label: -best[label]))
    record = run_record(stages, vocabulary)
    chosen = asdict(replace(options, min_objectness=options.least(stages.detector)))
    settings = {f"everything_{name}": value for name, value in chosen.items()}
    record = replace(record, settings={**record.settings, **settings})
    height, width = image.shape[:2]
    return Result(name, width, height, tags, found, record, image, labels=(*vocabulary.labels, UNKNOWN))


def segment_everything(stages: Stages, image: ImageArray, options: EverythingOptions) -> Detections:
    """Return the masks of all objects, best first, each labeled "unknown".

    A detector that tells objects from the ground proposes boxes; else a grid of points prompts the segmenter.

    Raises:
        BadInput: there is no segmenter, or neither stage can propose objects.
        BadOutput: a model's answer is not finite.
    """
    detector: Any = stages.detector
    segmenter: Any = stages.segmenter
    if segmenter is None:
        raise BadInput("everything needs a segmenter; load one with segmenter=SPEC")
    if isinstance(detector, ProposingDetector):
        found = _from_boxes(stages, detector, image, options)
    elif isinstance(segmenter, PromptSegmenter):
        found = _from_points(segmenter, image, options)
    else:
        spec = segmenter.record.spec
        raise BadInput(f"{spec} takes boxes only, and the detector proposes none; load an OWLv2 detector or a SAM")
    found = found.take(np.argsort(-found.scores, kind="stable"))
    return found.take(_distinct(found, options.mask_iou)[: options.max_objects])


def label_objects(stages: Stages, image: ImageArray, objects: Detections, vocabulary: Vocabulary) -> Floats:
    """Return the (N, C) scores of the labels, and of a LabelSet's negatives after them, for N objects with masks.

    The tagger sees each object with little and more of its surroundings, and alone; its features are averaged. Scores
    of a softmax tagger are compared with the fixed background labels, so no score depends on the other labels.

    Raises:
        BadInput: there is no tagger, or its scores depend on the vocabulary and it has no background labels.
        BadOutput: the tagger's features are not finite.
    """
    tagger, texts = stages.tagger, vocabulary.texts
    if tagger is None or texts is None or objects.masks is None:
        raise BadInput("labels of objects need a tagger and masks; load one with tagger=SPEC")
    size, rows = max(1, stages.settings.batch_size // len(_VIEWS)), list[Floats]()
    for start in range(0, len(objects), size):
        block = range(start, min(start + size, len(objects)))
        views = [
            object_crop(image, objects.xyxy[at], margin, objects.masks[at] if alone else None)
            for at in block
            for margin, alone in _VIEWS
        ]
        features = tagger.encode_images(views)
        rows.append(features.reshape(len(block), len(_VIEWS), -1).mean(axis=1))
    if not rows:
        return np.zeros((0, len(columns(vocabulary))), np.float32)
    features = np.concatenate(rows)
    if tagger.independent:
        return best_phrases(vocabulary, tagger.scores(features, texts))
    odds = tag_log_odds(tagger, features, tagger.logits(features, texts), vocabulary.background)
    model = coefficients(tagger, stages.detector)
    found = [presence_of(model, {"image": row}) for row in best_phrases(vocabulary, odds)]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        raise BadInput(f"{tagger.record.spec} has no score that stands alone; load a tagger of the CLIP family")
    return np.stack(known)


def named(objects: Detections, scores: Floats, vocabulary: Vocabulary, options: EverythingOptions) -> Detections:
    """Return the objects with their labels; data["label_score"] is the score of the best label, also of "unknown".

    An object that looks most like a negative of a LabelSet is "unknown".
    """
    best = scores.argmax(axis=1) if len(scores) else np.zeros(0, np.int64)
    top = scores[np.arange(len(best)), best]
    known = (top >= options.unknown_threshold) & (best < len(vocabulary.labels))
    ids = np.where(known, best, len(vocabulary.labels)).astype(np.int64)
    names = (*vocabulary.labels, UNKNOWN)
    return Detections(
        objects.xyxy,
        objects.scores,
        tuple(names[at] for at in ids),
        objects.detector_scores,
        objects.mask_scores,
        objects.masks,
        class_ids=ids,
        data={"label_score": top},
    )


def _from_boxes(
    stages: Stages, detector: ProposingDetector, image: ImageArray, options: EverythingOptions
) -> Detections:
    import torch
    from torchvision.ops import nms

    xyxy, objectness = detector.propose(image)
    rows = np.flatnonzero(objectness >= options.least(detector))
    kept = nms(torch.from_numpy(xyxy[rows]), torch.from_numpy(objectness[rows]), _BOX_IOU).numpy()
    rows = rows[kept][: options.max_objects]
    segmenter: Any = stages.segmenter
    masks, mask_scores = segmenter.masks(segmenter.encode(image), xyxy[rows])
    return _objects(masks, objectness[rows], mask_scores, image)


def _from_points(segmenter: PromptSegmenter[Any], image: ImageArray, options: EverythingOptions) -> Detections:
    """Return the best mask of each point that scores enough."""
    height, width = image.shape[:2]
    step, encoded = max(height, width) / options.points, segmenter.encode(image)
    masks, scores = list[NDArray[np.bool_]](), list[float]()
    for y in np.arange(step / 2, height, step):
        for x in np.arange(step / 2, width, step):
            found, quality = segmenter.prompt(encoded, np.array([[x, y]], np.float32), np.ones(1, np.int64))
            best = int(quality.argmax())
            if quality[best] >= options.least(None):
                masks.append(found[best])
                scores.append(float(quality[best]))
    stack = np.stack(masks) if masks else np.zeros((0, height, width), np.bool_)
    return _objects(stack, np.ones(len(masks), np.float32), np.array(scores, np.float32), image)


def _objects(masks: NDArray[np.bool_], objectness: Floats, mask_scores: Floats, image: ImageArray) -> Detections:
    """Return the masks that are not empty, with the boxes around them."""
    boxes = [mask_box(mask) for mask in masks]
    rows = [at for at, box in enumerate(boxes) if box is not None]
    if not rows:
        return Detections.none(masks_of=image.shape[:2])
    xyxy = np.array([boxes[at] for at in rows], np.float32)
    parts = objectness[rows], mask_scores[rows]
    return Detections(xyxy, parts[0] * parts[1], (UNKNOWN,) * len(rows), *parts, masks[rows])


def _distinct(found: Detections, mask_iou: float) -> NDArray[np.intp]:
    """Return the indices of masks that overlap no better one by more than mask_iou; the best is first."""
    from pycocotools import mask as coco_mask

    encoded = found.encoded().masks
    if not isinstance(encoded, EncodedMasks) or not len(encoded):
        return np.zeros(0, np.intp)
    codes = [encoded.rle(row) for row in range(len(encoded))]
    overlaps, kept = coco_mask.iou(codes, codes, [0] * len(codes)), list[int]()
    for row in range(len(codes)):
        if not (overlaps[row, kept] > mask_iou).any():
            kept.append(row)
    return np.array(kept, np.intp)
