"""Prompts in the pipeline: exemplars become queries of the detector, marks go to the segmenter, answers to memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.exemplars.like import LikeDetector, unsegmented
from openvocab.pipeline.masks import mask_box
from openvocab.pipeline.prompting.strokes import stroke_points
from openvocab.pipeline.protocols import (
    ExemplarDetector,
    ExemplarSegmenter,
    ImageArray,
    MaskDetector,
    PromptSegmenter,
    Queries,
    QueryRow,
    Vocabulary,
)
from openvocab.pipeline.result import Result
from openvocab.pipeline.stages import Stages, run_record
from openvocab.prompts.exemplars import Exemplar, Mark
from openvocab.prompts.prompt import Prompt
from openvocab.prompts.templates import prompt_set

__all__ = [
    "answer_marked",
    "encode_queries",
    "exemplars_of",
    "mark_mask",
    "marked_row",
    "refuse_marked",
    "segment_marked",
]

SAME_OBJECT = 0.5
"""IoU from which on the mask of a mark and that of a detection are one object."""


# --- the detector's queries


def encode_queries(stages: Stages, labels: Prompt | tuple[str, ...], template: str | None) -> Queries | None:
    """Return the queries of labels or of a prompt's classes; None without a detector.

    Exemplars go to an exemplar segmenter where there is one, else to the detector.

    Raises:
        BadInput: the prompt is empty or has marks, or its exemplars or negatives cannot be used by these models.
        BadOutput: the model's answer is not finite.
    """
    if isinstance(labels, Prompt):
        refuse_marked(labels)
        if not labels.classes:
            raise BadInput("the prompt asks for nothing; give it a label or an exemplar")
        if labels.beyond_words:
            return _encode_rows(stages, _exemplar_detector(stages), labels, template)
        labels = labels.classes
    if _exemplar_segmenter(stages):
        _refuse_unsegmented(stages, labels)
    return None if stages.detector is None else stages.detector.encode_labels(labels, template)


def _exemplar_detector(stages: Stages) -> ExemplarDetector:
    """Return what finds exemplars.

    Raises:
        BadInput: nothing does.
    """
    detector, like = stages.detector, _exemplar_segmenter(stages)
    if like is not None:
        return LikeDetector(detector, like)
    if isinstance(detector, ExemplarDetector):
        return detector
    cause = "this pipeline has no detector" if detector is None else f"{detector.record.spec} takes words only"
    raise BadInput(
        f"the prompt holds exemplars or negatives, and {cause}; load a detector of the families owlv2 or owlvit, "
        "or the preset pocket"
    )


def _exemplar_segmenter(stages: Stages) -> ExemplarSegmenter | None:
    segmenter: Any = stages.segmenter
    return segmenter if isinstance(segmenter, ExemplarSegmenter) else None


def _refuse_unsegmented(stages: Stages, words: Sequence[str]) -> None:
    """Refuse words whose boxes nothing would segment, or that nothing reads.

    Raises:
        BadInput: the segmenter is for exemplars alone, or there is no detector either.
    """
    spec = "" if stages.segmenter is None else stages.segmenter.record.spec
    if not words or isinstance(stages.segmenter, PromptSegmenter):
        return
    if stages.detector is None and stages.tagger is None:
        raise BadInput(f"nothing reads {words[0]!r}, since {spec} takes exemplars; load a detector, or give exemplars")
    if stages.detector is not None and not isinstance(stages.detector, MaskDetector):
        raise BadInput(f"nothing segments the boxes of {words[0]!r}; {unsegmented(spec)}")


def _encode_rows(stages: Stages, detector: ExemplarDetector, prompt: Prompt, template: str | None) -> Queries:
    with_masks = isinstance(detector, LikeDetector)
    if with_masks:
        _refuse_unsegmented(stages, prompt.labels)

    def row(label: str, exemplars: Sequence[Exemplar], *, text: bool) -> QueryRow:
        shown = tuple(_example(stages, each, with_masks=with_masks) for each in exemplars)
        return QueryRow(label, text, shown)

    rows = [row(label, prompt.examples_of(label), text=label in prompt.labels) for label in prompt.classes]
    negatives = [row(label, (), text=True) for label in prompt.negative_labels]
    negatives += [row(each.label, [each], text=False) for each in prompt.negative_exemplars]
    return detector.encode_prompt(rows, negatives, template)


def _example(stages: Stages, exemplar: Exemplar, *, with_masks: bool) -> Exemplar:
    """Return an exemplar with the object's box, or with its mask; the segmenter makes it from what is given.

    Raises:
        BadInput: the segmenter takes no points, or finds nothing there.
    """
    if exemplar.mask is not None or (exemplar.box is not None and not with_masks):
        return exemplar
    what = "exemplars without a mask" if with_masks else "exemplars with points"
    segmenter = _point_segmenter(stages, what)
    points = np.array(exemplar.points, np.float32)
    given: dict[str, Any] = {"points": points, "point_labels": np.ones(len(points), np.int64)} if len(points) else {}
    box = None if exemplar.box is None else np.array(exemplar.box, np.float32)
    masks, scores = segmenter.prompt(segmenter.encode(exemplar.image), **given, box=box)
    mask = masks[int(scores.argmax())]
    around = mask_box(mask)
    if around is None:
        raise BadInput(f"the segmenter finds nothing at the place of exemplar {exemplar.label!r}; give a box or a mask")
    if with_masks:
        return replace(exemplar, box=None, points=(), mask=mask)
    return replace(exemplar, box=around, points=())


def _point_segmenter(stages: Stages, what: str) -> PromptSegmenter[Any]:
    """Return the segmenter.

    Raises:
        BadInput: there is none, or it takes no points.
    """
    segmenter = stages.segmenter
    if not isinstance(segmenter, PromptSegmenter):
        takes = "exemplars" if _exemplar_segmenter(stages) else "boxes only"
        cause = "there is none" if segmenter is None else f"{segmenter.record.spec} takes {takes}"
        also = ", or look for all that is like the object: Exemplar.cut" if what == "marks" else ""
        raise BadInput(f"{what} need a segmenter that takes points, and {cause}; load one of the SAM family{also}")
    return segmenter


# --- marks


def refuse_marked(labels: object) -> None:
    """Refuse marks where the image that they are on is not at hand.

    Raises:
        BadInput: the prompt has marks.
    """
    if isinstance(labels, Prompt) and labels.marks:
        raise BadInput(
            "the prompt has marks, which belong to one image; call the pipeline with that image, or make exemplars of "
            "them with Exemplar.cut"
        )


def answer_marked(
    stages: Stages, prompt: Prompt, image: ImageArray, name: str, answer: Callable[[Prompt], Result]
) -> Result:
    """Answer a prompt with marks: the chain for its labels, then the segmenter for its marks.

    Args:
        stages: The models.
        prompt: The prompt.
        image: (H, W, 3) uint8 RGB.
        name: Source of the result.
        answer: Answers a prompt without marks.

    Raises:
        BadInput: as segment_marked.
        BadOutput: a model's answer is not finite.
    """
    if prompt.classes:
        result = answer(replace(prompt, marks=()))
    else:
        nothing = Vocabulary((), prompt_set(), None, None)
        record = replace(run_record(stages, nothing), tagger=None, detector=None)
        height, width = image.shape[:2]
        result = Result(name, width, height, (), Detections.none((height, width)), record, image)
    found = segment_marked(stages, image, result.detections, prompt.marks)
    return replace(result, source=name, detections=found, run=replace(result.run, prompt=prompt.digest), notes=())


def segment_marked(stages: Stages, image: ImageArray, found: Detections, marks: Sequence[Mark]) -> Detections:
    """Return the detections with each mark's object: it replaces the detection that it refines, or is added.

    A mark refines the detection whose mask overlaps its own by an IoU of SAME_OBJECT or more, or, without a label, the
    one that most of it lies on.

    Args:
        stages: The segmenter takes points, unless each mark is a mask.
        image: (H, W, 3) uint8 RGB.
        found: Detections with masks.
        marks: The marks, in pixels of the image.

    Raises:
        BadInput: a mark lies outside the image, has no label and lies on no detection, or has a mask of another size;
            or another segmenter is needed.
        BadOutput: the model's answer is not finite.
    """
    encoded: Any = None
    if len(found) and found.masks is None:
        raise BadInput("marks need masks, and these detections have none; load a segmenter of the SAM family")
    for mark in marks:
        if mark.mask is None and encoded is None:
            encoded = _point_segmenter(stages, "marks").encode(image)
        mask, score = mark_mask(stages, image, mark, encoded)
        row = marked_row(found, mask, mark)
        label = mark.label or ("" if row is None else found.labels[row])
        found = (found if row is None else found.without(row)).with_mask(mask, label, score)
    return found.take(np.argsort(-found.scores, kind="stable"))


def mark_mask(stages: Stages, image: ImageArray, mark: Mark, encoded: Any) -> tuple[NDArray[np.bool_], float]:
    """Return the (H, W) mask of the object that a mark marks, and its score.

    Args:
        stages: The segmenter takes points, unless the mark is a mask.
        image: (H, W, 3) uint8 RGB.
        mark: The mark, in pixels of the image.
        encoded: The segmenter's encoding of the image.

    Raises:
        BadInput: the mark lies outside the image or has a mask of another size, or another segmenter is needed.
        BadOutput: the model's answer is not finite.
    """
    if mark.mask is None:
        _refuse_outside(mark, image)
        return _segmented(_point_segmenter(stages, "marks"), encoded, mark, max(image.shape[:2]))
    if mark.mask.shape != image.shape[:2]:
        raise BadInput(f"the mask of a mark must have the image's size, {image.shape[:2]}, got {mark.mask.shape}")
    return mark.mask, 1.0


def _refuse_outside(mark: Mark, image: ImageArray) -> None:
    """Check that a mark lies on the image.

    Raises:
        BadInput: one of its points lies outside.
    """
    height, width = image.shape[:2]
    corners = [] if mark.box is None else [mark.box[:2], mark.box[2:]]
    for x, y in (*mark.points, *mark.outside, *corners, *(each for line in mark.scribbles for each in line)):
        if not (0 <= x <= width and 0 <= y <= height):
            raise BadInput(f"the point ({x:g}, {y:g}) of a mark lies outside the image of {width} x {height} pixels")


def _segmented(segmenter: PromptSegmenter[Any], encoded: Any, mark: Mark, side: int) -> tuple[NDArray[np.bool_], float]:
    """Return the best of the segmenter's masks for a mark, and its score; side is that of the image."""
    strokes = [stroke_points(np.array(each), side) for each in mark.scribbles]
    inside = np.concatenate([np.array(mark.points).reshape(-1, 2), *strokes])
    points = np.concatenate([inside, np.array(mark.outside).reshape(-1, 2)]).astype(np.float32)
    kinds = (np.arange(len(points)) < len(inside)).astype(np.int64)
    box = None if mark.box is None else np.array(mark.box, np.float32)
    given: dict[str, Any] = {"points": points, "point_labels": kinds} if len(points) else {}
    masks, scores = segmenter.prompt(encoded, **given, box=box)
    best = int(scores.argmax())
    return masks[best], float(np.clip(scores[best], 0, 1))


