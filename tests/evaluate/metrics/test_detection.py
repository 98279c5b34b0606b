"""Box and mask average precision equal pycocotools run on files; semantic IoU equals scikit-learn's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from openvocab.errors import BadInput, BadOutput
from openvocab.evaluate.metrics.detection import GroundTruth, Predictions, average_precision
from openvocab.evaluate.metrics.segmentation import mean_iou

LABELS = ["a", "b", "c", "never there"]
NAMES = ("ap", "ap50", "ap75", "small", "medium", "large", "recall_1", "recall_10", "recall_100")


def _boxes(rng: np.random.Generator, count: int) -> Any:
    """Boxes of whole pixels in an image of 140 x 160, of all three classes of size."""
    start = rng.integers(0, 40, (count, 2))
    return np.concatenate([start, start + rng.integers(3, 101, (count, 2))], axis=1).astype(np.float32)


def _masks(rng: np.random.Generator, boxes: Any) -> Any:
    """Each box with a corner cut off."""
    made = np.zeros((len(boxes), 140, 160), bool)
    for mask, (left, top, right, bottom) in zip(made, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = True
        mask[top : top + (bottom - top) // int(rng.integers(2, 6)), left : left + (right - left) // 2] = False
    return made


def synthetic(seed: int) -> tuple[list[GroundTruth], list[Predictions]]:
    """Six images with crowds, ties, images without objects or without predictions, and duplicates."""
    rng = np.random.default_rng(seed)
    truth, predictions = [], []
    for number in range(6):
        count = 0 if number == seed % 6 else int(rng.integers(1, 6))
        boxes, labels = _boxes(rng, count), rng.integers(0, 3, count)
        truth.append(GroundTruth(140, 160, boxes, labels, rng.random(count) < 0.25, _masks(rng, boxes)))
        near = np.clip(boxes + rng.integers(-4, 5, boxes.shape), 0, 140).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 2)
        extra = int(rng.integers(0, 4))
        guess = np.concatenate([near, near[:1], _boxes(rng, extra)])
        named = np.concatenate([labels, labels[:1], rng.integers(0, 4, extra)])
        if number == (seed + 3) % 6:
            guess, named = guess[:0], named[:0]
        scores = rng.integers(1, 5, len(guess)) / np.float32(4)  # four values only, so that there are ties
        predictions.append(Predictions(guess, scores.astype(np.float32), named, _masks(rng, guess)))
    return truth, predictions


def _code(mask: Any) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": code["size"], "counts": code["counts"].decode()}


def _directly(truth: list[GroundTruth], predictions: list[Predictions], kind: str, folder: Path) -> Any:
    """pycocotools as its own demo uses it, from two JSON files."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, (one, other) in enumerate(zip(truth, predictions, strict=True), 1):
        assert one.masks is not None and other.masks is not None and one.crowd is not None
        for row, (left, top, right, bottom) in enumerate(one.xyxy.tolist()):
            place, label = [left, top, right - left, bottom - top], int(one.class_ids[row]) + 1
            area, crowd, shape = int(np.asarray(one.masks[row]).sum()), int(one.crowd[row]), _code(one.masks[row])
            known = {"id": len(annotations) + 1, "image_id": number, "category_id": label, "bbox": place}
            annotations.append({**known, "area": area, "iscrowd": crowd, "segmentation": shape})
        for row, (left, top, right, bottom) in enumerate(other.xyxy.tolist()):
            place, label = [left, top, right - left, bottom - top], int(other.class_ids[row]) + 1
            said = {"bbox": place} if kind == "box" else {"segmentation": _code(other.masks[row])}
            result = {"image_id": number, "category_id": label, "score": float(other.scores[row])}
            results.append({**result, **said})
    images = [{"id": number + 1, "height": 140, "width": 160} for number in range(len(truth))]
    categories = [{"id": row, "name": label} for row, label in enumerate(LABELS, 1)]
    whole = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(whole), "utf-8")
    (folder / "found.json").write_text(json.dumps(results), "utf-8")
    annotated = COCO(folder / "truth.json")
    judge = COCOeval(annotated, annotated.loadRes(str(folder / "found.json")), "bbox" if kind == "box" else "segm")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return judge


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("seed", range(24))
def test_average_precision_is_that_of_pycocotools(seed, kind, tmp_path):
    truth, predictions = synthetic(seed)
    got = average_precision(truth, predictions, LABELS, kind)
    judge = _directly(truth, predictions, kind, tmp_path)
    for name, expected in zip(NAMES, judge.stats, strict=False):
        value = getattr(got, name)
        assert (-1 if value is None else value) == pytest.approx(expected, abs=1e-9), name
    for row, label in enumerate(LABELS):
        alone = judge.eval["precision"][:, :, row, 0, 2]
        alone = alone[alone > -1]
        expected = alone.mean() if alone.size else None
        assert got.per_label[label] == (None if expected is None else pytest.approx(expected, abs=1e-9))
    assert got.per_label["never there"] is None


