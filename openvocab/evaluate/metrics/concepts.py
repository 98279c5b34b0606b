"""cgF1, pmF1 and IL_MCC: whether labels are found where they are, and refused where they are not.

These are the metrics of SA-Co (Carion et al., SAM 3: Segment Anything with Concepts, 2025). The unit is a pair of an
image and a label; a pair without an object is a negative. IL_MCC is Matthews' correlation coefficient of "has a
detection" and "has an object" over the pairs. pmF1 is the F1 over all objects of the positive pairs, averaged over IoU
0.50 to 0.95 in steps of 0.05; objects and detections of a pair are matched one to one with the largest sum of IoUs.
cgF1 is the product, times 100. Small constants keep the denominators above 0, as in SAM 3's evaluator, so that the
values agree to the last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.bootstrap import RESAMPLES, Estimate, Statistic, estimate
from openvocab.evaluate.metrics.checks import check_count
from openvocab.evaluate.metrics.detection import GroundTruth, Kind, Masks, Predictions, mask_codes, xywh
from openvocab.pipeline.detections import Detections

__all__ = [
    "IOUS",
    "ConceptMetrics",
    "PairCounts",
    "concept_metrics",
    "detections_of",
    "objects_of",
    "pair_counts",
    "pairs_of",
]

IOUS = np.linspace(0.5, 0.95, 10)
"""(10,) minimum IoUs of a match, COCO's."""

