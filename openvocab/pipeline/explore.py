"""One image answered stage by stage, with the raw scores kept: thresholds move without a model call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, BadOutput
from openvocab.images.read import read_image
from openvocab.pipeline.candidates import RawBoxes, Room, raw_boxes, raw_masks
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.gate import Choice, choose
from openvocab.pipeline.protocols import ImageArray, PlaceDetector, PromptSegmenter, Vocabulary, bytes_held
from openvocab.pipeline.result import ModelRecord, Result, RunRecord
from openvocab.pipeline.settings import Settings
from openvocab.pipeline.views import views

if TYPE_CHECKING:
    from openvocab.pipeline.chain import Pipeline

__all__ = ["Encoded", "Explored", "Room", "Stage", "encode", "explore", "prompt"]

Floats = NDArray[np.float32]
Stage = Literal["tags", "boxes", "masks"]


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """One image, encoded once for every stage; it does not depend on labels. Pipeline.encode makes it.

    image    (H, W, 3) uint8 RGB.
    views      (V, D) float32: the tagger's rows of the image and its windows; None where it did not look yet.
    places     the detector's encoding of the image; None where it did not look yet, or where the detector mixes
               words and image early and has none.
    segmenter  the segmenter's encoding; None where it did not look yet.
    models     the records of tagger, detector and segmenter that it is for; None for a stage that is left out.
    """

    image: ImageArray
    views: Floats | None = None
    places: Any | None = None
    segmenter: Any | None = None
    models: tuple[ModelRecord | None, ...] = (None, None, None)

    @property
    def nbytes(self) -> int:
        """How many bytes of arrays and tensors it keeps alive, the image's included."""
        return bytes_held((self.image, self.views, self.places, self.segmenter))


@dataclass(frozen=True, eq=False, slots=True)
class Explored:
    """Raw answers of one image for one vocabulary: all that thresholds act on. It holds no model and calls none.

    Candidates are the boxes whose best label scores the floor or more, at most `most` of them, best first.

    For a detector whose boxes do not depend on the words (OWL-ViT, OWLv2, the embedded models) each candidate has a
    score for every label, and result(**changes) is what pipe(image, labels, **changes) gives, for any change of tag
    threshold, max_tags, NMS, duplicates, max_boxes and mask threshold, and for a box threshold of `floor` or more.
    For a detector that mixes words and image early (Grounding DINO, OmDet-Turbo, DETR, SAM 3) all labels are asked
    for together, once; a box has scores for the labels that it was found under, and result leaves out boxes of
    labels that settings.gate shuts out. The chain, which does not ask for those, may then find other boxes.

    encoded      the image and its encodings; give it to Pipeline.explore for other labels.
    vocabulary   the labels, C of them.
    record       the models, templates and settings that made it.
    settings     what result goes by where nothing is changed.
    stage        the last stage that is done: tags, boxes, masks.
    seconds      stage -> seconds that it took, encoding of the image included; the words are encoded before.
    independent  whether each tag's score stands alone (sigmoid); else they sum to 1 (softmax).
    floor        box thresholds of this or more are answered in full: the floor that was asked for, or, where more than
                 `most` boxes were over it, the score of the best one that was left out.
    tag_scores   (C,) float32; None where there is no tagger.
    xyxy         (N, 4) float32 boxes of the candidates in pixels, not ranked; None before the detector ran.
    box_scores   (N, C) float32, each candidate's score for every label, 0 below the floor that was asked for.
    masks        N masks as COCO run-length encoding, {"size": [H, W], "counts": bytes}; None before the segmenter ran.
    mask_scores  (N,) float32, the segmenter's own estimates of the masks' IoU.
    """

    encoded: Encoded
    vocabulary: Vocabulary
    record: RunRecord
    settings: Settings
    stage: Stage
    seconds: Mapping[str, float]
    independent: bool = True
    floor: float = 0.0
    tag_scores: Floats | None = None
    xyxy: Floats | None = None
    box_scores: Floats | None = None
    masks: tuple[dict[str, Any], ...] | None = None
    mask_scores: Floats | None = None

    @property
    def nbytes(self) -> int:
        """How many bytes of arrays, tensors and masks it keeps alive, those of encoded included, without the words."""
        own = (self.tag_scores, self.xyxy, self.box_scores, self.mask_scores)
        return self.encoded.nbytes + bytes_held(own) + sum(len(mask["counts"]) for mask in self.masks or ())

    def result(self, source: str = "array", **changes: Any) -> Result:
        """Return what these scores mean under the settings; no model is called.

        Args:
            source: what the result calls the image.
            changes: settings to change, e.g. box_threshold=0.4.

        Raises:
            BadInput: a setting that does not fit, or another number of windows, which the tagger would have to see.
        """
        settings = self.settings.changed(**changes)
        if settings.windows != self.settings.windows and self.tag_scores is not None:
            raise BadInput(f"the tagger saw windows={self.settings.windows}; explore again with the other number")
        height, width = self.encoded.image.shape[:2]
        choice, labels = self._choice(settings), self.vocabulary.labels
        record, detections = replace(self.record, settings=settings.given()), self._detections(settings, choice.wanted)
        known: dict[str, Any] = {"notes": choice.notes_of(len(detections)), "labels": labels}
        return Result(source, width, height, choice.tags, detections, record, self.encoded.image, **known)

    def _choice(self, settings: Settings) -> Choice:
        detects = self.xyxy is not None
        return choose(self.tag_scores, self.vocabulary.labels, settings, self.independent, detects=detects)

    def _detections(self, settings: Settings, wanted: NDArray[np.intp]) -> Detections:
        if self.xyxy is None or self.box_scores is None:
            return Detections.none()
        raw = RawBoxes(self.xyxy, self.box_scores, self.floor, self.masks, self.mask_scores)
        return raw.detections(self.vocabulary.labels, wanted, settings, self.encoded.image.shape[:2])


