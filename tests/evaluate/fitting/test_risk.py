"""Conformal risk control: cases worked by hand, and the bound over many draws."""

from __future__ import annotations

import numpy as np
import pytest

from openvocab import BadInput
from openvocab.evaluate.fitting.pairs import Pairs
from openvocab.evaluate.fitting.risk import control_risk, miss_rate, needed_images, threshold_of


def answers(images: list[int], scores: list[float], wanted: list[int], hits: list[int] | None = None) -> Pairs:
    """Answers for images, all of one label; all are right unless hits says otherwise."""
    right = np.ones(len(images), np.bool_) if hits is None else np.array(hits, np.bool_)
    counts = np.array(wanted, np.int64)
    return Pairs(("a",), np.array(images), np.zeros(len(images), np.int64), np.array(scores, np.float32), right, counts)


NINE = answers(list(range(9)), [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], [1] * 9)


@pytest.mark.parametrize(
    ("pairs", "risk", "wanted"),
    [
        # (missed + 1) / (9 + 1) <= risk
        pytest.param(NINE, 0.1, 0.1, id="of nine none may be missed"),
        pytest.param(NINE, 0.2, 0.2, id="of nine one may be missed"),
        pytest.param(NINE, 0.39, 0.3, id="of nine two may be missed: 3 / 10, and not three: 4 / 10"),
        pytest.param(NINE, 0.4, 0.4, id="of nine three may be missed"),
        # images with two objects: half of a miss each; (0.5 + 1) / 5 = 0.3, (1 + 1) / 5 = 0.4
        pytest.param(
            answers([0, 0, 1, 1, 2, 2, 3, 3], [0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.5], [2] * 4), 0.3, 0.2, id="halves"
        ),
        # images without an object cost nothing: (missed + 1) / 5 with 2 images of an object
        pytest.param(answers([0, 1], [0.9, 0.4], [1, 1, 0, 0]), 0.4, 0.9, id="images without an object"),
        pytest.param(answers([0, 1], [0.9, 0.4], [1, 1, 0, 0]), 0.2, 0.4, id="the same under a smaller risk"),
        # wrong answers cost nothing; a tie is admitted as a whole
        pytest.param(
            answers([0, 0, 1, 2, 3], [0.9, 0.95, 0.5, 0.5, 0.5], [1] * 4, [1, 0, 1, 1, 1]), 0.4, 0.5, id="a tie"
        ),
    ],
)
def test_the_threshold_is_that_worked_by_hand(pairs: Pairs, risk: float, wanted: float) -> None:
    made = control_risk(pairs, pairs.score, risk)
    assert made.threshold is not None and made.threshold == pytest.approx(wanted, abs=1e-6)
    assert made.threshold < np.float32(wanted)  # so that the answer itself is over it
    missed = float(miss_rate(pairs, pairs.score > made.threshold).sum())
    assert (missed + 1) / (made.images + 1) <= risk + 1e-12


@pytest.mark.parametrize(
    ("pairs", "lowest"),
    [
        pytest.param(answers([0, 1], [0.9, 0.8], [1] * 9), 7 / 9, id="objects that no answer finds"),
        pytest.param(answers(list(range(9)), [0.5] * 8 + [0.0], [1] * 9), 0.0, id="an answer of score 0"),
    ],
)
def test_a_bound_that_no_threshold_keeps_has_none(pairs: Pairs, lowest: float) -> None:
    made = control_risk(pairs, pairs.score, 0.1)
    assert (made.threshold, made.held_out) == (None, None) and made.lowest == pytest.approx(lowest)


@pytest.mark.parametrize(
    ("risk", "images"), [pytest.param(0.1, 9, id="0.1"), pytest.param(0.5, 1, id="0.5"), pytest.param(0.3, 3, id="0.3")]
)
def test_a_bound_needs_so_many_images(risk: float, images: int) -> None:
    assert needed_images(risk) == images and 1 / (images + 1) <= risk < 1 / images
    enough = answers(list(range(images)), [0.5] * images, [1] * images)
    assert control_risk(enough, enough.score, risk).threshold is not None
    few = enough.of_images(np.arange(images - 1))
    with pytest.raises(BadInput, match=f"needs {images} images beside those of the fit, got {images - 1}"):
        control_risk(few, few.score, risk)
    with pytest.raises(BadInput, match="over 0 and under 1"):
        control_risk(enough, enough.score, 1.0)


def drawn(rng: np.random.Generator, images: int) -> Pairs:
    """Images of 0 to 4 objects; the objects of an image are easy or hard together, and one in 50 is never found."""
    wanted = rng.integers(0, 5, images)
    image = np.repeat(np.arange(images), wanted)
    scores = 1 / (1 + np.exp(-rng.normal(rng.normal(1, 1, images)[image], 0.5)))
    found = rng.random(len(image)) >= 0.02
    label = np.zeros(int(found.sum()), np.int64)
    return Pairs(("a",), image[found], label, scores[found].astype(np.float32), np.ones(len(label), np.bool_), wanted)


@pytest.mark.parametrize("risk", [pytest.param(0.1, id="0.1"), pytest.param(0.3, id="0.3")])
def test_the_bound_holds_on_average_over_many_draws_and_is_not_loose(risk: float) -> None:
    rng, rates, images = np.random.default_rng(11), [], 40
    for _ in range(400):
        pairs = drawn(rng, images + 100)
        chosen, new = pairs.of_images(np.arange(images)), pairs.of_images(np.arange(images, images + 100))
        threshold = threshold_of(chosen, chosen.score, risk)
        rates.append(miss_rate(new, new.score > (-1.0 if threshold is None else threshold)).mean())
    error = float(np.std(rates) / np.sqrt(len(rates)))
    assert np.mean(rates) <= risk + 2 * error
    assert np.mean(rates) >= risk - 2 / (images + 1) - 2 * error  # the paper's lower bound, for a loss of at most 1


def test_the_coverage_shown_is_that_of_held_out_halves() -> None:
    pairs = drawn(np.random.default_rng(5), 400)
    made, again = (control_risk(pairs, pairs.score, 0.2, seed=3) for _ in range(2))
    assert made == again and made.held_out == pytest.approx(0.2, abs=0.02) and 0.2 < (made.held_out_share or 0) < 0.9
