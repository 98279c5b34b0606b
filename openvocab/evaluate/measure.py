"""All metrics of a run: which ones apply depends on the data and on the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.bootstrap import RESAMPLES
from openvocab.evaluate.metrics.classification import ClassificationMetrics, classification_metrics
from openvocab.evaluate.metrics.concepts import ConceptMetrics, concept_metrics, pairs_of
from openvocab.evaluate.metrics.detection import AveragePrecision, Kind, average_precision
from openvocab.evaluate.metrics.error_types import ErrorCounts, ImageErrors, count_errors, image_errors
from openvocab.evaluate.metrics.multi_label import MultiLabelMetrics, multi_label_metrics
from openvocab.evaluate.metrics.segmentation import MaskMetrics, MeanIoU, mask_metrics, semantic_iou
from openvocab.evaluate.runs.chain import ChainRun
from openvocab.evaluate.runs.tagger import TaggerRun
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.scores import sigmoid, softmax
from openvocab.weights.thresholds import tag_threshold

__all__ = [
    "ChainMetrics",
    "DetectionMetrics",
    "SegmentationMetrics",
    "measure_chain",
    "measure_segmenter",
    "measure_tagger",
]


def measure_tagger(
    run: TaggerRun,
    multi_label: bool,
    independent: bool,
    threshold: float | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ClassificationMetrics | MultiLabelMetrics:
    """Return the metrics of single-label or of multi-label classification.

    Labels are ranked by logit. Scores and confidence are the sigmoid of the logits for a tagger trained with a
    sigmoid, and otherwise their softmax over the labels of the data.

    Args:
        run: A tagger's run.
        multi_label: Whether an image may have several labels.
        independent: Whether the model was trained with a sigmoid.
        threshold: Score threshold of multi-label F1; the tagger's own if None.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        BadInput: A threshold is given for single-label data, or is outside 0 to 1.
        BadOutput: A score is not finite.
        MissingExtra: scikit-learn is not installed.
    """
    scores = sigmoid(run.logits) if independent else softmax(run.logits)
    if multi_label:
        if threshold is None:
            threshold = tag_threshold(run.model.spec, independent=independent).value
        return multi_label_metrics(scores, run.truth, run.labels, threshold=threshold, seed=seed, resamples=resamples)
    if threshold is not None:
        raise BadInput("a threshold is for multi-label data, and these images have one label each; leave it out")
    best, truth = scores.max(axis=1), run.truth.argmax(axis=1)
    return classification_metrics(run.logits, truth, run.labels, confidence=best, seed=seed, resamples=resamples)


@dataclass(frozen=True, eq=False, slots=True)
class DetectionMetrics:
    """Metrics of the detections of one run.

    Attributes:
        errors: Error counts, precision, recall and F1.
        boxes: COCO average precision of boxes.
        masks: COCO average precision of masks; None without masks on both sides.
    """

    errors: ErrorCounts
    boxes: AveragePrecision
    masks: AveragePrecision | None


@dataclass(frozen=True, eq=False, slots=True)
class ChainMetrics:
    """Metrics of the chain.

    Attributes:
        chain: The chain as it is: tags, boxes, masks.
        with_true_labels: The chain with the true labels of each image in place of its tags; None without a tagger.
        true_box_masks: Masks prompted with the true boxes; None without true masks or without a segmenter.
        true_box_masks_ap: COCO average precision of those masks, ranked by the segmenter's scores.
        tags: Mean average precision of the tags; None without a tagger.
        concepts: cgF1, pmF1 and IL_MCC over the pairs of image and label; None if no pair is without an object.
        images: Error types of each image in the chain as it is.
    """

    chain: DetectionMetrics
    with_true_labels: DetectionMetrics | None
    true_box_masks: MaskMetrics | None
    true_box_masks_ap: AveragePrecision | None
    tags: float | None
    concepts: ConceptMetrics | None
    images: tuple[ImageErrors, ...]


def measure_chain(run: ChainRun, seed: int = 0, resamples: int = RESAMPLES) -> ChainMetrics:
    """Return all metrics of a run of the chain.

    Args:
        run: A run with a detector.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        BadInput: The run has no detections, or seed or resamples is out of range.
        BadOutput: A score is not finite.
        MissingExtra: There is a tagger, and scikit-learn is not installed.
    """
    if run.predictions is None:
        raise BadInput("this run has no detections to measure; run the chain with a detector")
    images, chain = _detection_metrics(run, run.predictions, run.queried, seed, resamples)
    oracle, masks, masks_ap = None, None, None
    if run.with_true_labels is not None:
        oracle = _detection_metrics(run, run.with_true_labels, None, seed, resamples)[1]
    if run.true_box_masks is not None:
        masks = mask_metrics(run.truth, run.true_box_masks, run.labels, seed=seed, resamples=resamples)
        masks_ap = average_precision(run.truth, run.true_box_masks, run.labels, "mask")
    concepts = _concept_metrics(run, run.predictions, seed, resamples)
    return ChainMetrics(chain, oracle, masks, masks_ap, _tag_average_precision(run), concepts, tuple(images))


def _concept_metrics(
    run: ChainRun, predictions: Sequence[Detections], seed: int, resamples: int
) -> ConceptMetrics | None:
    """Return the metrics of the pairs of image and label; None if no pair is without an object."""
    rows = zip(run.truth, predictions, run.checked, strict=True)
    kind: Kind = "mask" if run.masked else "box"
    images = [pairs_of(truth, found, run.labels, checked, kind) for truth, found, checked in rows]
    if not any(pair.objects == 0 for pairs in images for pair in pairs):
        return None
    return concept_metrics(images, seed=seed, resamples=resamples)


def _detection_metrics(
    run: ChainRun, predictions: Sequence[Detections], queried: NDArray[np.bool_] | None, seed: int, resamples: int
) -> tuple[list[ImageErrors], DetectionMetrics]:
    images = image_errors(run.truth, predictions, run.labels, queried, masks=run.masked)
    errors = count_errors(images, run.truth, predictions, run.labels, seed=seed, resamples=resamples)
    boxes = average_precision(run.truth, predictions, run.labels)
    masks = average_precision(run.truth, predictions, run.labels, "mask") if run.masked else None
    return images, DetectionMetrics(errors, boxes, masks)


def _tag_average_precision(run: ChainRun) -> float | None:
    """Return the mean average precision of the tags."""
    if run.scores is None:
        return None
    truth = np.zeros(run.scores.shape, bool)
    for row, one in enumerate(run.truth):
        truth[row, one.class_ids] = True
    mean = multi_label_metrics(run.scores, truth, run.labels, resamples=1).mean_average_precision
    return None if mean is None else mean.value


@dataclass(frozen=True, eq=False, slots=True)
class SegmentationMetrics:
    """Metrics of a segmenter.

    Attributes:
        true_box_masks: Masks prompted with the true boxes.
        semantic: Semantic IoU of those masks, with the true labels.
        detector_masks: COCO average precision of masks prompted with a detector's boxes; None without a detector.
        detector_semantic: Semantic IoU of those masks, with the detector's labels; None without a detector.
    """

    true_box_masks: MaskMetrics
    semantic: MeanIoU
    detector_masks: AveragePrecision | None
    detector_semantic: MeanIoU | None


def measure_segmenter(run: ChainRun, seed: int = 0, resamples: int = RESAMPLES) -> SegmentationMetrics:
    """Return all metrics of a run of the segmenter.

    Raises:
        BadInput: The data have no masks, or seed or resamples is out of range.
    """
    if run.true_box_masks is None:
        raise BadInput("the annotations have boxes and no masks, so masks cannot be measured; use evaluate detect")
    masks = mask_metrics(run.truth, run.true_box_masks, run.labels, seed=seed, resamples=resamples)
    semantic = semantic_iou(run.truth, run.true_box_masks, run.labels)
    if run.predictions is None:
        return SegmentationMetrics(masks, semantic, None, None)
    detector_masks = average_precision(run.truth, run.predictions, run.labels, "mask")
    return SegmentationMetrics(masks, semantic, detector_masks, semantic_iou(run.truth, run.predictions, run.labels))
