"""One image answered stage by stage with its raw scores, so that thresholds move without a model call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Literal, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.images.read import read_image
from openvocab.pipeline.candidates import (
    CandidateLimits,
    Candidates,
    find_candidates,
    score_candidates,
    segment_candidates,
)
from openvocab.pipeline.chain import score_views
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.gate import Choice, choose, present_rows
from openvocab.pipeline.nbytes import nbytes_of
from openvocab.pipeline.phrases.rows import columns, labeled
from openvocab.pipeline.presence import Evidence
from openvocab.pipeline.protocols import (
    ImageArray,
    LateFusionDetector,
    PromptSegmenter,
    Queries,
    Vocabulary,
)
from openvocab.pipeline.result import NO_PRESENCE, ModelRecord, Presence, Result, RunRecord
from openvocab.pipeline.settings import SettingChanges, Settings
from openvocab.pipeline.stages import Stages, run_record
from openvocab.pipeline.verification.crops import Crops, box_key, crops_of
from openvocab.pipeline.verification.settle import settle
from openvocab.pipeline.verification.verdicts import NO_VERDICTS, Verdicts, least_likely, verdicts_on
from openvocab.pipeline.views import views
from openvocab.weights.verification import verification_model

__all__ = ["Encoded", "Explored", "Stage", "encode", "explore", "prompt", "verified"]

Floats = NDArray[np.float32]
Stage = Literal["tags", "boxes", "masks"]


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """One image, encoded once for every stage; it does not depend on labels. Pipeline.encode makes it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        views: (V, D) float32 features of the image and its windows; None before the tagger saw it.
        detector: The detector's encoding; None before it saw the image, and for a detector that fuses image and text
            early and has none.
        segmenter: The segmenter's encoding; None before it saw the image.
        models: The records of tagger, detector and segmenter that it is for; None for a stage that is left out.
    """

    image: ImageArray
    views: Floats | None = None
    detector: Any | None = None
    segmenter: Any | None = None
    models: tuple[ModelRecord | None, ...] = (None, None, None)

    @property
    def nbytes(self) -> int:
        """Bytes of arrays and tensors it keeps alive, with the image."""
        return nbytes_of((self.image, self.views, self.detector, self.segmenter))


@dataclass(frozen=True, eq=False, slots=True)
class Explored:
    """Raw answers of one image for one vocabulary: all that thresholds act on. It holds no model and calls none.

    For a late-fusion detector (OWL-ViT, OWLv2, the embedded models), whose boxes do not depend on the labels, each
    candidate has a score for every label, and result(**changes) equals pipe(image, labels, **changes) for any
    change of tag threshold, max_tags, NMS, duplicates, max_boxes, mask threshold and presence threshold, and for a
    box threshold of `candidates.min_score` or more. Where boxes are verified, other thresholds may let in boxes that
    the tagger has not seen on a crop; Pipeline.verified(explored, **changes) makes up for them, and result refuses
    without. For an early-fusion detector (Grounding DINO, OmDet-Turbo, DETR, SAM 3) all labels are detected
    together, once; a box has scores for the labels it was found under, and result drops boxes of labels that
    settings.gate excludes. The chain, which does not detect those labels, may then find other boxes.

    Attributes:
        encoded: The image and its encodings; give it to Pipeline.explore for other labels.
        vocabulary: The C labels.
        record: The models, templates and settings.
        settings: The settings of result where nothing is changed.
        stage: The last finished stage: tags, boxes or masks.
        seconds: Stage -> seconds it took, with the encoding of the image; labels are encoded before.
        independent: Whether each tag's score stands alone (sigmoid); else they sum to 1 (softmax).
        tag_scores: (C,) float32; None without a tagger.
        candidates: The boxes whose best label scores min_score or more, the best max_candidates of them, with a score
            for every label and, in the end, a mask; None before the detector ran.
        evidence: The tagger's log-odds of presence; see pipeline.presence.
        presence: Label -> probability that it is in the image, as far as the finished stages know.
        crops: What the tagger saw on crops of boxes; None before the last stage, and without a tagger.
    """

    encoded: Encoded
    vocabulary: Vocabulary
    record: RunRecord
    settings: Settings
    stage: Stage
    seconds: Mapping[str, float]
    independent: bool = True
    tag_scores: Floats | None = None
    candidates: Candidates | None = None
    evidence: Evidence = field(default_factory=dict)
    presence: Presence = field(default_factory=lambda: NO_PRESENCE)
    crops: Crops | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of arrays, tensors and masks it keeps alive, with those of encoded and without the vocabulary."""
        crops = tuple(odds for each in (self.crops or {}).values() for odds in each.values())
        own = (self.tag_scores, *self.evidence.values(), self.presence.probabilities, self.candidates, *crops)
        masks = None if self.candidates is None else self.candidates.masks
        return self.encoded.nbytes + nbytes_of(own) + (0 if masks is None else sum(map(len, masks.counts)))

    def result(self, source: str = "array", **changes: Unpack[SettingChanges]) -> Result:
        """Return the result under other settings; no model is called.

        Args:
            source: Name of the image in the result.
            changes: Settings to change, e.g. box_threshold=0.4.

        Raises:
            BadInput: a setting that does not fit; other windows or tiles, which the models would have to see; another
                calibration; or boxes that verification has not seen.
        """
        settings = self._settings(changes)
        height, width = self.encoded.image.shape[:2]
        choice, labels = self._choice(settings), self.vocabulary.labels
        found = self._detections(settings, choice.wanted)
        if missing := len(self._unseen(found, settings)):
            raise BadInput(
                f"verification has not seen {missing} of these boxes; call pipe.verified(explored, ...) with these "
                "settings first, or give verify=0"
            )
        made = settle(found, self._verdicts(found, settings), labels, settings)
        record, image = replace(self.record, settings=settings.given()), self.encoded.image
        known: dict[str, Any] = {"labels": labels, "presence": self.presence, "rejected": made.rejected}
        known["notes"] = choice.notes_of(len(made.detections), len(made.rejected))
        return Result(source, width, height, choice.tags, made.detections, record, image, **known)

    def unverified(self, **changes: Unpack[SettingChanges]) -> Detections:
        """Return the boxes that the tagger must see on crops before result(**changes) can be given; often none.

        Raises:
            BadInput: as result.
        """
        settings = self._settings(changes)
        found = self._detections(settings, self._choice(settings).wanted)
        return found.take(self._unseen(found, settings))

    def _settings(self, changes: SettingChanges) -> Settings:
        """Return the settings with changes.

        Raises:
            BadInput: as result.
        """
        settings = self.settings.changed(**changes)
        settings = settings if self.crops is not None else settings.changed(verify=0)
        if settings.windows != self.settings.windows and self.tag_scores is not None:
            raise BadInput(f"the tagger saw windows={self.settings.windows}; explore again with the other number")
        if settings.tiles:
            raise BadInput("the models saw no tiles; call the pipeline with tiles instead of explore")
        if settings.calibration != self.settings.calibration:
            raise BadInput("these answers are under another calibration; explore again with this one")
        return settings

    def _unseen(self, found: Detections, settings: Settings) -> list[int]:
        """Return the rows of the boxes to verify whose crops are not known."""
        crops = self.crops or {}
        return [row for row in least_likely(found, settings).tolist() if box_key(found, row) not in crops]

    def _choice(self, settings: Settings) -> Choice:
        detects = self.candidates is not None
        return choose(self.tag_scores, self.vocabulary.labels, settings, self.independent, detects=detects)

    def _detections(self, settings: Settings, wanted: NDArray[np.intp]) -> Detections:
        if self.candidates is None:
            return Detections.none()
        wanted = present_rows(wanted, self.presence, settings)
        return self.candidates.detections(self.vocabulary.labels, wanted, settings, self.encoded.image.shape[:2])

    def _verdicts(self, found: Detections, settings: Settings) -> Verdicts:
        tagger, detector = self.record.tagger, self.record.detector
        if not self.crops or tagger is None or detector is None:
            return NO_VERDICTS
        model = verification_model(tagger.spec, detector.spec, independent=self.independent)
        return verdicts_on(model, self.vocabulary, self.presence, found, self.crops, settings)


