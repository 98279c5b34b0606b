"""cgF1, pmF1 and IL_MCC: hand-worked values, the choice among annotators, and what must not change them.

The values of test_equal_to_sam3 come from SAM 3's evaluator (facebookresearch/sam3, 99d02f28, sam3/eval/cgf1_eval.py),
which was run on the same boxes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.concepts import PairCounts, concept_metrics, pair_counts, pairs_of
from openvocab.evaluate.metrics.detection import GroundTruth, Predictions

SIDE = 48
BOX, SHIFTED, FAR = (4, 4, 24, 24), (4, 4, 24, 19), (30, 30, 40, 40)
Boxes = list[tuple[int, int, int, int]]


def codes(boxes: Any) -> list[Any]:
    made = np.zeros((len(boxes), SIDE, SIDE), np.uint8)
    for mask, (left, top, right, bottom) in zip(made, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    return [coco_mask.encode(np.asfortranarray(mask)) for mask in made]


def truth(boxes: Boxes, crowd: list[bool] | None = None) -> GroundTruth:
    crowds = None if crowd is None else np.array(crowd, bool)
    xyxy = np.array(boxes, np.float64).reshape(-1, 4)
    return GroundTruth(SIDE, SIDE, xyxy, np.zeros(len(boxes), np.int64), crowds, codes(boxes))


def found(boxes: Boxes) -> Predictions:
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Predictions(xyxy, np.ones(len(boxes), np.float32), np.zeros(len(boxes), np.int64), codes(boxes))


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize(
    ("objects", "detections", "hits"),
    [
        pytest.param([BOX], [BOX], [1] * 10, id="exact"),
        pytest.param([BOX], [SHIFTED], [1] * 6 + [0] * 4, id="IoU 0.75"),
        pytest.param([BOX], [FAR], [0] * 10, id="elsewhere"),
        pytest.param([BOX], [SHIFTED, BOX], [1] * 10, id="two detections, one object"),
        pytest.param([BOX, FAR], [FAR], [1] * 10, id="one of two"),
        pytest.param([], [BOX], [0] * 10, id="absent and detected"),
        pytest.param([BOX], [], [0] * 10, id="missed"),
        pytest.param([], [], [0] * 10, id="absent and refused"),
    ],
)
def test_hits_of_a_pair(objects: Boxes, detections: Boxes, hits: list[int], kind: Any) -> None:
    made = pair_counts([truth(objects)], found(detections), kind)
    assert (made.hits.tolist(), made.detections, made.objects) == (hits, len(detections), len(objects))


def test_a_crowd_is_neither_object_nor_excuse() -> None:
    made = pair_counts([truth([BOX, FAR], [True, False])], found([BOX, FAR]))
    assert (made.hits[0], made.detections, made.objects) == (1, 2, 1)


@pytest.mark.parametrize(
    ("annotators", "detections", "objects"),
    [
        pytest.param([[BOX, FAR], [BOX]], [BOX], 1, id="the better fit"),
        pytest.param([[BOX], []], [], 0, id="one says absent, and nothing is detected"),
        pytest.param([[], [BOX]], [], 0, id="in either order"),
        pytest.param([[], [BOX]], [BOX], 1, id="one says present, and it is detected"),
        pytest.param([[FAR], [BOX], [BOX, FAR]], [BOX, FAR], 2, id="three annotators"),
    ],
)
def test_the_annotator_that_fits_best_counts(annotators: list[Boxes], detections: Boxes, objects: int) -> None:
    assert pair_counts([truth(each) for each in annotators], found(detections)).objects == objects


def counts(hits: int, detections: int, objects: int) -> PairCounts:
    return PairCounts(np.full(10, hits, np.int64), detections, objects)


def test_metrics_worked_by_hand() -> None:
    images = [[counts(2, 2, 2), counts(0, 0, 0)], [counts(0, 1, 0), counts(0, 0, 0)], [counts(0, 0, 1)]]
    made = concept_metrics(images, resamples=20)
    precision, recall = 2 / 2.0001, 2 / 3.0001
    f1 = 2 * precision * recall / (precision + recall + 1e-4)
    mcc = (1 * 2 - 1 * 1) / (np.sqrt(2 * 2 * 3 * 3) + 1e-6)
    assert made.pmf1.value == pytest.approx(100 * f1, abs=1e-9)
    assert made.il_mcc.value == pytest.approx(mcc, abs=1e-12)
    assert made.cgf1.value == pytest.approx(100 * f1 * mcc, abs=1e-9)
    assert made.cgf1_50 == made.cgf1_75 == pytest.approx(made.cgf1.value)
    assert (made.il_precision, made.il_recall) == pytest.approx((0.5, 0.5), abs=1e-6)
    assert made.il_fpr == pytest.approx(1 / 3, abs=1e-6) and (made.positives, made.negatives) == (2, 3)
    assert made.cgf1.low <= made.cgf1.value <= made.cgf1.high


def test_surplus_detections_count_in_positive_pairs_only() -> None:
    alone = concept_metrics([[counts(1, 1, 1)], [counts(0, 0, 0)]], resamples=2)
    assert concept_metrics([[counts(1, 1, 1)], [counts(0, 9, 0)]], resamples=2).pmf1.value == alone.pmf1.value
    assert concept_metrics([[counts(1, 2, 1)], [counts(0, 0, 0)]], resamples=2).pmf1.value < alone.pmf1.value


def rigged(seed: int) -> tuple[list[list[Boxes]], list[Boxes]]:
    """Three annotators' boxes of 12 pairs, and detections."""
    rng = np.random.default_rng(seed)

    def moved(box: Any, by: int) -> Any:
        made = np.clip(np.array(box) + rng.integers(-by, by + 1, 4), 0, SIDE)
        return tuple(int(edge) for edge in (*made[:2], *np.maximum(made[2:], made[:2] + 1)))

    base = [[(x, y, x + 12, y + 9) for x, y in rng.integers(0, 30, (pair % 4, 2)).tolist()] for pair in range(12)]
    annotators = [[[moved(box, 1) for box in boxes if rng.random() > 0.1] for boxes in base] for _ in range(3)]
    detections = [[moved(box, 1) for box in boxes if rng.random() > 0.2] for boxes in base]
    return annotators, [[*boxes, *([FAR] if pair % 5 == 0 else [])] for pair, boxes in enumerate(detections)]