def encode(pipe: Pipeline, image: Any, stages: Sequence[Stage]) -> Encoded:
    """See Pipeline.encode."""
    for stage in set(stages) - set(get_args(Stage)):
        raise BadInput(f"no stage named {stage!r}; known: {', '.join(get_args(Stage))}")
    encoded = _begun(pipe, image)
    if "tags" in stages:
        encoded = _with_views(pipe, encoded, pipe.settings)
    if "boxes" in stages:
        encoded = _with_places(pipe, encoded)
    return _with_segmenter(pipe, encoded) if "masks" in stages else encoded


def explore(pipe: Pipeline, image: Any, vocabulary: Vocabulary, settings: Settings, room: Room) -> Iterator[Explored]:
    """Return the answers of Pipeline.explore; what was given is checked before the first is asked for."""
    missing = (pipe.tagger and vocabulary.texts is None, pipe.detector and vocabulary.queries is None)
    if any(missing):
        raise BadInput("this vocabulary was made without a stage; make it with this pipeline's vocabulary()")
    record = pipe.record(vocabulary, settings)
    begun = Explored(_begun(pipe, image), vocabulary, record, settings, "tags", {}, pipe.independent, room.floor)
    return _stages(pipe, begun, room)


def _stages(pipe: Pipeline, now: Explored, room: Room) -> Iterator[Explored]:
    """Yield one answer a stage, each with what the ones before it hold."""
    start = perf_counter()
    if pipe.tagger is not None:
        now = _done(_tagged(pipe, now), "tags", start)
        yield now
    if pipe.detector is None or now.vocabulary.queries is None:
        return
    start = perf_counter()
    encoded = _with_places(pipe, now.encoded)
    boxes = raw_boxes(pipe, encoded.image, encoded.places, now.vocabulary.queries, room)
    found = replace(now, encoded=encoded, floor=boxes.floor, xyxy=boxes.xyxy, box_scores=boxes.scores)
    now = _done(found, "boxes", start)
    yield now
    start = perf_counter()
    if pipe.segmenter is not None:
        encoded = _with_segmenter(pipe, now.encoded)
        boxes = raw_masks(pipe.segmenter, encoded.segmenter, boxes, encoded.image)
    if boxes.masks is not None:
        cut = replace(now, encoded=encoded, masks=boxes.masks, mask_scores=boxes.mask_scores)
        yield _done(cut, "masks", start)


def _done(now: Explored, stage: Stage, start: float) -> Explored:
    return replace(now, stage=stage, seconds={**now.seconds, stage: perf_counter() - start})


def _tagged(pipe: Pipeline, now: Explored) -> Explored:
    """Return it with the tagger's scores.

    Raises:
        BadOutput: they are not finite.
    """
    encoded = _with_views(pipe, now.encoded, now.settings)
    rows, size = np.zeros((0, 0), np.float32) if encoded.views is None else encoded.views, now.settings.batch_size
    parts = [pipe.scores_of(rows[at : at + size], now.vocabulary) for at in range(0, len(rows), size)]
    scores = np.concatenate(parts).max(axis=0)
    if not np.isfinite(scores).all():
        raise BadOutput("the tagger's scores are not finite; try --dtype float32")
    return replace(now, encoded=encoded, tag_scores=scores)


def _begun(pipe: Pipeline, image: Any) -> Encoded:
    """Return an encoding that may lack all stages.

    Raises:
        BadInput: it was made by other models.
    """
    models = tuple(None if stage is None else stage.record for stage in (pipe.tagger, pipe.detector, pipe.segmenter))
    if not isinstance(image, Encoded):
        return Encoded(read_image(image), models=models)
    if image.models != models:
        raise BadInput("this encoding was made by other models; encode the image with this pipeline")
    return image


def _with_views(pipe: Pipeline, encoded: Encoded, settings: Settings) -> Encoded:
    """Return it with the tagger's rows of as many windows as are asked for."""
    if pipe.tagger is None:
        return encoded
    seen, size = views(encoded.image, settings.windows), settings.batch_size
    if encoded.views is not None and len(encoded.views) == len(seen):
        return encoded
    parts = [pipe.tagger.encode_images(seen[at : at + size]) for at in range(0, len(seen), size)]
    return replace(encoded, views=np.concatenate(parts))


def _with_places(pipe: Pipeline, encoded: Encoded) -> Encoded:
    if encoded.places is not None or not isinstance(pipe.detector, PlaceDetector):
        return encoded
    return replace(encoded, places=pipe.detector.encode(encoded.image))


def _with_segmenter(pipe: Pipeline, encoded: Encoded) -> Encoded:
    if encoded.segmenter is not None or pipe.segmenter is None:
        return encoded
    return replace(encoded, segmenter=pipe.segmenter.encode(encoded.image))


def prompt(
    pipe: Pipeline,
    encoded: Encoded,
    points: Floats | None,
    point_labels: NDArray[np.int64] | None,
    box: Floats | None,
) -> tuple[NDArray[np.bool_], Floats]:
    """See Pipeline.prompt."""
    if pipe.segmenter is None:
        raise BadInput("this pipeline has no segmenter; load one with segmenter=SPEC")
    if not isinstance(pipe.segmenter, PromptSegmenter):
        raise BadInput(f"{pipe.segmenter.record.spec} takes boxes only; load a segmenter of the SAM family for points")
    whole = _begun(pipe, encoded)
    if whole.segmenter is None:
        raise BadInput("this image is not encoded for the segmenter yet; give what Pipeline.encode returns")
    return pipe.segmenter.prompt(whole.segmenter, points, point_labels, box)
