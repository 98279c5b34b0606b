"""Presence: whether the probability that a label is in an image is right, over pairs of image and label.

ECE and reliability: Guo et al., On Calibration of Modern Neural Networks, 2017, for the probability of presence itself.
Risk and coverage: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, BadOutput
from openvocab.evaluate.metrics.bootstrap import RESAMPLES, Estimate, Statistic, estimate
from openvocab.evaluate.metrics.checks import check_indices, check_seed
from openvocab.evaluate.metrics.classification import BINS, Reliability, bin_of, reliability
from openvocab.prompts.labels import check_threshold

__all__ = ["PresenceMetrics", "PresencePairs", "PresenceRow", "RiskCoverage", "presence_metrics"]

Floats = NDArray[np.float64]
_POINTS = 101
"""Points of the risk-coverage curve."""


@dataclass(frozen=True, eq=False, slots=True)
class PresencePairs:
    """N pairs of image and label.

    Attributes:
        probabilities: (N,) in 0 to 1, that the label is in the image.
        present: (N,) bool, whether it is.
        image_ids: (N,) int64 indices of the images.
        label_ids: (N,) int64 indices of the labels.
    """

    probabilities: NDArray[Any]
    present: NDArray[np.bool_]
    image_ids: NDArray[np.int64]
    label_ids: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class RiskCoverage:
    """The error rate of the surest answers, for each share of the pairs that is answered.

    Attributes:
        coverage: (101,) share of the pairs that is answered, ascending to 1.
        risk: (101,) share of these answers that is wrong.
        area: The mean risk over all coverages.
    """

    coverage: Floats
    risk: Floats
    area: float


@dataclass(frozen=True, slots=True)
class PresenceRow:
    """Metrics of one label; None where it has no present or no absent pair.

    Attributes:
        label: The label.
        positives: Number of images that have it.
        negatives: Number of images that were annotated and do not have it.
        auc: Area under the ROC curve.
        mcc: Matthews' correlation coefficient at the threshold.
    """

    label: str
    positives: int
    negatives: int
    auc: float | None
    mcc: float | None


@dataclass(frozen=True, eq=False, slots=True)
class PresenceMetrics:
    """Metrics of presence.

    Attributes:
        positives: Number of pairs whose label is present.
        negatives: Number of pairs whose label is absent.
        threshold: A label is answered as present if its probability is at least this.
        mcc: Matthews' correlation coefficient of answer and truth; None if all pairs are of one kind.
        precision: Share of the answers "present" that are right; NaN without such an answer.
        recall: Share of the present labels that are answered so.
        false_positive_rate: Share of the absent labels that are answered as present.
        ece: Expected calibration error of the probability, in 15 bins.
        brier: Mean squared difference of probability and truth.
        auc: Area under the ROC curve over all pairs; None if all pairs are of one kind.
        mean_auc: Mean of the labels' auc; None if no label has one.
        best_threshold: The threshold with the best MCC on these pairs, an upper bound and no estimate for others.
        best_mcc: MCC at best_threshold.
        reliability: Probability against the share of present labels.
        risk_coverage: The curve.
        rows: One row per label, in their order.
    """

    positives: int
    negatives: int
    threshold: float
    mcc: Estimate | None
    precision: Estimate
    recall: Estimate
    false_positive_rate: Estimate
    ece: Estimate
    brier: Estimate
    auc: float | None
    mean_auc: float | None
    best_threshold: float | None
    best_mcc: float | None
    reliability: Reliability
    risk_coverage: RiskCoverage
    rows: tuple[PresenceRow, ...]


def presence_metrics(
    pairs: PresencePairs, labels: Sequence[str], *, threshold: float = 0.5, seed: int = 0, resamples: int = RESAMPLES
) -> PresenceMetrics:
    """Return all metrics of presence, with bootstrap 95 % intervals over the images.

    Args:
        pairs: N pairs.
        labels: C labels.
        threshold: A label is answered as present if its probability is at least this.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        BadInput: An array has another shape or range, or there is no pair.
        BadOutput: A probability is not finite.
    """
    check_seed(seed, labels, resamples)
    _check(pairs, len(labels))
    least, wide, present = (
        check_threshold("threshold", threshold),
        np.asarray(pairs.probabilities, float),
        pairs.present,
    )
    answer = wide >= least
    rows = tuple(_row(label, *_own(pairs, row, answer)) for row, label in enumerate(labels))
    areas = [row.auc for row in rows if row.auc is not None]
    best = _best_threshold(wide, present) if present.any() and not present.all() else None
    return PresenceMetrics(
        int(present.sum()),
        int((~present).sum()),
        least,
        **_estimates(pairs, wide, answer, seed, resamples),
        auc=_auc(wide, present),
        mean_auc=float(np.mean(areas)) if areas else None,
        best_threshold=None if best is None else best[0],
        best_mcc=None if best is None else best[1],
        reliability=reliability(wide, present),
        risk_coverage=_risk_coverage(np.abs(wide - least), answer != present),
        rows=rows,
    )


def _estimates(
    pairs: PresencePairs, wide: Floats, answer: NDArray[np.bool_], seed: int, resamples: int
) -> dict[str, Any]:
    """Return the metrics that have an interval."""
    present = pairs.present
    kinds = np.stack([answer & present, answer & ~present, ~answer & ~present, ~answer & present], axis=1)
    sums = _per_image(np.column_stack([kinds, (wide - present) ** 2, *_bin_sums(wide, present)]), pairs.image_ids)

    def interval(statistic: Statistic) -> Estimate:
        return estimate(lambda counts: statistic(counts @ sums), len(sums), seed, resamples)

    both = bool(present.any() and not present.all())
    return {
        "mcc": interval(lambda each: _mcc(*each[:, :4].T)) if both else None,
        "precision": interval(lambda each: _share(each[:, 0], each[:, 1])),
        "recall": interval(lambda each: _share(each[:, 0], each[:, 3])),
        "false_positive_rate": interval(lambda each: _share(each[:, 1], each[:, 2])),
        "ece": interval(lambda each: _calibration_error(each[:, 5:], each[:, :4].sum(axis=1))),
        "brier": interval(lambda each: each[:, 4] / each[:, :4].sum(axis=1)),
    }


def _check(pairs: PresencePairs, labels: int) -> None:
    """Check the arrays.

    Raises:
        BadInput: An array has another shape or range, or there is no pair.
        BadOutput: A probability is not finite.
    """
    count = len(pairs.present)
    if not count:
        raise BadInput("there is no pair of image and label, so nothing can be measured; give at least one")
    if pairs.probabilities.shape != (count,) or pairs.present.dtype != np.bool_:
        raise BadInput(f"probabilities and present must have shape ({count},), and present must be bool")
    check_indices("label_ids", pairs.label_ids, (count,), labels)
    check_indices("image_ids", pairs.image_ids, (count,), int(pairs.image_ids.max()) + 1)
    if not np.isfinite(pairs.probabilities).all():
        raise BadOutput("a probability is not finite; run the model in float32")
    if pairs.probabilities.min() < 0 or pairs.probabilities.max() > 1:
        raise BadInput("probabilities must lie in 0 to 1; give probabilities, not logits")


def _per_image(values: NDArray[Any], image_ids: NDArray[np.int64]) -> Floats:
    """Return (P, K) sums of (N, K) values over the pairs of each image that has one."""
    _, rows = np.unique(image_ids, return_inverse=True)
    return np.stack([np.bincount(rows, column) for column in values.T.astype(np.float64)], axis=1)


def _bin_sums(probabilities: Floats, present: NDArray[np.bool_]) -> list[Floats]:
    """Return for each bin (N,) probability minus truth, 0 for pairs of other bins."""
    index = bin_of(probabilities, BINS)
    return [np.where(index == number, probabilities - present, 0.0) for number in range(BINS)]


def _calibration_error(sums: Floats, total: Floats) -> Floats:
    """Return the sum of the bins' absolute (B, 15) sums, as a share of (B,) pairs."""
    error: Floats = np.abs(sums).sum(axis=1) / total
    return error


