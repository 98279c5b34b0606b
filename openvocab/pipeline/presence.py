"""Presence: the probability that a label is in an image, from what the chain computes anyway.

A label's evidence are log-odds: of the tagger on the image and on its best window, and of the detector's best box. None
of them depends on the other labels, so neither does the probability. For softmax taggers the logit is taken relative
to a fixed pool of background labels, since it means nothing alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.calibration import Calibration
from openvocab.pipeline.protocols import Background, Detector, LateFusionDetector, Tagger, TextEmbeddings
from openvocab.pipeline.scores import sigmoid
from openvocab.prompts.templates import PromptSet
from openvocab.weights.presence import PresenceModel, background_words, presence_model
from openvocab.weights.thresholds import box_threshold

__all__ = [
    "Evidence",
    "box_evidence",
    "coefficients",
    "encode_background",
    "least_evidence",
    "log_odds",
    "presence_of",
    "tag_evidence",
    "tag_log_odds",
]

Floats = NDArray[np.float32]
Evidence = Mapping[str, Floats]
"""Name -> (C,) float32 log-odds; NaN for a label that was not measured."""

_LIMIT = 20.0
"""Log-odds are clipped to this on either side; a score of 0 or 1 has infinite ones."""

_POOLS: OrderedDict[object, TextEmbeddings] = OrderedDict()
_MAX_POOLS = 8


def coefficients(
    tagger: Tagger | None, detector: Detector | None, calibration: Calibration | None = None
) -> PresenceModel:
    """Return the coefficients of these models: those of the calibration for the evidence that it has, else the shipped.

    Args:
        tagger: The tagger.
        detector: The detector.
        calibration: Fitted on labeled images; None: those that ship, or the prior.
    """
    names = tagger.record.spec if tagger else "", detector.record.spec if detector else ""
    shipped = presence_model(*names, independent=tagger is None or tagger.independent)
    fitted = None if calibration is None else calibration.presence
    return shipped if fitted is None else shipped.with_fitted(fitted)


def presence_of(model: PresenceModel, evidence: Evidence) -> Floats | None:
    """Return the probabilities that the evidence means, of its shape; None without evidence.

    A label whose box was not measured gets the function of the rest. Several images may be given at once,
    (P, C): no probability depends on another.
    """
    if not evidence:
        return None
    shape = next(iter(evidence.values())).shape
    known = {name: np.asarray(values, np.float64).ravel() for name, values in evidence.items()}
    made = np.full(len(next(iter(known.values()))), np.nan)
    patterns = np.stack([~np.isnan(values) for values in known.values()])
    whole = bool(patterns.all())
    for pattern in patterns[:, :1].T if whole else np.unique(patterns, axis=1).T:
        rows = slice(None) if whole else (patterns == pattern[:, None]).all(axis=0)
        logistic = model.logistic(frozenset(name for name, has in zip(known, pattern, strict=True) if has))
        if logistic is not None:
            parts = (weight * known[name][rows] for name, weight in logistic.weights.items())
            made[rows] = sum(parts, np.full(len(made[rows]), logistic.bias))
    return None if np.isnan(made).all() else sigmoid(np.nan_to_num(made, nan=-_LIMIT)).reshape(shape)


def tag_log_odds(tagger: Tagger, features: Floats, logits: Floats, background: Background | None) -> Floats:
    """Return the (N, C) log-odds of labels in N images, windows or crops, clipped to a finite range.

    Args:
        tagger: The tagger.
        features: (N, D) of its encode_images.
        logits: (N, C) of the labels.
        background: The labels that the logits are taken relative to; None takes them as they are.
    """
    odds = np.asarray(logits, np.float64)
    if background is not None:
        odds = _relative(odds, tagger.logits(features, background.texts), background)
    return np.clip(np.nan_to_num(odds), -_LIMIT, _LIMIT).astype(np.float32)


def tag_evidence(views: Floats) -> dict[str, Floats]:
    """Return the tagger's evidence, from the (V, C) log-odds of an image and its windows."""
    return {"image": views[0]} | ({"window": views[1:].max(axis=0)} if len(views) > 1 else {})


def least_evidence(detector: Detector | None) -> float:
    """Return the score from which on a box is evidence; 1 for a detector that scores every label, or for none.

    It is the checkpoint's own threshold whatever the settings are, so that presence depends on no threshold.
    """
    if detector is None or isinstance(detector, LateFusionDetector):
        return 1.0
    return box_threshold(detector.record.spec).value


def box_evidence(detector: Detector | None, best: Floats) -> Floats:
    """Return the (C,) log-odds of labels' best boxes; one without a box is taken to have one of half the threshold.

    Args:
        detector: The detector.
        best: (C,) scores; NaN for a label that it was not asked for.
    """
    if detector is None or isinstance(detector, LateFusionDetector):
        return log_odds(best)
    least = least_evidence(detector)
    return log_odds(np.where(best < least, least / 2, best))


def _relative(logits: NDArray[np.float64], pool: Floats, background: Background) -> NDArray[np.float64]:
    """Return (V, C) logits less the log of the summed exponentials of the (V, B) pool without the label itself."""
    relative: NDArray[np.float64] = logits - _log_sum(pool)[:, None]
    for row in np.flatnonzero(background.own >= 0):
        relative[:, row] = logits[:, row] - _log_sum(np.delete(pool, background.own[row], axis=1))
    return relative


def _log_sum(logits: Floats) -> NDArray[np.float64]:
    """Return the (V,) logs of the summed exponentials of (V, B) logits."""
    wide = np.asarray(logits, np.float64)
    best = wide.max(axis=1, keepdims=True)
    made: NDArray[np.float64] = (best + np.log(np.exp(wide - best).sum(axis=1, keepdims=True)))[:, 0]
    return made


def log_odds(scores: NDArray[Any]) -> Floats:
    """Return the log-odds of scores in 0 to 1, clipped to a finite range; NaN stays."""
    wide = np.asarray(scores, np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(wide) - np.log1p(-wide), -_LIMIT, _LIMIT), np.float32)


def encode_background(
    tagger: Tagger,
    labels: Sequence[str],
    prompts: PromptSet,
    encode: Callable[[tuple[str, ...]], TextEmbeddings] | None = None,
) -> Background | None:
    """Return the background labels, encoded with the templates of the labels; None if the tagger takes only its own.

    The last few pools are kept, by model and templates.

    Args:
        tagger: Encodes them.
        labels: The labels that are asked for.
        prompts: Their templates.
        encode: Encodes labels in place of the tagger, for example from a cache.
    """
    words, key = background_words(), (tagger.record, prompts.templates)
    texts = _POOLS.get(key) if tagger.record.sha256 else None
    if texts is None:
        try:
            texts = encode(words) if encode else tagger.encode_labels(words, prompts)
        except BadInput:
            return None
        _POOLS[key] = texts
        if len(_POOLS) > _MAX_POOLS:
            _POOLS.popitem(last=False)
    places = {word.casefold(): place for place, word in enumerate(texts.labels)}
    return Background(texts, np.array([places.get(label.casefold(), -1) for label in labels], np.intp))