def test_the_synthetic_data_have_crowds_empty_images_and_empty_predictions():
    sets = [synthetic(seed) for seed in range(24)]
    assert all(any(one.crowd is not None and one.crowd.any() for one in truth) for truth, _ in sets)
    assert all(any(not len(one.xyxy) for one in truth) for truth, _ in sets)
    assert all(any(not len(one.xyxy) for one in predictions) for _, predictions in sets)
    values = [average_precision(*one, LABELS).ap for one in sets]
    assert all(value is not None and 0.05 < value < 0.95 for value in values)


def test_ap_is_zero_without_predictions_and_none_without_objects(capsys):
    nothing = Predictions(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    object_index = GroundTruth(10, 10, np.array([[1, 1, 5, 5.0]]), np.array([0]))
    empty = GroundTruth(10, 10, np.zeros((0, 4)), np.zeros(0, int))
    assert average_precision([object_index], [nothing], ["a"]).ap == 0
    assert average_precision([empty], [nothing], ["a"]).ap is None
    right = Predictions(object_index.xyxy, np.array([0.5]), np.array([0]))
    assert average_precision([object_index], [right], ["a"]).ap == pytest.approx(1)
    assert capsys.readouterr() == ("", "")


BOX = GroundTruth(8, 8, np.array([[0, 0, 4, 4.0]]), np.array([0]))
HIT = Predictions(BOX.xyxy, np.array([1.0]), np.array([0]))


@pytest.mark.parametrize(
    ("truth", "predictions", "kind", "error", "says"),
    [
        pytest.param([], [], "box", BadInput, "at least one", id="no image"),
        pytest.param([BOX], [], "box", BadInput, "1 annotated image and 0 predictions", id="an answer is missing"),
        pytest.param([BOX], [HIT], "mask", BadInput, r"truth\[0\].masks must be \(1, 8, 8\), got none", id="no mask"),
        pytest.param(
            [GroundTruth(8, 8, np.array([[2, 2, 2, 4.0]]), np.array([0]))],
            [HIT],
            "box",
            BadInput,
            "no width or height",
            id="zero area",
        ),
        pytest.param(
            [GroundTruth(8, 8, BOX.xyxy, np.array([7]))], [HIT], "box", BadInput, r"\[0\] is 7", id="index out of range"
        ),
        pytest.param(
            [BOX],
            [Predictions(BOX.xyxy, np.array([np.nan]), np.array([0]))],
            "box",
            BadOutput,
            r"predictions\[0\]",
            id="score not finite",
        ),
    ],
)
def test_bad_input_is_named(truth, predictions, kind, error, says):
    with pytest.raises(error, match=says):
        average_precision(truth, predictions, ["a"], kind)


def test_mean_iou_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth = [rng.integers(0, 3, (9, 7)), rng.integers(0, 3, (5, 11))]
    predictions = [np.where(rng.random(each.shape) < 0.5, each, rng.integers(0, 3, each.shape)) for each in truth]
    truth[0][0, :3] = 255
    flat = [np.concatenate([each.ravel() for each in one]) for one in (truth, predictions)]
    expected = metrics.jaccard_score(flat[0][flat[0] != 255], flat[1][flat[0] != 255], labels=range(3), average=None)
    got = mean_iou(truth, predictions, ["a", "b", "c", "never there"])
    assert list(got.per_label.values()) == [*(pytest.approx(value) for value in expected), None]
    assert got.mean == pytest.approx(expected.mean())


@pytest.mark.parametrize(
    ("predictions", "says"),
    [
        pytest.param(np.zeros((2, 3), int), "must have the shape of truth", id="another shape"),
        pytest.param(np.full((2, 2), 5), r"predictions\[0\].* is 5", id="no such label"),
    ],
)
def test_mean_iou_refuses(predictions, says):
    with pytest.raises(BadInput, match=says):
        mean_iou([np.zeros((2, 2), int)], [predictions], ["a"])