def encode(stages: Stages, image: Any, wanted: Sequence[Stage]) -> Encoded:
    """Encode an image for some stages; see Pipeline.encode.

    Raises:
        BadInput: no stage of that name, or the encoding was made by other models.
    """
    for stage in set(wanted) - set(get_args(Stage)):
        raise BadInput(f"no stage named {stage!r}; known: {', '.join(get_args(Stage))}")
    encoded = _start(stages, image)
    if "tags" in wanted:
        encoded = _with_views(stages, encoded)
    if "boxes" in wanted:
        encoded = _with_detector(stages, encoded)
    return _with_segmenter(stages, encoded) if "masks" in wanted else encoded


def explore(stages: Stages, image: Any, vocabulary: Vocabulary, limits: CandidateLimits) -> Iterator[Explored]:
    """Return the answers of Pipeline.explore; the arguments are checked before the first is asked for.

    Raises:
        BadInput: tiles are asked for, the vocabulary lacks a stage, or the encoding was made by other models.
    """
    encoded = _start(stages, image)
    stages = stages.for_vocabulary(vocabulary)
    if stages.settings.tiles:
        raise BadInput(
            "explore keeps what the models make of the whole image, so it takes no tiles; call the pipeline with tiles"
        )
    if (stages.tagger and vocabulary.texts is None) or (stages.detector and vocabulary.queries is None):
        raise BadInput("this vocabulary was made without a stage; make it with this pipeline's vocabulary()")
    if stages.detector is not None and stages.settings.calibration is not None:
        lowest = stages.settings.lowest_box_score(columns(vocabulary))
        limits = replace(limits, min_score=min(limits.min_score, lowest))
    record = run_record(stages, vocabulary)
    start = Explored(encoded, vocabulary, record, stages.settings, "tags", {}, stages.independent)
    return _answers(stages, start, limits)


