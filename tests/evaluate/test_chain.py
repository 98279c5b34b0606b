"""Every thing and every detection has one fate, the shares add up, and what is found is what pycocotools matches."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from openvocab.errors import BadInput
from openvocab.evaluate.chain import DETECTION_FATES, THING_FATES, chain_figures, fates
from openvocab.evaluate.detection import Found, Truth, match

LABELS = ("a", "b", "c")
SIDE = 64


def mask_of(box: Any, share: float = 1.0) -> Any:
    """The upper part of a box."""
    made = np.zeros((SIDE, SIDE), bool)
    left, top, right, bottom = (int(edge) for edge in box)
    made[top : top + max(1, round((bottom - top) * share)), left:right] = True
    return made


def truth_of(*things: tuple[str, tuple[int, int, int, int]], crowd: tuple[int, ...] = ()) -> Truth:
    boxes = np.array([box for _, box in things], np.float64).reshape(-1, 4)
    index = np.array([LABELS.index(label) for label, _ in things], np.int64)
    masks = np.array([mask_of(box) for box in boxes], bool).reshape(-1, SIDE, SIDE)
    return Truth(SIDE, SIDE, boxes, index, np.isin(np.arange(len(things)), crowd), masks)


def found_of(*detections: tuple[str, tuple[int, int, int, int]], share: float = 1.0) -> Found:
    """Detections, best first."""
    boxes = np.array([box for _, box in detections], np.float32).reshape(-1, 4)
    index = np.array([LABELS.index(label) for label, _ in detections], np.int64)
    masks = np.array([mask_of(box, share) for box in boxes], bool).reshape(-1, SIDE, SIDE)
    return Found(boxes, np.linspace(0.9, 0.5, len(detections), dtype=np.float32), index, masks)


BOX, HALF, EDGE, FAR = (10, 10, 30, 30), (10, 10, 30, 18), (10, 10, 30, 13), (40, 40, 60, 60)


@pytest.mark.parametrize(
    ("truth", "found", "tags", "things", "detections"),
    [
        pytest.param(truth_of(("a", BOX)), found_of(("a", BOX)), "a", ["found"], ["right"], id="found"),
        pytest.param(truth_of(("a", BOX)), found_of(), "", ["never tagged"], [], id="never tagged"),
        pytest.param(truth_of(("a", BOX)), found_of(), "a", ["no box"], [], id="nothing found"),
        pytest.param(truth_of(("a", BOX)), found_of(("a", FAR)), "a", ["no box"], ["background"], id="far away"),
        pytest.param(truth_of(("a", BOX)), found_of(("b", BOX)), "ab", ["wrong label"], ["wrong label"], id="label"),
        pytest.param(
            truth_of(("a", BOX)), found_of(("b", BOX)), "b", ["never tagged"], ["wrong label"], id="tag before label"
        ),
        pytest.param(truth_of(("a", BOX)), found_of(("a", HALF)), "a", ["too loose"], ["too loose"], id="loose"),
        pytest.param(
            truth_of(("a", BOX)), found_of(("b", HALF)), "ab", ["wrong label"], ["wrong label"], id="loose and wrong"
        ),
        pytest.param(
            truth_of(("a", BOX)), found_of(("a", BOX), ("a", BOX)), "a", ["found"], ["right", "duplicate"], id="double"
        ),
        pytest.param(
            truth_of(("a", BOX), ("a", BOX)),
            found_of(("a", BOX)),
            "a",
            ["no box", "found"],
            ["right"],
            id="one box for two: the later of equals takes it, as in pycocotools",
        ),
        pytest.param(
            truth_of(("a", BOX)),
            found_of(("a", EDGE), ("b", HALF)),
            "ab",
            ["wrong label"],
            ["too loose", "wrong label"],
            id="the nearest box decides",
        ),
        pytest.param(
            truth_of(("a", BOX)),
            found_of(("b", HALF), ("a", HALF)),
            "ab",
            ["too loose"],
            ["wrong label", "too loose"],
            id="of equals the one of the same label",
        ),
        pytest.param(
            truth_of(("a", BOX), ("b", BOX)),
            found_of(("a", BOX)),
            "ab",
            ["found", "no box"],
            ["right"],
            id="the box of another thing is no free box",
        ),
        pytest.param(truth_of(("a", BOX), crowd=(0,)), found_of(("a", HALF)), "a", [None], [None], id="in a crowd"),
        pytest.param(
            truth_of(("a", BOX), crowd=(0,)), found_of(("b", BOX)), "ab", [None], ["background"], id="another's crowd"
        ),
        pytest.param(truth_of(), found_of(("a", BOX)), "a", [], ["background"], id="nothing there"),
        pytest.param(truth_of(), found_of(), "", [], [], id="nothing at all"),
    ],
)
def test_fates(truth, found, tags, things, detections):
    tagged = np.array([[label in tags for label in LABELS]])
    made = fates([truth], [found], LABELS, tagged)[0]
    assert [None if row < 0 else THING_FATES[row] for row in made.things] == things
    assert [None if row < 0 else DETECTION_FATES[row] for row in made.detections] == detections


@pytest.mark.parametrize(
    ("share", "thing", "detection"),
    [
        pytest.param(1.0, "found", "right", id="good"),
        pytest.param(0.5, "found", "right", id="just good"),
        pytest.param(0.4, "bad mask", "bad mask", id="bad"),
    ],
)
@pytest.mark.parametrize("coded", [False, True], ids=["arrays", "codes"])
def test_masks_are_compared_where_a_box_is_right(share, thing, detection, coded):
    truth, found = truth_of(("a", BOX)), found_of(("a", BOX), share=share)
    if coded:
        truth = Truth(SIDE, SIDE, truth.xyxy, truth.label_index, truth.crowd, codes(truth.masks))
        found = Found(found.xyxy, found.scores, found.label_index, codes(found.masks))
    made = fates([truth], [found], LABELS, masks=True)[0]
    assert (THING_FATES[made.things[0]], DETECTION_FATES[made.detections[0]]) == (thing, detection)


def codes(masks: Any) -> Any:
    return tuple(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks)


# --- properties


def random_set(seed: int) -> tuple[Any, Any, Any]:
    """Eight images with crowds, ties, empty images, doubles, near misses and labels that were not tagged."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
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
        truth.append(Truth(SIDE, SIDE, boxes.astype(np.float64), index, crowd, masks))
        shapes = np.array([mask_of(box, rng.uniform(0.3, 1)) for box in moved[kept]], bool).reshape(-1, SIDE, SIDE)
        scores = (rng.integers(1, 5, int(kept.sum())) / 4).astype(np.float32)
        found.append(Found(moved[kept].astype(np.float32), scores, named[kept], shapes))
    return truth, found, rng.random((8, 3)) < 0.8


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
def test_the_shares_add_up_to_the_whole(seed, masks):
    truth, found, tagged = random_set(seed)
    made = fates(truth, found, LABELS, tagged, masks=masks)
    figures = chain_figures(made, truth, found, LABELS, draws=2)
    assert sum(figures.things.values()) == sum(int((~one.crowd).sum()) for one in truth)
    ignored = sum(int((one.detections < 0).sum()) for one in made)
    assert sum(figures.detections.values()) == sum(len(one.scores) for one in found) - ignored
    assert all((one.things >= 0).tolist() == (~other.crowd).tolist() for one, other in zip(made, truth, strict=True))
    assert figures.things["found"] == figures.detections["right"]
    assert figures.things["bad mask"] == figures.detections["bad mask"]
    for name, kinds in (("things", THING_FATES), ("detections", DETECTION_FATES)):
        rows = np.sum([getattr(row, name) for row in figures.rows], axis=0)
        assert dict(zip(kinds, rows.tolist(), strict=True)) == getattr(figures, name)
    if not masks:
        assert figures.things["bad mask"] == 0


