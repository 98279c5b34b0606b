"""Coefficients of presence from labeled images, drawn to those that ship where the images are few.

The probability that a label is in an image is a logistic function of log-odds; see openvocab.pipeline.presence. Each
set of evidence that may be at hand gets a function: the maximum of the likelihood with a Gaussian prior around the
coefficients that ship, of the precision with the best cross-validated likelihood. A function is taken only if its
cross-validated log loss is lower than that of the one that ships in 95 % of bootstrap samples of the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.fitting.thresholds import CONFIDENCE, FOLDS
from openvocab.evaluate.metrics.bootstrap import resample_counts
from openvocab.evaluate.metrics.presence import PresencePairs, presence_metrics
from openvocab.pipeline.presence import presence_of
from openvocab.weights.presence import Logistic, PresenceModel

__all__ = ["SETS", "EvidencePairs", "PresenceFigures", "PresenceReport", "fit_logistic", "fit_presence", "log_losses"]

Floats = NDArray[np.float64]

SETS = (("image",), ("image", "window"), ("image", "box"), ("image", "window", "box"), ("box",))
"""The evidence that may be at hand: with or without windows, with or without a detector or a tagger."""
_PRECISIONS = (0.1, 1.0, 10.0, 100.0)
"""Precisions of the prior to choose from, in squared units of log-odds of standardized evidence."""
_BOOTSTRAPS = 200


@dataclass(frozen=True, eq=False, slots=True)
class EvidencePairs:
    """N pairs of image and label whose truth is known.

    Attributes:
        evidence: Name -> (N,) float32 log-odds; NaN where it was not measured.
        present: (N,) bool, whether the image has the label.
        image: (N,) int64, the image of each.
        label: (N,) int64, the label of each.
    """

    evidence: Mapping[str, NDArray[np.float32]]
    present: NDArray[np.bool_]
    image: NDArray[np.int64]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.present)

    def take(self, rows: NDArray[np.bool_]) -> EvidencePairs:
        """Return the pairs of a (N,) mask."""
        evidence = {name: values[rows] for name, values in self.evidence.items()}
        return EvidencePairs(evidence, self.present[rows], self.image[rows], self.label[rows])

    def of(self, names: Sequence[str]) -> EvidencePairs:
        """Return the pairs that have this evidence, with no other."""
        known = np.all([~np.isnan(self.evidence[name]) for name in names], axis=0)
        return replace(self, evidence={name: self.evidence[name] for name in names}).take(known)

    @property
    def table(self) -> Floats:
        """The (N, E) evidence."""
        return np.stack(list(self.evidence.values()), axis=1).astype(np.float64)


@dataclass(frozen=True, slots=True)
class PresenceFigures:
    """How well coefficients tell what is there, on images that they were not fitted on.

    Attributes:
        log_loss: Mean negative log-likelihood of the truth.
        ece: Expected calibration error in 15 bins.
        mcc: Matthews' correlation coefficient of "as likely as not"; None if all pairs are of one kind.
    """

    log_loss: float
    ece: float
    mcc: float | None


@dataclass(frozen=True, slots=True)
class PresenceReport:
    """How the coefficients of all evidence that was measured were fitted.

    Attributes:
        evidence: Its names.
        images: Images that it was fitted on.
        pairs: Pairs of image and label.
        taken: Whether the fitted coefficients are in the calibration; else those that ship are kept.
        precision: Of the prior around those that ship.
        shipped: Figures of the coefficients that ship.
        fitted: Cross-validated figures of the fit.
        threshold: Presence that as many pairs reach with the taken coefficients as reached the threshold of the
            settings with those that ship.
    """

    evidence: tuple[str, ...]
    images: int
    pairs: int
    taken: bool
    precision: float
    shipped: PresenceFigures
    fitted: PresenceFigures
    threshold: float = 0.0


def fit_logistic(
    table: Floats, truth: NDArray[np.bool_], names: Sequence[str], prior: Logistic | None = None, precision: float = 1.0
) -> Logistic:
    """Return the logistic function of the best penalized likelihood; coefficients are rounded to 4 digits.

    Args:
        table: (N, E) evidence.
        truth: (N,) bool, whether the label is present.
        names: E names of the evidence.
        prior: The mean of the Gaussian prior on the weights of standardized evidence and on the bias; None: 0 for the
            weights, and no prior on the bias.
        precision: Of the prior.
    """
    from scipy.optimize import minimize

    mean, deviation = table.mean(axis=0), table.std(axis=0) + 1e-9
    design = np.column_stack([(table - mean) / deviation, np.ones(len(table))])
    center, strength = np.zeros(len(names) + 1), np.full(len(names) + 1, precision)
    if prior is None:
        strength[-1] = 0.0
    else:
        weights = np.array([prior.weights[name] for name in names])
        center = np.append(weights * deviation, prior.bias + weights @ mean)
    sign = np.where(truth, 1.0, -1.0)

    def loss(values: Floats) -> tuple[float, Floats]:
        odds, gap = sign * (design @ values), values - center
        slope = -sign / (1 + np.exp(np.clip(odds, -500, 500)))
        return float(np.logaddexp(0, -odds).sum() + strength @ gap**2 / 2), design.T @ slope + strength * gap

    *weights, level = minimize(loss, center, jac=True, method="BFGS", options={"gtol": 1e-6}).x
    made = np.array(weights) / deviation
    rounded = {name: round(float(weight), 4) for name, weight in zip(names, made, strict=True)}
    return Logistic(round(float(level - made @ mean), 4), rounded)


def fit_presence(
    pairs: EvidencePairs, shipped: PresenceModel, seed: int = 0, source: str = "fitted", threshold: float = 0.0
) -> tuple[PresenceModel | None, PresenceReport | None]:
    """Fit the functions of the evidence that was measured.

    Args:
        pairs: Evidence and truth.
        shipped: The coefficients that ship for these models.
        seed: Of the folds and of the bootstrap.
        source: For the model.
        threshold: Of presence with the coefficients that ship, in the settings.

    Returns:
        The functions that are better than those that ship, None if none is; and the report on that of the most
        evidence, None if there is no pair to fit it on.
    """
    made, report = list[Logistic](), None
    for names in SETS:
        if not pairs.evidence.keys() >= set(names) or (prior := shipped.logistic(frozenset(names))) is None:
            continue
        some = pairs.of(names)
        if some.present.all() or not some.present.any():
            continue
        prior = Logistic(prior.bias, {name: prior.weights.get(name, 0.0) for name in names})
        own = _report(some, names, prior, shipped.relative, seed)
        if own.taken:
            made.append(fit_logistic(some.table, some.present, names, prior, own.precision))
        if report is None or len(names) > len(report.evidence):
            report = own
    model = PresenceModel(tuple(made), shipped.relative, source) if made else None
    if report is not None:
        taken = shipped if model is None else shipped.with_fitted(model)
        report = replace(report, threshold=_matched_threshold(pairs, shipped, taken, threshold))
    return model, report


def _report(pairs: EvidencePairs, names: Sequence[str], prior: Logistic, relative: bool, seed: int) -> PresenceReport:
    """Return the figures of one set of evidence: of the prior, and of the best precision by cross-validation."""
    rng, (images, image) = np.random.default_rng(seed), np.unique(pairs.image, return_inverse=True)
    folds = (rng.permutation(len(images)) % min(FOLDS, len(images)))[image]
    shipped = _probabilities(prior, pairs, relative)
    held = {each: _held_out(pairs, names, prior, relative, each, folds) for each in _PRECISIONS}
    precision = min(_PRECISIONS, key=lambda each: float(log_losses(held[each], pairs.present).sum()))
    gain = log_losses(shipped, pairs.present) - log_losses(held[precision], pairs.present)
    sums = np.bincount(image, gain, len(images))
    samples = np.concatenate([counts @ sums for counts in resample_counts(len(images), seed, _BOOTSTRAPS)])
    taken = bool((samples > 0).mean() >= CONFIDENCE)
    figures = _figures(shipped, pairs), _figures(held[precision], pairs)
    return PresenceReport(tuple(names), len(images), len(pairs), taken, precision, *figures)


def _matched_threshold(pairs: EvidencePairs, one: PresenceModel, other: PresenceModel, threshold: float) -> float:
    """Return the threshold that as many pairs reach with other coefficients as reach the given one; 0 stays 0."""
    if one is other or not threshold:
        return threshold
    before, after = (np.asarray(presence_of(each, pairs.evidence), np.float64) for each in (one, other))
    count, ordered = int((before >= threshold).sum()), np.append(np.sort(after)[::-1], 0.0)
    return round(float(ordered[count - 1] + ordered[count]) / 2, 4) if count else threshold


def _held_out(
    pairs: EvidencePairs,
    names: Sequence[str],
    prior: Logistic,
    relative: bool,
    precision: float,
    folds: NDArray[np.int64],
) -> Floats:
    """Return the (N,) probabilities from fits without the pair's fold."""
    made = np.zeros(len(pairs))
    for fold in np.unique(folds):
        inside, others = folds == fold, pairs.take(folds != fold)
        one = fit_logistic(others.table, others.present, names, prior, precision)
        made[inside] = _probabilities(one, pairs.take(inside), relative)
    return made


def _probabilities(logistic: Logistic, pairs: EvidencePairs, relative: bool) -> Floats:
    found = presence_of(PresenceModel((logistic,), relative, ""), pairs.evidence)
    return np.asarray(found, np.float64)


def log_losses(probabilities: Floats, present: NDArray[np.bool_]) -> Floats:
    """Return the (N,) negative log-likelihoods of the truth; a probability of 0 or 1 costs 14 where it is wrong."""
    sure = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return np.asarray(-np.log(np.where(present, sure, 1 - sure)))


def _figures(probabilities: Floats, pairs: EvidencePairs) -> PresenceFigures:
    names = tuple(map(str, range(int(pairs.label.max()) + 1)))
    image = np.unique(pairs.image, return_inverse=True)[1].astype(np.int64)
    given = PresencePairs(probabilities, pairs.present, image, pairs.label)
    made = presence_metrics(given, names, resamples=1)
    loss = float(log_losses(probabilities, pairs.present).mean())
    return PresenceFigures(loss, made.ece.value, None if made.mcc is None else made.mcc.value)