def _answers(stages: Stages, now: Explored, limits: CandidateLimits) -> Iterator[Explored]:
    """Yield one answer a stage, each with what the ones before it hold."""
    start = perf_counter()
    if stages.tagger is not None:
        now = _finished(_tagged(stages, now), "tags", start)
        yield now
    if stages.detector is None or now.vocabulary.queries is None:
        return
    start = perf_counter()
    encoded = _with_detector(stages, now.encoded)
    found = labeled(now.vocabulary, _candidates(stages, encoded, now.vocabulary.queries, limits))
    presence = stages.presence(now.evidence, found, now.vocabulary)
    boxes = replace(found, masks=None, mask_scores=None)
    now = replace(now, encoded=encoded, candidates=boxes, presence=presence)
    whole = stages.segmenter is None and found.masks is None
    now = _finished(_final(stages, now) if whole else now, "boxes", start)
    yield now
    start = perf_counter()
    if stages.segmenter is not None:
        encoded = _with_segmenter(stages, now.encoded)
        found = segment_candidates(stages.segmenter, encoded.segmenter, found, encoded.image)
    if found.masks is not None:
        now = replace(now, encoded=encoded, candidates=found)
        yield _finished(_final(stages, now), "masks", start)


def verified(stages: Stages, now: Explored, changes: SettingChanges) -> Explored:
    """Return an answer whose result(**changes) can be given; see Pipeline.verified.

    Raises:
        BadInput: a setting that does not fit, or the answer was made by other models.
    """
    _start(stages, now.encoded)
    return _seen_on_crops(stages, now, changes)


def _seen_on_crops(stages: Stages, now: Explored, changes: SettingChanges) -> Explored:
    found = now.unverified(**changes)
    if not len(found) or now.crops is None or stages.tagger is None:
        return now
    seen = crops_of(stages.tagger, now.encoded.image, now.vocabulary, found)
    return replace(now, crops={**now.crops, **seen})


