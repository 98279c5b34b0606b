"""From scores to figures: which measures suit the data and the model."""

from __future__ import annotations

from openvocab.errors import BadInput
from openvocab.evaluate.bootstrap import DRAWS
from openvocab.evaluate.classification import Classification, classify
from openvocab.evaluate.multi_label import MultiLabel, classify_multi_label
from openvocab.evaluate.scoring import Scored
from openvocab.pipeline.scores import sigmoid, softmax
from openvocab.weights.thresholds import tag_threshold

__all__ = ["measure"]


def measure(
    scored: Scored,
    multi_label: bool,
    independent: bool,
    threshold: float | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    *,
    spec: str = "",
) -> Classification | MultiLabel:
    """Return the figures of single-label or of multi-label classification.

    Labels are ranked by logit. Scores, and so confidence, are the sigmoid of each logit where the model was trained
    with one, and otherwise the softmax over the labels of the data.

    Args:
        independent: whether the model was trained with a sigmoid.
        threshold: of multi-label F1; the tagger's own where not given.
        spec: the tagger's, for its own threshold.

    Raises:
        BadInput: a threshold for single labels, or one outside 0 to 1.
        BadOutput: a score is not finite.
        MissingExtra: scikit-learn is not installed.
    """
    scores = sigmoid(scored.logits) if independent else softmax(scored.logits)
    if multi_label:
        least = tag_threshold(spec, independent=independent).value if threshold is None else threshold
        return classify_multi_label(scores, scored.truth, scored.labels, threshold=least, seed=seed, draws=draws)
    if threshold is not None:
        raise BadInput("a threshold is for images with several labels, and these have one each; leave it out")
    best, truth = scores.max(axis=1), scored.truth.argmax(axis=1)
    return classify(scored.logits, truth, scored.labels, confidence=best, seed=seed, draws=draws)
