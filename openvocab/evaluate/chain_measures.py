"""Every figure of a run of the chain: as it is, and with each stage's input put right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openvocab.errors import BadInput
from openvocab.evaluate.bootstrap import DRAWS
from openvocab.evaluate.chain import ChainFigures, Fates, chain_figures, fates
from openvocab.evaluate.chaining import Chained
from openvocab.evaluate.detection import AveragePrecision, Found, MeanIoU, average_precision
from openvocab.evaluate.multi_label import classify_multi_label
from openvocab.evaluate.segmentation import Cut, cut_figures, semantic_iou

__all__ = ["ChainMeasures", "RunFigures", "SegmentMeasures", "measure_chain", "measure_segments"]


@dataclass(frozen=True, eq=False, slots=True)
class RunFigures:
    """The figures of one run.

    fates        losses, precision, recall and F1.
    boxes, masks  COCO's average precision; masks is None where they are not known on both sides.
    """

    fates: ChainFigures
    boxes: AveragePrecision
    masks: AveragePrecision | None


@dataclass(frozen=True, eq=False, slots=True)
class ChainMeasures:
    """The figures of the chain.

    chain     as it is: tags, boxes, masks.
    told      with the true labels of each image in place of its tags; None without a tagger.
    cut       masks from the true boxes; None without true masks or without a segmenter.
    cut_masks COCO's average precision of those masks, ranked by the segmenter's own scores.
    tags      mean average precision of the tags; None without a tagger.
    images  what became of each image in the chain as it is.
    """

    chain: RunFigures
    told: RunFigures | None
    cut: Cut | None
    cut_masks: AveragePrecision | None
    tags: float | None
    images: tuple[Fates, ...]


def measure_chain(made: Chained, seed: int = 0, draws: int = DRAWS) -> ChainMeasures:
    """Return every figure of a run of the chain.

    Args:
        seed, draws: of the bootstrap intervals.

    Raises:
        BadInput: the run has no detections, or seed or draws is out of range.
        BadOutput: a score is not finite.
        MissingExtra: scikit-learn is not installed, and there is a tagger.
    """
    if made.found is None:
        raise BadInput("this run has no detections to measure; run the chain with a detector")
    images, chain = _figures(made, made.found, made.asked, seed, draws)
    told = None if made.told is None else _figures(made, made.told, None, seed, draws)[1]
    cut = None if made.cut is None else cut_figures(made.truth, made.cut, made.labels, seed=seed, draws=draws)
    masks = None if made.cut is None else average_precision(made.truth, made.cut, made.labels, "mask")
    return ChainMeasures(chain, told, cut, masks, _tags(made), tuple(images))


def _figures(
    made: Chained, found: Sequence[Found], asked: object, seed: int, draws: int
) -> tuple[list[Fates], RunFigures]:
    given = asked if isinstance(asked, np.ndarray) else None
    images = fates(made.truth, found, made.labels, given, masks=made.masked)
    figures = chain_figures(images, made.truth, found, made.labels, seed=seed, draws=draws)
    boxes = average_precision(made.truth, found, made.labels)
    masks = average_precision(made.truth, found, made.labels, "mask") if made.masked else None
    return images, RunFigures(figures, boxes, masks)


def _tags(made: Chained) -> float | None:
    """Return the mean average precision of the tags."""
    if made.scores is None:
        return None
    truth = np.zeros(made.scores.shape, bool)
    for row, one in enumerate(made.truth):
        truth[row, one.label_index] = True
    mean = classify_multi_label(made.scores, truth, made.labels, draws=1).mean_average_precision
    return None if mean is None else mean.value


@dataclass(frozen=True, eq=False, slots=True)
class SegmentMeasures:
    """The figures of a segmenter.

    cut             masks from the true boxes.
    semantic        of those masks, labeled with the true labels, as areas.
    found           COCO's average precision of masks from a detector's boxes; None without a detector.
    found_semantic  of those masks, with the labels that the detector gave, as areas; None without a detector.
    """

    cut: Cut
    semantic: MeanIoU
    found: AveragePrecision | None
    found_semantic: MeanIoU | None


def measure_segments(made: Chained, seed: int = 0, draws: int = DRAWS) -> SegmentMeasures:
    """Return every figure of a run of the segmenter.

    Raises:
        BadInput: the data have no masks, or seed or draws is out of range.
    """
    if made.cut is None:
        raise BadInput("the annotations hold boxes and no masks, so that masks cannot be measured; use evaluate detect")
    cut = cut_figures(made.truth, made.cut, made.labels, seed=seed, draws=draws)
    semantic = semantic_iou(made.truth, made.cut, made.labels)
    if made.found is None:
        return SegmentMeasures(cut, semantic, None, None)
    masks = average_precision(made.truth, made.found, made.labels, "mask")
    return SegmentMeasures(cut, semantic, masks, semantic_iou(made.truth, made.found, made.labels))