def test_the_random_sets_hold_every_fate():
    every = [fates(truth, found, LABELS, tagged, masks=True) for truth, found, tagged in map(random_set, range(20))]
    things = np.unique(np.concatenate([one.things for one in itertools.chain(*every)]))
    detections = np.unique(np.concatenate([one.detections for one in itertools.chain(*every)]))
    assert things.tolist() == detections.tolist() == [-1, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_found_is_what_pycocotools_matches(seed):
    truth, found, _ = random_set(seed)
    judge = directly(truth, found)
    made = match(truth, found, LABELS)
    right = sum(int(((one["dtMatches"][0] > 0) & (one["dtIgnore"][0] == 0)).sum()) for one in judge.evalImgs if one)
    ignored = sum(int((one["dtIgnore"][0] > 0).sum()) for one in judge.evalImgs if one)
    assert sum(int((one.thing >= 0).sum()) for one in made) == right > 0
    assert sum(int(one.ignored.sum()) for one in made) == ignored
    for one in made:  # one to one
        taken = one.thing[one.thing >= 0]
        assert len(taken) == len(set(taken.tolist()))
    figures = chain_figures(fates(truth, found, LABELS), truth, found, LABELS, draws=2)
    assert figures.things["found"] == right


def directly(truth: Any, found: Any) -> Any:
    """pycocotools at IoU 0.5, without limits of size or number."""
    annotations: list[Any] = []
    results: list[Any] = []
    for image, (one, other) in enumerate(zip(truth, found, strict=True), 1):
        for row, (left, top, right, bottom) in enumerate(one.xyxy.tolist()):
            known = {"image_id": image, "category_id": int(one.label_index[row]) + 1, "area": 1.0}
            place = {"bbox": [left, top, right - left, bottom - top], "iscrowd": int(one.crowd[row])}
            annotations.append({"id": len(annotations) + 1, **known, **place})
        for row, (left, top, right, bottom) in enumerate(other.xyxy.tolist()):
            said = {"image_id": image, "category_id": int(other.label_index[row]) + 1}
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
    truth, found, tagged = random_set(seed)
    turn = np.array([2, 0, 1])
    moved = [Truth(SIDE, SIDE, one.xyxy, turn[one.label_index], one.crowd, one.masks) for one in truth]
    given = [Found(one.xyxy, one.scores, turn[one.label_index], one.masks) for one in found]
    asked = tagged[:, np.argsort(turn)]
    usual = fates(truth, found, LABELS, tagged, masks=True)
    other = fates(moved[::-1], given[::-1], LABELS, asked[::-1], masks=True)[::-1]
    for one, two in zip(usual, other, strict=True):
        np.testing.assert_array_equal(one.things, two.things)
        np.testing.assert_array_equal(one.detections, two.detections)


# --- figures


def test_figures_of_a_set_that_is_counted_by_hand():
    truth = [truth_of(("a", BOX), ("b", FAR)), truth_of(("a", BOX)), truth_of()]
    found = [found_of(("a", BOX), ("a", FAR)), found_of(), found_of(("c", BOX))]
    figures = chain_figures(fates(truth, found, LABELS), truth, found, LABELS, seed=3, draws=200)
    assert figures.precision.value == pytest.approx(1 / 3)
    assert figures.recall.value == pytest.approx(1 / 3)
    assert figures.f1.value == pytest.approx(2 / 6)
    assert figures.f1.low <= figures.f1.value <= figures.f1.high
    assert figures == chain_figures(fates(truth, found, LABELS), truth, found, LABELS, seed=3, draws=200)
    assert [row.things for row in figures.rows] == [(1, 0, 1, 0, 0, 0), (0, 0, 0, 1, 0, 0), (0, 0, 0, 0, 0, 0)]


def test_without_a_detection_precision_is_not_defined():
    truth, found = [truth_of(("a", BOX))], [found_of()]
    figures = chain_figures(fates(truth, found, LABELS), truth, found, LABELS, draws=2)
    assert np.isnan(figures.precision.value) and figures.recall.value == figures.f1.value == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"tagged": np.ones((2, 3), bool)}, r"tagged must have shape \(1, 3\)", id="tags of others"),
        pytest.param({"found": []}, "1 annotated images and 0 answers", id="no answer"),
        pytest.param({"labels": LABELS[:1], "found": [found_of(("b", BOX))]}, "label_index", id="label out of range"),
        pytest.param(
            {"masks": True, "found": [Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))]},
            "there are no masks to compare",
            id="no masks",
        ),
    ],
)
def test_bad_input(change, says):
    given = {"truth": [truth_of(("a", BOX))], "found": [found_of()], "labels": LABELS, **change}
    with pytest.raises(BadInput, match=says):
        fates(**given)


@pytest.mark.parametrize("change", [{"seed": -1}, {"draws": 0}], ids=str)
def test_bad_bootstrap(change):
    truth, found = [truth_of(("a", BOX))], [found_of()]
    with pytest.raises(BadInput, match=next(iter(change))):
        chain_figures(fates(truth, found, LABELS), truth, found, LABELS, **change)