def _share(part: Floats, rest: Floats) -> Floats:
    """Return part / (part + rest); NaN where both are 0."""
    total = part + rest
    share: Floats = np.divide(part, total, out=np.full(len(total), np.nan), where=total > 0)
    return share


def _mcc(hit: Floats, false: Floats, refused: Floats, lost: Floats) -> Floats:
    """Matthews' correlation coefficient of (B,) counts; 0 where a margin is empty, as in scikit-learn."""
    sizes = np.sqrt((hit + false) * (hit + lost) * (refused + false) * (refused + lost))
    gap = hit * refused - false * lost
    mcc: Floats = np.divide(gap, sizes, out=np.zeros_like(gap), where=sizes > 0)
    return mcc


def _auc(probabilities: Floats, present: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve by ranks (Mann and Whitney, 1947); ties count one half."""
    from scipy.stats import rankdata

    positives, negatives = int(present.sum()), int((~present).sum())
    if not positives or not negatives:
        return None
    ranks = rankdata(probabilities)[present].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def _own(pairs: PresencePairs, row: int, answer: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_], NDArray[Any]]:
    own = pairs.label_ids == row
    return np.asarray(pairs.probabilities[own], np.float64), pairs.present[own], answer[own]


def _row(label: str, probabilities: Floats, present: NDArray[np.bool_], answer: NDArray[np.bool_]) -> PresenceRow:
    counts = [answer & present, answer & ~present, ~answer & ~present, ~answer & present]
    auc = _auc(probabilities, present)
    mcc = None if auc is None else float(_mcc(*(np.array([each.sum()], np.float64) for each in counts))[0])
    return PresenceRow(label, int(present.sum()), int((~present).sum()), auc, mcc)


def _best_threshold(probabilities: Floats, present: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the threshold with the best MCC, the highest of equals, and that MCC."""
    order = np.argsort(-probabilities, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True))
    hit = np.cumsum(present[order])[ends].astype(np.float64)
    false = ends + 1 - hit
    mcc = _mcc(hit, false, (~present).sum() - false, present.sum() - hit)
    best = int(mcc.argmax())
    return float(probabilities[order][ends[best]]), float(mcc[best])


def _risk_coverage(confidence: Floats, wrong: NDArray[np.bool_]) -> RiskCoverage:
    """Return the curve of (N,) confidences; of equal confidences each has their mean risk."""
    order = np.argsort(-confidence, kind="stable")
    _, group = np.unique(-confidence[order], return_inverse=True)
    mean = (np.bincount(group, wrong[order].astype(np.float64)) / np.bincount(group))[group]
    risk = np.cumsum(mean) / np.arange(1, len(mean) + 1)
    rows = np.maximum(1, np.ceil(np.linspace(0, 1, _POINTS) * len(risk)).astype(int)) - 1
    return RiskCoverage((rows + 1) / len(risk), risk[rows], float(risk.mean()))
