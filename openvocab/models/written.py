"""Answers that a model writes token by token, and the score of what it wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from openvocab.errors import BadOutput

__all__ = ["Written", "mean_probability", "token_log_probabilities"]


@dataclass(frozen=True, slots=True)
class Written:
    """One answer.

    Attributes:
        tokens: T tokens, from the first that the model chose on.
        log_probabilities: T logarithms: of each token's probability after those before it.
        cut: Whether the answer was as long as it may be, so that its end is missing.
    """

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    cut: bool


def token_log_probabilities(logits: Tensor, tokens: Tensor, cut: bool, row: int) -> Written:
    """Return an answer with the probability of each token.

    Args:
        logits: (T, vocabulary) of the model, row t for what follows token t.
        tokens: (T,) the token that the answer starts from, then the answer.
        cut: Whether the answer's end is missing.
        row: The image's index, for the message.

    Raises:
        BadOutput: a probability is not finite.
    """
    chosen = logits[:-1].float().log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
    if not chosen.isfinite().all():
        raise BadOutput(f"the model's answer for image {row} is not finite")
    return Written(tuple(tokens[1:].tolist()), tuple(chosen.tolist()), cut)


def mean_probability(log_probabilities: Sequence[float]) -> float:
    """Return the geometric mean of the probabilities of tokens: the exponential of their mean logarithm.

    It is how sure the model was of these tokens after all before them. It is not calibrated, and says nothing of
    whether there was an object to be written down.
    """
    return math.exp(sum(log_probabilities) / len(log_probabilities))