def _final(stages: Stages, now: Explored) -> Explored:
    """Return the answer of the last stage, with what the tagger sees on the boxes that the chain would verify."""
    return now if stages.tagger is None else _seen_on_crops(stages, replace(now, crops={}), {})


def _finished(now: Explored, stage: Stage, start: float) -> Explored:
    return replace(now, stage=stage, seconds={**now.seconds, stage: perf_counter() - start})


def _tagged(stages: Stages, now: Explored) -> Explored:
    """Return it with the tagger's scores."""
    encoded = _with_views(stages, now.encoded)
    (tagged,) = score_views(
        stages, [np.zeros((0, 0), np.float32) if encoded.views is None else encoded.views], now.vocabulary
    )
    presence = stages.presence(tagged.evidence, None, now.vocabulary)
    return replace(now, encoded=encoded, tag_scores=tagged.scores, evidence=tagged.evidence, presence=presence)


def _candidates(stages: Stages, encoded: Encoded, queries: Queries, limits: CandidateLimits) -> Candidates:
    """Return the candidates of all labels.

    Raises:
        BadInput: there is no detector.
    """
    detector = stages.detector
    if detector is None:
        raise BadInput("this pipeline has no detector; load one with detector=SPEC")
    if isinstance(detector, LateFusionDetector):
        return score_candidates(detector, encoded.detector, queries, limits)
    every, masks = np.arange(len(queries.labels)), stages.masks_from_detector
    return find_candidates(detector, [encoded.image], queries, every, limits, with_masks=masks)[0]


def _start(stages: Stages, image: Any) -> Encoded:
    """Return an encoding that may lack every stage.

    Raises:
        BadInput: it was made by other models.
    """
    models = tuple(None if each is None else each.record for each in (stages.tagger, stages.detector, stages.segmenter))
    if not isinstance(image, Encoded):
        return Encoded(read_image(image), models=models)
    if image.models != models:
        raise BadInput("this encoding was made by other models; encode the image with this pipeline")
    return image


def _with_views(stages: Stages, encoded: Encoded) -> Encoded:
    """Return it with the tagger's features of the image and its windows."""
    if stages.tagger is None:
        return encoded
    images, size = views(encoded.image, stages.settings.windows), stages.settings.batch_size
    if encoded.views is not None and len(encoded.views) == len(images):
        return encoded
    parts = [stages.tagger.encode_images(images[at : at + size]) for at in range(0, len(images), size)]
    return replace(encoded, views=np.concatenate(parts))


def _with_detector(stages: Stages, encoded: Encoded) -> Encoded:
    if encoded.detector is not None or not isinstance(stages.detector, LateFusionDetector):
        return encoded
    return replace(encoded, detector=stages.detector.encode(encoded.image))


def _with_segmenter(stages: Stages, encoded: Encoded) -> Encoded:
    if encoded.segmenter is not None or stages.segmenter is None:
        return encoded
    return replace(encoded, segmenter=stages.segmenter.encode(encoded.image))


def prompt(
    stages: Stages,
    encoded: Encoded,
    points: Floats | None,
    point_labels: NDArray[np.int64] | None,
    box: Floats | None,
) -> tuple[NDArray[np.bool_], Floats]:
    """Segment what points and a box mean; see Pipeline.prompt.

    Raises:
        BadInput: the segmenter takes no points, or the image is not encoded for it.
    """
    if stages.segmenter is None:
        raise BadInput("this pipeline has no segmenter; load one with segmenter=SPEC")
    if not isinstance(stages.segmenter, PromptSegmenter):
        spec = stages.segmenter.record.spec
        raise BadInput(f"{spec} takes boxes only; load a segmenter of the SAM family for points")
    known = _start(stages, encoded)
    if known.segmenter is None:
        raise BadInput("this image is not encoded for the segmenter yet; give what Pipeline.encode returns")
    return stages.segmenter.prompt(known.segmenter, points, point_labels, box)