SAM3 = {
    (0, "box"): (38.960865458, 50.298263188, 0.774596636),
    (0, "mask"): (38.960865458, 50.298263188, 0.774596636),
    (1, "box"): (40.017118675, 51.661880287, 0.774596636),
    (1, "mask"): (40.017118675, 51.661880287, 0.774596636),
    (2, "box"): (36.789625413, 47.495204224, 0.774596636),
    (2, "mask"): (36.789625413, 47.495204224, 0.774596636),
}
"""(seed, kind) -> cgF1, pmF1 and IL_MCC."""


@pytest.mark.parametrize(("seed", "kind"), SAM3)
def test_equal_to_sam3(seed: int, kind: Any) -> None:
    annotators, detections = rigged(seed)
    pairs = [
        [pair_counts([truth(each[row]) for each in annotators], found(boxes), kind)]
        for row, boxes in enumerate(detections)
    ]
    made = concept_metrics(pairs, resamples=2)
    assert (made.cgf1.value, made.pmf1.value, made.il_mcc.value) == pytest.approx(SAM3[seed, kind], abs=1e-6)


def test_pairs_of_an_image_leave_out_what_is_not_known() -> None:
    one = truth([BOX, FAR, SHIFTED], [False, True, False])
    one = GroundTruth(SIDE, SIDE, one.xyxy, np.array([0, 1, 2]), one.crowd, one.masks)
    other = Predictions(np.array([BOX, FAR], np.float32), np.ones(2, np.float32), np.array([0, 3]))
    made = pairs_of(one, other, "abcde", np.array([0, 1, 2, 3]))
    assert [(each.hits[0], each.detections, each.objects) for each in made] == [(1, 1, 1), (0, 0, 1), (0, 1, 0)]
    assert len(pairs_of(one, other, "abcde")) == 4


def test_neither_the_order_of_pairs_nor_that_of_images_matters() -> None:
    images = [[counts(2, 2, 3), counts(0, 0, 0)], [counts(0, 1, 0)], [counts(1, 4, 2), counts(0, 0, 2)]]
    first, other = (concept_metrics(each, resamples=2) for each in (images, [pairs[::-1] for pairs in images[::-1]]))
    assert first.cgf1.value == pytest.approx(other.cgf1.value)


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(BadInput, match="no pair of image and label"):
        concept_metrics([[]])
    with pytest.raises(BadInput, match="no annotator"):
        pair_counts([], found([]))
    bare = Predictions(np.array([BOX], np.float32), np.ones(1), np.zeros(1, int))
    with pytest.raises(BadInput, match="no masks to compare"):
        pair_counts([truth([BOX])], bare, "mask")
