"""Answers as pairs: which boxes are right, F1 by hand, and pairs of some images."""

from __future__ import annotations

import numpy as np
import pytest

from openvocab import Detections
from openvocab.evaluate.fitting.pairs import Pairs, box_pairs, f1_of, tag_pairs
from openvocab.evaluate.metrics.detection import GroundTruth

A, B, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (60, 60, 70, 70)
SHIFTED = (0, 0, 10, 5)
"""Overlaps A by an IoU of exactly 0.5."""
OFF = (0, 0, 10, 4.9)


def found(*boxes: tuple[tuple[float, ...], float, int]) -> Detections:
    xyxy = np.array([box for box, _, _ in boxes], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in boxes], np.float32)
    ids = np.array([label for *_, label in boxes], np.int64)
    return Detections(xyxy, scores, tuple("xy"[at] for at in ids), scores, class_ids=ids)


def true(*boxes: tuple[tuple[float, ...], int], crowd: list[bool] | None = None) -> GroundTruth:
    xyxy = np.array([box for box, _ in boxes], np.float64).reshape(-1, 4)
    ids = np.array([label for _, label in boxes], np.int64)
    return GroundTruth(100, 100, xyxy, ids, None if crowd is None else np.array(crowd, np.bool_))


@pytest.mark.parametrize(
    ("boxes", "truth", "hits", "wanted"),
    [
        pytest.param([(A, 0.9, 0)], true((A, 0)), [True], 1, id="found"),
        pytest.param([(SHIFTED, 0.9, 0)], true((A, 0)), [True], 1, id="an IoU of 0.5"),
        pytest.param([(OFF, 0.9, 0)], true((A, 0)), [False], 1, id="less"),
        pytest.param([(A, 0.9, 1)], true((A, 0)), [False], 1, id="another label"),
        pytest.param([(SHIFTED, 0.9, 0), (A, 0.8, 0)], true((A, 0)), [True, False], 1, id="the best is right"),
        pytest.param([(A, 0.9, 0), (A, 0.8, 0)], true((A, 0), (A, 0)), [True, True], 2, id="two of them"),
        pytest.param([(A, 0.9, 0), (FAR, 0.8, 0)], true((A, 0), crowd=[True]), [False], 0, id="a crowd counts nothing"),
        pytest.param([], true((A, 0), (B, 1)), [], 2, id="nothing found"),
        pytest.param([(A, 0.9, 0)], true(), [False], 0, id="nothing there"),
    ],
)
def test_a_box_is_right_if_it_finds_a_free_object(
    boxes: list[object], truth: GroundTruth, hits: list[bool], wanted: int
) -> None:
    pairs = box_pairs(("x", "y"), [found(*boxes)], [truth])  # type: ignore[arg-type]
    assert pairs.hit.tolist() == hits and pairs.wanted.tolist() == [wanted]


PAIRS = Pairs(
    ("x", "y"),
    np.array([0, 0, 2, 2]),
    np.array([0, 1, 0, 1]),
    np.array([0.9, 0.2, 0.6, 0.5], np.float32),
    np.array([True, False, True, False]),
    np.array([1, 3, 1]),
)


@pytest.mark.parametrize(
    ("threshold", "wanted"),
    [
        pytest.param(0.7, 2 * 1 / (1 + 5), id="one of one"),
        pytest.param(0.55, 2 * 2 / (2 + 5), id="two of two"),
        pytest.param(0.0, 2 * 2 / (4 + 5), id="two of four"),
        pytest.param(1.0, 0.0, id="none"),
    ],
)
def test_f1_is_that_worked_by_hand(threshold: float, wanted: float) -> None:
    assert f1_of(PAIRS, PAIRS.score >= threshold) == pytest.approx(wanted)


def test_pairs_of_images_are_counted_anew() -> None:
    some = PAIRS.of_images(np.array([2, 1, 2]))
    assert some.image.tolist() == [0, 0, 2, 2] and some.label.tolist() == [0, 1, 0, 1]
    assert some.wanted.tolist() == [1, 3, 1] and some.score.tolist() == pytest.approx([0.6, 0.5, 0.6, 0.5])
    assert len(PAIRS.of_images(np.zeros(0, np.int64))) == 0


def test_labels_that_were_not_checked_are_no_pairs() -> None:
    scores, truth = np.array([[0.9, 0.1]], np.float32), np.array([[True, True]])
    pairs = tag_pairs(("x", "y"), scores, truth, np.array([[True, False]]))
    assert (pairs.label.tolist(), pairs.wanted.tolist()) == ([0], [1])