def marked_row(found: Detections, mask: NDArray[np.bool_], mark: Mark) -> int | None:
    """Return the detection that a mark with this (H, W) mask refines, or None.

    Raises:
        BadInput: the mark has no label and lies on no detection.
    """
    row = _refined(found, mask, mark) if len(found) else None
    if row is None and not mark.label:
        raise BadInput("a mark without a label lies on no detection; give it a label")
    return row


def _refined(found: Detections, mask: NDArray[np.bool_], mark: Mark) -> int | None:
    masks = np.asarray(found.masks)
    shared, either = (masks & mask).sum((1, 2)), (masks | mask).sum((1, 2))
    ious = shared / np.maximum(either, 1)
    best = int(ious.argmax())
    if ious[best] >= SAME_OBJECT:
        return best
    on = shared / max(int(mask.sum()), 1)
    return None if mark.label or on.max() < SAME_OBJECT else int(on.argmax())


# --- memory


def exemplars_of(result: Result, rows: Sequence[int] | None = None) -> tuple[Exemplar, ...]:
    """Return detections of a result as exemplars, for Prompt.remembering or as exemplars of another prompt.

    Args:
        result: An answer, with the image.
        rows: Which detections; all where not given.

    Raises:
        BadInput: there is no such detection.
    """
    count = len(result.detections)
    for row in rows or ():
        if not 0 <= row < count:
            raise BadInput(f"there is no detection {row}; there are {count}, counted from 0")
    chosen = result.detections.take(range(count) if rows is None else rows)
    return tuple(Exemplar.cut(result.image, each.label, each.xyxy) for each in chosen)