OBJECT_EPSILON, PAIR_EPSILON = 1e-4, 1e-6
"""Added to the denominators of scores over objects and of scores over pairs, as in SAM 3's evaluator."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class PairCounts:
    """The counts of one pair of image and label.

    Attributes:
        hits: (10,) int64 number of matches at each of IOUS.
        detections: Number of detections.
        objects: Number of objects, without crowds.
    """

    hits: NDArray[np.int64]
    detections: int
    objects: int

    @property
    def f1(self) -> float | None:
        """The mean F1 over IOUS; None if there is neither an object nor a detection."""
        if not self.detections and not self.objects:
            return None
        hits = self.hits.astype(np.float64)
        return float(_f1(hits / (self.detections + OBJECT_EPSILON), hits / (self.objects + OBJECT_EPSILON)).mean())


_NEGATIVE = PairCounts(np.zeros(len(IOUS), np.int64), 0, 0)


@dataclass(frozen=True, slots=True)
class ConceptMetrics:
    """Metrics over pairs of image and label, with bootstrap intervals over the images.

    Attributes:
        cgf1: 100 pmF1 IL_MCC, averaged over IoU 0.50 to 0.95.
        pmf1: 100 times the F1 over the objects and detections of positive pairs, averaged over IoU 0.50 to 0.95.
        il_mcc: Matthews' correlation coefficient of the pairs, -1 to 1.
        cgf1_50: cgF1 at IoU 0.50.
        cgf1_75: cgF1 at IoU 0.75.
        il_precision: Share of the pairs with a detection that have an object.
        il_recall: Share of the pairs with an object that have a detection.
        il_f1: F1 of these two.
        il_fpr: Share of the pairs without an object that have a detection.
        positives: Number of pairs with an object.
        negatives: Number of pairs without an object.
    """

    cgf1: Estimate
    pmf1: Estimate
    il_mcc: Estimate
    cgf1_50: float
    cgf1_75: float
    il_precision: float
    il_recall: float
    il_f1: float
    il_fpr: float
    positives: int
    negatives: int


def pair_counts(
    annotators: Sequence[GroundTruth], predictions: Predictions | Detections, kind: Kind = "box"
) -> PairCounts:
    """Return the counts of one pair against the annotator whose objects fit best.

    Args:
        annotators: The objects of the pair as each annotator drew them; class_ids are ignored, crowds are left out.
        predictions: The detections of the pair; class_ids are ignored.
        kind: Compare boxes or masks.

    Raises:
        BadInput: There is no annotator, or masks are missing.
    """
    if not annotators:
        raise BadInput("a pair of image and label has no annotator; give at least one, without objects for a negative")
    best, *others = (_counts(one, predictions, kind) for one in annotators)
    for other in others:
        if other.f1 is None or (best.f1 is not None and other.f1 > best.f1):
            best = other
    return best


def _counts(truth: GroundTruth, predictions: Predictions | Detections, kind: Kind) -> PairCounts:
    crowd = np.zeros(len(truth.xyxy), bool) if truth.crowd is None else truth.crowd
    rows, found = np.flatnonzero(~crowd), len(predictions.scores)
    if not len(rows) and not found:
        return _NEGATIVE
    ious = _matched_ious(truth, rows, predictions, kind) if len(rows) and found else np.zeros(0)
    return PairCounts((ious[:, None] >= IOUS).sum(axis=0), found, len(rows))


def _matched_ious(truth: GroundTruth, rows: NDArray[np.intp], predictions: Any, kind: Kind) -> Floats:
    """Return the IoUs of the one-to-one matches with the largest sum.

    Raises:
        BadInput: Masks are missing.
    """
    from pycocotools import mask as coco_mask
    from scipy.optimize import linear_sum_assignment

    first: Any
    second: Any
    if kind == "mask":
        if truth.masks is None or predictions.masks is None:
            raise BadInput("there are no masks to compare; give true and predicted masks, or compare boxes")
        codes = mask_codes(truth.masks)
        first, second = mask_codes(predictions.masks), [codes[row] for row in rows]
    else:
        first, second = xywh(predictions.xyxy), xywh(truth.xyxy[rows])
    ious = np.asarray(coco_mask.iou(first, second, [0] * len(rows)), np.float64)
    found, objects = linear_sum_assignment(ious, maximize=True)
    matched: Floats = ious[found, objects]
    return matched


def pairs_of(
    truth: GroundTruth,
    predictions: Predictions | Detections,
    labels: Sequence[str],
    checked: NDArray[Any] | None = None,
    kind: Kind = "box",
) -> list[PairCounts]:
    """Return the counts of the pairs of one image and each label.

    Args:
        truth: The objects of the image.
        predictions: The detections; class_ids are indices into labels.
        labels: C labels.
        checked: Indices of the labels that were annotated in the image; None if all were. A label with a crowd is left
            out, because its objects are not counted there.
        kind: Compare boxes or masks.

    Raises:
        BadInput: Masks are missing.
    """
    rows = np.arange(len(labels)) if checked is None else np.unique(checked)
    return [each for row in rows.tolist() if (each := _pair(truth, predictions, row, kind)) is not None]


def _pair(truth: GroundTruth, predictions: Any, row: int, kind: Kind) -> PairCounts | None:
    """Return the counts of one label; None if it has a crowd."""
    own = np.flatnonzero(truth.class_ids == row)
    found = np.flatnonzero(predictions.class_ids == row)
    if truth.crowd is not None and truth.crowd[own].any():
        return None
    if not len(own) or not len(found):
        return PairCounts(_NEGATIVE.hits, len(found), len(own)) if len(own) or len(found) else _NEGATIVE
    return _counts(objects_of(truth, row, kind), detections_of(predictions, row, kind), kind)


def objects_of(truth: GroundTruth, row: int, kind: Kind) -> GroundTruth:
    """Return the objects of one label, with masks if these are compared."""
    own = np.flatnonzero(truth.class_ids == row)
    crowd = None if truth.crowd is None else truth.crowd[own]
    masks = _select(truth.masks, own) if kind == "mask" else None
    return GroundTruth(truth.height, truth.width, truth.xyxy[own], truth.class_ids[own], crowd, masks)


def detections_of(predictions: Predictions | Detections, row: int, kind: Kind) -> Predictions:
    """Return the detections of one label, with masks if these are compared; class_ids is indexed."""
    class_ids = np.asarray(predictions.class_ids)
    found = np.flatnonzero(class_ids == row)
    masks = _select(predictions.masks, found) if kind == "mask" else None
    return Predictions(predictions.xyxy[found], predictions.scores[found], class_ids[found], masks)


def _select(masks: Masks | None, rows: NDArray[np.intp]) -> list[dict[str, Any]] | None:
    if masks is None:
        return None
    codes = mask_codes(masks)
    return [codes[row] for row in rows]


def concept_metrics(
    images: Sequence[Sequence[PairCounts]], *, seed: int = 0, resamples: int = RESAMPLES
) -> ConceptMetrics:
    """Return the metrics of the pairs of P images.

    Args:
        images: The pairs of each image.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        BadInput: There is no pair, or seed or resamples is out of range.
    """
    check_count("seed", seed, minimum=0)
    check_count("resamples", resamples)
    if not any(images):
        raise BadInput("there is no pair of image and label, so nothing can be measured; give at least one")
    sums = np.stack([_sums(pairs) for pairs in images])
    whole = _metrics(sums.sum(axis=0)[None])

    def interval(name: str) -> Estimate:
        return estimate(_statistic(sums, name), len(images), seed, resamples)

    rest = {name: float(value[0]) for name, value in whole.items() if name not in ("cgf1", "pmf1", "il_mcc")}
    hit, false, refused, lost = sums.sum(axis=0)[-4:].astype(int).tolist()
    return ConceptMetrics(
        interval("cgf1"), interval("pmf1"), interval("il_mcc"), **rest, positives=hit + lost, negatives=false + refused
    )


def _statistic(sums: Floats, name: str) -> Statistic:
    return lambda counts: _metrics(counts @ sums)[name]


def _sums(pairs: Sequence[PairCounts]) -> Floats:
    """Return (16,) sums: hits at IOUS, detections and objects of positive pairs, then the four kinds of pairs.

    These are detected and present, detected and absent, neither, and missed.
    """
    made = np.zeros(len(IOUS) + 6)
    for pair in pairs:
        if pair.objects:
            made[: len(IOUS)] += pair.hits
            made[len(IOUS) : len(IOUS) + 2] += pair.detections, pair.objects
        made[len(IOUS) + 2 + 2 * (not pair.detections) + ((not pair.objects) ^ (not pair.detections))] += 1
    return made


def _metrics(sums: Floats) -> dict[str, Floats]:
    """Return each metric as (B,), for (B, 16) sums."""
    hits, detections, objects = sums[:, :-6], sums[:, -6, None], sums[:, -5, None]
    f1 = _f1(hits / (detections + OBJECT_EPSILON), hits / (objects + OBJECT_EPSILON))
    mcc = _mcc(*sums[:, -4:].T)
    hit, false, refused, lost = sums[:, -4:].T
    precision, recall = hit / (hit + false + PAIR_EPSILON), hit / (hit + lost + PAIR_EPSILON)
    return {
        "cgf1": 100 * f1.mean(axis=1) * mcc,
        "pmf1": 100 * f1.mean(axis=1),
        "il_mcc": mcc,
        "cgf1_50": 100 * f1[:, 0] * mcc,
        "cgf1_75": 100 * f1[:, 5] * mcc,
        "il_precision": precision,
        "il_recall": recall,
        "il_f1": _f1(precision, recall, PAIR_EPSILON),
        "il_fpr": false / (false + refused + PAIR_EPSILON),
    }


def _f1(precision: Floats, recall: Floats, epsilon: float = OBJECT_EPSILON) -> Floats:
    f1: Floats = 2 * precision * recall / (precision + recall + epsilon)
    return f1


def _mcc(hit: Floats, false: Floats, refused: Floats, lost: Floats) -> Floats:
    """Matthews' correlation coefficient of (B,) counts."""
    sizes = (hit + false) * (hit + lost) * (refused + false) * (refused + lost)
    mcc: Floats = (hit * refused - false * lost) / (np.sqrt(sizes) + PAIR_EPSILON)
    return mcc
