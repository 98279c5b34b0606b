"""Everything mode: proposals, distinct masks, and labels or "unknown"."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, Detections, Pipeline, Settings
from openvocab.pipeline.everything import UNKNOWN, EverythingOptions, named
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger
from openvocab.ui.cli.main import main

IMAGE = np.full((60, 80, 3), 90, np.uint8)


@dataclass(frozen=True)
class Proposer(FakeDetector):
    """Proposes the same four boxes for every image, two of them of one object."""

    min_objectness: float = 0.2

    def propose(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        xyxy = np.array([[0, 0, 20, 20], [1, 0, 20, 20], [40, 30, 70, 50], [0, 40, 10, 50]], np.float32)
        return xyxy, np.array([0.9, 0.8, 0.7, 0.05], np.float32)


@dataclass(frozen=True)
class Pointer(FakeSegmenter):
    """Segments the quarter of the image under a point."""

    def prompt(
        self, encoded: tuple[int, int], points: Any = None, point_labels: Any = None, box: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        height, width = encoded
        x, y = points[0]
        masks = np.zeros((3, height, width), np.bool_)
        top, left = int(y >= height / 2) * height // 2, int(x >= width / 2) * width // 2
        masks[1, top : top + height // 2, left : left + width // 2] = True
        return masks, np.array([0.1, 0.9, 0.2], np.float32)


def pipeline(detector: Any = None, segmenter: Any = None, scores: dict[str, float] | None = None) -> Pipeline:
    tagger = FakeTagger({"cat": 0.4, "dog": 0.9} if scores is None else scores)
    return Pipeline(tagger, detector or Proposer(), segmenter or FakeSegmenter(), Settings(0.5, box_threshold=0.5))


def test_a_detector_that_proposes_objects_gives_each_once() -> None:
    found = pipeline().everything(IMAGE, ["cat", "dog"]).detections
    assert found.labels == ("dog", "dog") and found.xyxy.tolist() == [[0, 0, 20, 20], [40, 30, 70, 50]]
    np.testing.assert_allclose(found.data["label_score"], [0.9, 0.9])
    np.testing.assert_allclose(found.detector_scores, [0.9, 0.7])


def test_a_grid_of_points_takes_the_place_of_proposals() -> None:
    found = pipeline(FakeDetector(), Pointer()).everything(IMAGE, ["cat", "dog"], points=8).detections
    assert sorted(map(tuple, found.xyxy.tolist())) == [
        (0, 0, 40, 30),
        (0, 30, 40, 60),
        (40, 0, 80, 30),
        (40, 30, 80, 60),
    ]


@pytest.mark.parametrize(
    ("threshold", "label"),
    [pytest.param(0.9, "dog", id="the threshold itself"), pytest.param(0.91, UNKNOWN, id="over every score")],
)
def test_an_object_that_no_label_fits_is_unknown(threshold: float, label: str) -> None:
    result = pipeline().everything(IMAGE, ["cat", "dog"], unknown_threshold=threshold)
    assert set(result.detections.labels) == {label}
    assert [tag.label for tag in result.tags] == ([] if label == UNKNOWN else ["dog"])
    assert result.labels == ("cat", "dog", UNKNOWN)
    assert result.run.settings["everything_unknown_threshold"] == threshold
    json.dumps(result.to_dict())


@pytest.mark.parametrize(
    ("given", "least", "objects"),
    [
        pytest.param({}, 0.8, 1, id="that of the detector"),
        pytest.param({"min_objectness": 0.7}, 0.7, 2, id="that of the caller"),
    ],
)
def test_proposals_that_score_less_are_no_objects(given: dict[str, Any], least: float, objects: int) -> None:
    result = pipeline(Proposer(min_objectness=0.8)).everything(IMAGE, ["cat"], **given)
    assert (len(result.detections), result.run.settings["everything_min_objectness"]) == (objects, least)


def test_no_object_is_an_ordinary_empty_result() -> None:
    result = pipeline().everything(IMAGE, ["cat"], min_objectness=1.0)
    assert len(result.detections) == 0 and result.tags == ()


def test_class_ids_count_unknown_after_the_labels() -> None:
    pipe = pipeline()
    boxes, scores = np.array([[0, 0, 5, 5], [5, 5, 9, 9]], np.float32), np.ones(2, np.float32)
    objects = Detections(boxes, scores, (UNKNOWN,) * 2, scores)
    table = np.array([[0.1, 0.7], [0.2, 0.1]], np.float32)
    found = named(objects, table, pipe.vocabulary(["cat", "dog"]), EverythingOptions())
    assert found.labels == ("dog", UNKNOWN) and found.class_ids.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("pipe", "labels", "options", "message"),
    [
        pytest.param(pipeline(), ["cat", UNKNOWN], {}, "leave it out of the labels", id="unknown as a label"),
        pytest.param(replace(pipeline(), segmenter=None), ["cat"], {}, "needs a segmenter", id="no segmenter"),
        pytest.param(replace(pipeline(), tagger=None), ["cat"], {}, "need a tagger", id="no tagger"),
        pytest.param(pipeline(FakeDetector()), ["cat"], {}, "takes boxes only", id="nothing proposes objects"),
        pytest.param(pipeline(), ["cat"], {"points": 0}, "points must be a whole number", id="no points"),
        pytest.param(pipeline(), ["cat"], {"mask_iou": 2.0}, "mask_iou", id="an IoU over 1"),
    ],
)
def test_what_cannot_be_answered_says_why(
    pipe: Pipeline, labels: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        pipe.everything(IMAGE, labels, **options)


def test_the_embedded_models_name_everything_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = openvocab.example_scenes()[3]
    labels = ", ".join([*scene.labels[1:], "apple"])
    assert main(["everything", str(scene.path), "--labels", labels, "--out", str(tmp_path), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    found = [each["label"] for each in row["detections"]]
    assert set(scene.labels[1:]) <= set(found) and UNKNOWN in found and "apple" not in found
    assert len(list(tmp_path.glob("*.png"))) == 1
    wanted = openvocab.load("pocket").everything(scene.path, [*scene.labels[1:], "apple"])
    assert found == list(wanted.detections.labels)
