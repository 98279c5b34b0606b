"""Does a pipeline know what is not there: queries of which half name a label that the image does not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.scenes import Scene

if TYPE_CHECKING:
    from openvocab import Pipeline, Vocabulary

__all__ = ["calibration_error", "correlation", "presence_figures", "queries"]

KIN = 6
"""A hard absent label is one of so many on either side of a present label; the vocabulary is ordered by theme."""


def queries(rng: np.random.Generator, present: Sequence[int], count: int) -> list[int]:
    """The present labels and as many absent ones, half of these (rounded up) hard.

    Args:
        present: label indices without repetition.
        count: how many labels the vocabulary has.
    """
    near = {at + step for at in present for step in range(-KIN, KIN + 1) if 0 <= at + step < count}
    hard = rng.permutation(sorted(near - set(present)))[: (len(present) + 1) // 2].tolist()
    rest = rng.permutation(sorted(set(range(count)) - set(present) - set(hard)))
    return [*present, *hard, *rest[: len(present) - len(hard)].tolist()]


def calibration_error(scores: NDArray[np.float64], truth: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error of (N,) probabilities in bins of equal width (Guo et al. 2017)."""
    at = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = [abs(scores[at == each].sum() - truth[at == each].sum()) for each in range(bins)]
    return float(sum(gaps) / max(len(scores), 1))


def correlation(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Matthews correlation coefficient of two (N,) arrays; 0 where one of them is constant."""
    if said.all() or truth.all() or not (said.any() and truth.any()):
        return 0.0
    return float(np.corrcoef(said, truth)[0, 1])


def presence_figures(pipe: Pipeline, vocabulary: Vocabulary, scenes: list[Scene], seed: int) -> dict[str, float]:
    """How well the presence of a label, and "the chain has a box of it", say that it is there; calibration errors.

    The chain is asked the queries of each scene alone.
    """
    said: list[bool] = []
    truth: list[bool] = []
    scores: list[float] = []
    likely: list[float] = []
    for row, scene in enumerate(scenes):
        rng = np.random.default_rng((seed, row))
        present = list(dict.fromkeys(scene.labels.tolist()))
        asked = queries(rng, present, len(vocabulary.labels))
        own = pipe.vocabulary([vocabulary.labels[at] for at in asked])
        result = pipe(scene.image, own)
        found = set(result.detections.labels)
        said += [label in found for label in own.labels]
        likely += result.presence.probabilities.tolist()
        truth += [at in present for at in asked]
        scores += pipe.tag_scores([scene.image], own)[0].tolist()
    answers, there, sure = np.array(said), np.array(truth), np.array(likely, np.float64)
    return {
        "presence MCC": correlation(sure >= 0.5, there),
        "calibration error of presence": calibration_error(sure, there),
        "presence MCC of boxes": correlation(answers, there),
        "boxes, false positives": float(answers[~there].mean()),
        "boxes, recall": float(answers[there].mean()),
        "calibration error of tags": calibration_error(np.array(scores, np.float64), there),
    }
