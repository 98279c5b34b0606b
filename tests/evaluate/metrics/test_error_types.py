"""Every object and every detection has one error type, shares add up, and matches are those of pycocotools."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.detection import GroundTruth, Predictions, match
from openvocab.evaluate.metrics.error_types import DETECTION_ERRORS, OBJECT_ERRORS, count_errors, image_errors

LABELS = ("a", "b", "c")
SIDE = 64


def mask_of(box: Any, share: float = 1.0) -> Any:
    """The upper part of a box."""
    made = np.zeros((SIDE, SIDE), bool)
    left, top, right, bottom = (int(edge) for edge in box)
    made[top : top + max(1, round((bottom - top) * share)), left:right] = True
    return made


def truth_of(*objects: tuple[str, tuple[int, int, int, int]], crowd: tuple[int, ...] = ()) -> GroundTruth:
    boxes = np.array([box for _, box in objects], np.float64).reshape(-1, 4)
    index = np.array([LABELS.index(label) for label, _ in objects], np.int64)
    masks = np.array([mask_of(box) for box in boxes], bool).reshape(-1, SIDE, SIDE)
    return GroundTruth(SIDE, SIDE, boxes, index, np.isin(np.arange(len(objects)), crowd), masks)


def predictions_of(*detections: tuple[str, tuple[int, int, int, int]], share: float = 1.0) -> Predictions:
    """Detections, best first."""
    boxes = np.array([box for _, box in detections], np.float32).reshape(-1, 4)
    index = np.array([LABELS.index(label) for label, _ in detections], np.int64)
    masks = np.array([mask_of(box, share) for box in boxes], bool).reshape(-1, SIDE, SIDE)
    return Predictions(boxes, np.linspace(0.9, 0.5, len(detections), dtype=np.float32), index, masks)


BOX, HALF, EDGE, FAR = (10, 10, 30, 30), (10, 10, 30, 18), (10, 10, 30, 13), (40, 40, 60, 60)
JUST = (10, 10, 30, 20)


@pytest.mark.parametrize(
    ("truth", "predictions", "tags", "objects", "detections"),
    [
        pytest.param(truth_of(("a", BOX)), predictions_of(("a", BOX)), "a", ["detected"], ["correct"], id="detected"),
        pytest.param(truth_of(("a", BOX)), predictions_of(), "", ["not tagged"], [], id="not tagged"),
        pytest.param(truth_of(("a", BOX)), predictions_of(), "a", ["missed"], [], id="nothing found"),
        pytest.param(truth_of(("a", BOX)), predictions_of(("a", FAR)), "a", ["missed"], ["background"], id="far away"),
        pytest.param(
            truth_of(("a", BOX)), predictions_of(("b", BOX)), "ab", ["classification"], ["classification"], id="label"
        ),
        pytest.param(
            truth_of(("a", BOX)),
            predictions_of(("b", BOX)),
            "b",
            ["not tagged"],
            ["classification"],
            id="tag before label",
        ),
        pytest.param(
            truth_of(("a", BOX)), predictions_of(("a", HALF)), "a", ["localization"], ["localization"], id="loose"
        ),
        pytest.param(
            truth_of(("a", BOX)),
            predictions_of(("b", HALF)),
            "ab",
            ["both"],
            ["both"],
            id="loose and wrong",
        ),
        pytest.param(
            truth_of(("a", BOX)),
            predictions_of(("b", JUST)),
            "ab",
            ["classification"],
            ["classification"],
            id="IoU 0.5 and wrong: the label alone",
        ),
        pytest.param(
            truth_of(("a", BOX)),
            predictions_of(("a", BOX), ("a", BOX)),
            "a",
            ["detected"],
            ["correct", "duplicate"],
            id="double",
        ),
        pytest.param(
            truth_of(("a", BOX), ("a", BOX)),
            predictions_of(("a", BOX)),
            "a",
            ["missed", "detected"],
            ["correct"],
            id="one box for two: the later of equals takes it, as in pycocotools",
        ),
        pytest.param(
            truth_of(("a", BOX)),
            predictions_of(("a", EDGE), ("b", HALF)),
            "ab",
            ["both"],
            ["localization", "both"],
            id="the nearest box decides",
        ),
        pytest.param(
            truth_of(("a", BOX)),
            predictions_of(("b", HALF), ("a", HALF)),
            "ab",
            ["localization"],
            ["both", "localization"],
            id="of equals the one of the same label",
        ),
        pytest.param(
            truth_of(("a", BOX), ("b", BOX)),
            predictions_of(("a", BOX)),
            "ab",
            ["detected", "missed"],
            ["correct"],
            id="the box of another object is no free box",
        ),
        pytest.param(
            truth_of(("a", BOX), crowd=(0,)), predictions_of(("a", HALF)), "a", [None], [None], id="in a crowd"
        ),
        pytest.param(
            truth_of(("a", BOX), crowd=(0,)),
            predictions_of(("b", BOX)),
            "ab",
            [None],
            ["background"],
            id="another's crowd",
        ),
        pytest.param(truth_of(), predictions_of(("a", BOX)), "a", [], ["background"], id="nothing there"),
        pytest.param(truth_of(), predictions_of(), "", [], [], id="nothing at all"),
    ],
)
def test_error_types(truth, predictions, tags, objects, detections):
    tagged = np.array([[label in tags for label in LABELS]])
    made = image_errors([truth], [predictions], LABELS, tagged)[0]
    assert [None if row < 0 else OBJECT_ERRORS[row] for row in made.objects] == objects
    assert [None if row < 0 else DETECTION_ERRORS[row] for row in made.detections] == detections


@pytest.mark.parametrize(
    ("share", "kind", "detection"),
    [
        pytest.param(1.0, "detected", "correct", id="good"),
        pytest.param(0.5, "detected", "correct", id="just good"),
        pytest.param(0.4, "mask", "mask", id="bad"),
    ],
)
@pytest.mark.parametrize("coded", [False, True], ids=["arrays", "codes"])
def test_masks_are_compared_where_a_box_is_right(share, kind, detection, coded):
    truth, predictions = truth_of(("a", BOX)), predictions_of(("a", BOX), share=share)
    if coded:
        truth = GroundTruth(SIDE, SIDE, truth.xyxy, truth.class_ids, truth.crowd, codes(truth.masks))
        predictions = Predictions(predictions.xyxy, predictions.scores, predictions.class_ids, codes(predictions.masks))
    made = image_errors([truth], [predictions], LABELS, masks=True)[0]
    assert (OBJECT_ERRORS[made.objects[0]], DETECTION_ERRORS[made.detections[0]]) == (kind, detection)


def codes(masks: Any) -> Any:
    return tuple(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks)


# --- properties


def random_set(seed: int) -> tuple[Any, Any, Any]:
    """Eight images with crowds, ties, empty images, duplicates, near misses and labels that were not queried."""
    rng = np.random.default_rng(seed)
    truth, predictions = [], []
    for number in range(8):
        count = 0 if number == seed % 8 else int(rng.integers(1, 6))
        start = rng.integers(0, 36, (count, 2))
        boxes = np.concatenate([start, start + rng.integers(6, 28, (count, 2))], axis=1)
        index = rng.integers(0, 3, count)
        moved = np.clip(np.repeat(boxes, 2, axis=0) + rng.integers(-7, 8, (2 * count, 4)), 0, SIDE)
        moved[:, 2:] = np.clip(np.maximum(moved[:, 2:], moved[:, :2] + 2), 0, SIDE)
        moved[:, :2] = np.minimum(moved[:, :2], moved[:, 2:] - 1)
        kept = rng.random(2 * count) < 0.7
        named = np.where(rng.random(2 * count) < 0.7, np.repeat(index, 2), rng.integers(0, 3, 2 * count))
        masks = np.array([mask_of(box) for box in boxes], bool).reshape(-1, SIDE, SIDE)
        crowd = rng.random(count) < 0.2
        truth.append(GroundTruth(SIDE, SIDE, boxes.astype(np.float64), index, crowd, masks))
        shapes = np.array([mask_of(box, rng.uniform(0.3, 1)) for box in moved[kept]], bool).reshape(-1, SIDE, SIDE)
        scores = (rng.integers(1, 5, int(kept.sum())) / 4).astype(np.float32)
        predictions.append(Predictions(moved[kept].astype(np.float32), scores, named[kept], shapes))
    return truth, predictions, rng.random((8, 3)) < 0.8


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
def test_the_shares_add_up_to_the_whole(seed, masks):
    truth, predictions, tagged = random_set(seed)
    made = image_errors(truth, predictions, LABELS, tagged, masks=masks)
    metrics = count_errors(made, truth, predictions, LABELS, resamples=2)
    assert sum(metrics.objects.values()) == sum(int((~one.crowd).sum()) for one in truth)
    ignored = sum(int((one.detections < 0).sum()) for one in made)
    assert sum(metrics.detections.values()) == sum(len(one.scores) for one in predictions) - ignored
    assert all((one.objects >= 0).tolist() == (~other.crowd).tolist() for one, other in zip(made, truth, strict=True))
    assert metrics.objects["detected"] == metrics.detections["correct"]
    assert metrics.objects["mask"] == metrics.detections["mask"]
    for name, kinds in (("objects", OBJECT_ERRORS), ("detections", DETECTION_ERRORS)):
        rows = np.sum([getattr(row, name) for row in metrics.rows], axis=0)
        assert dict(zip(kinds, rows.tolist(), strict=True)) == getattr(metrics, name)
    if not masks:
        assert metrics.objects["mask"] == 0


def test_the_random_sets_hold_every_error_type():
    every = [
        image_errors(truth, predictions, LABELS, tagged, masks=True)
        for truth, predictions, tagged in map(random_set, range(20))
    ]
    objects = np.unique(np.concatenate([one.objects for one in itertools.chain(*every)]))
    detections = np.unique(np.concatenate([one.detections for one in itertools.chain(*every)]))
    assert objects.tolist() == detections.tolist() == [-1, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", range(20))
def test_detected_objects_are_those_that_pycocotools_matches(seed):
    truth, predictions, _ = random_set(seed)
    judge = directly(truth, predictions)
    made = match(truth, predictions, LABELS)
    right = sum(int(((one["dtMatches"][0] > 0) & (one["dtIgnore"][0] == 0)).sum()) for one in judge.evalImgs if one)
    ignored = sum(int((one["dtIgnore"][0] > 0).sum()) for one in judge.evalImgs if one)
    assert sum(int((one.object_ids >= 0).sum()) for one in made) == right > 0
    assert sum(int(one.ignored.sum()) for one in made) == ignored
    for one in made:  # one to one
        taken = one.object_ids[one.object_ids >= 0]
        assert len(taken) == len(set(taken.tolist()))
    metrics = count_errors(image_errors(truth, predictions, LABELS), truth, predictions, LABELS, resamples=2)
    assert metrics.objects["detected"] == right


def directly(truth: Any, predictions: Any) -> Any:
    """pycocotools at IoU 0.5, without limits of size or number."""
    annotations: list[Any] = []
    results: list[Any] = []
    for image, (one, other) in enumerate(zip(truth, predictions, strict=True), 1):
        for row, (left, top, right, bottom) in enumerate(one.xyxy.tolist()):
            known = {"image_id": image, "category_id": int(one.class_ids[row]) + 1, "area": 1.0}
            place = {"bbox": [left, top, right - left, bottom - top], "iscrowd": int(one.crowd[row])}
            annotations.append({"id": len(annotations) + 1, **known, **place})
        for row, (left, top, right, bottom) in enumerate(other.xyxy.tolist()):
            said = {"image_id": image, "category_id": int(other.class_ids[row]) + 1}
            place = {"bbox": [left, top, right - left, bottom - top], "score": float(other.scores[row])}
            results.append({**said, **place})
    coco = COCO()
    images = [{"id": image} for image in range(1, len(truth) + 1)]
    names = [{"id": row, "name": label} for row, label in enumerate(LABELS, 1)]
    coco.dataset = {"info": {}, "images": images, "annotations": annotations, "categories": names}
    coco.createIndex()
    judge = COCOeval(coco, coco.loadRes(results), "bbox")
    judge.params.iouThrs, judge.params.areaRng = np.array([0.5]), [[0, 1e10]]
    judge.params.areaRngLbl, judge.params.maxDets = ["all"], [1000]
    judge.evaluate()
    return judge


@pytest.mark.parametrize("seed", range(5))
def test_neither_the_order_of_labels_nor_that_of_images_matters(seed):
    truth, predictions, tagged = random_set(seed)
    turn = np.array([2, 0, 1])
    moved = [GroundTruth(SIDE, SIDE, one.xyxy, turn[one.class_ids], one.crowd, one.masks) for one in truth]
    given = [Predictions(one.xyxy, one.scores, turn[one.class_ids], one.masks) for one in predictions]
    queried = tagged[:, np.argsort(turn)]
    usual = image_errors(truth, predictions, LABELS, tagged, masks=True)
    other = image_errors(moved[::-1], given[::-1], LABELS, queried[::-1], masks=True)[::-1]
    for one, two in zip(usual, other, strict=True):
        np.testing.assert_array_equal(one.objects, two.objects)
        np.testing.assert_array_equal(one.detections, two.detections)


# --- figures


def test_counts_of_a_set_counted_by_hand():
    truth = [truth_of(("a", BOX), ("b", FAR)), truth_of(("a", BOX)), truth_of()]
    predictions = [predictions_of(("a", BOX), ("a", FAR)), predictions_of(), predictions_of(("c", BOX))]
    metrics = count_errors(image_errors(truth, predictions, LABELS), truth, predictions, LABELS, seed=3, resamples=200)
    assert metrics.precision.value == pytest.approx(1 / 3)
    assert metrics.recall.value == pytest.approx(1 / 3)
    assert metrics.f1.value == pytest.approx(2 / 6)
    assert metrics.f1.low <= metrics.f1.value <= metrics.f1.high
    assert metrics == count_errors(
        image_errors(truth, predictions, LABELS), truth, predictions, LABELS, seed=3, resamples=200
    )
    assert [row.objects for row in metrics.rows] == [(1, 0, 1, 0, 0, 0, 0), (0, 0, 0, 1, 0, 0, 0), (0,) * 7]


def test_without_a_detection_precision_is_not_defined():
    truth, predictions = [truth_of(("a", BOX))], [predictions_of()]
    metrics = count_errors(image_errors(truth, predictions, LABELS), truth, predictions, LABELS, resamples=2)
    assert np.isnan(metrics.precision.value) and metrics.recall.value == metrics.f1.value == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"queried": np.ones((2, 3), bool)}, r"queried must have shape \(1, 3\)", id="tags of others"),
        pytest.param({"predictions": []}, "1 annotated image and 0 predictions", id="no answer"),
        pytest.param(
            {"labels": LABELS[:1], "predictions": [predictions_of(("b", BOX))]}, "class_ids", id="label out of range"
        ),
        pytest.param(
            {"masks": True, "predictions": [Predictions(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))]},
            "there are no masks to compare",
            id="no masks",
        ),
    ],
)
def test_bad_input(change, says):
    given = {"truth": [truth_of(("a", BOX))], "predictions": [predictions_of()], "labels": LABELS, **change}
    with pytest.raises(BadInput, match=says):
        image_errors(**given)


@pytest.mark.parametrize("change", [{"seed": -1}, {"resamples": 0}], ids=str)
def test_bad_bootstrap(change):
    truth, predictions = [truth_of(("a", BOX))], [predictions_of()]
    with pytest.raises(BadInput, match=next(iter(change))):
        count_errors(image_errors(truth, predictions, LABELS), truth, predictions, LABELS, **change)
