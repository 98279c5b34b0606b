"""LVIS: the checked labels of each image, and their effect on average precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from openvocab.errors import BadInput
from openvocab.evaluate import GroundTruth, Predictions, average_precision
from openvocab.evaluate.data import load_annotated

URL = "http://images.cocodataset.org/train2017/000000000007.jpg"


def lvis(root: Path, folder: str = "", **changes: Any) -> Path:
    """One image with a cat; dogs were checked and absent, birds not annotated exhaustively, and apples not checked."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10)).save(root / folder / "000000000007.jpg")
    sides = {"height": 10, "width": 20}
    image = {"id": 7, **sides, "coco_url": URL, "neg_category_ids": [2], "not_exhaustive_category_ids": [3]} | changes
    rows = [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 1,
            "bbox": [1, 1, 4, 4],
            "area": 16,
            "segmentation": [[1, 1, 5, 1, 5, 5]],
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 3,
            "bbox": [9, 1, 4, 4],
            "area": 16,
            "segmentation": [[9, 1, 13, 1, 13, 5]],
        },
    ]
    names = [{"id": key, "name": name} for key, name in ((1, "cat"), (2, "dog"), (3, "bird"), (4, "apple"))]
    image = {key: value for key, value in image.items() if value is not None}
    (root / "lvis.json").write_text(json.dumps({"images": [image], "annotations": rows, "categories": names}))
    return root / "lvis.json"


@pytest.mark.parametrize("folder", [pytest.param("", id="by name"), pytest.param("train2017", id="by folder and name")])
def test_checked_labels_are_loaded(folder, tmp_path):
    [one] = load_annotated(str(lvis(tmp_path, folder)), "lvis").images
    assert one.checked_labels is not None and one.checked_labels.tolist() == [0, 1, 2]
    assert (one.class_ids.tolist(), one.crowd.tolist()) == ([0, 2, 2], [False, False, True])
    assert one.xyxy[2].tolist() == [0, 0, 20, 10]
    assert one.masks is not None and len(one.masks) == len(one.xyxy)


def test_renaming_labels_reindexes_checked_labels(tmp_path):
    data = load_annotated(str(lvis(tmp_path)), "lvis").with_labels(
        ["apple", "pet", "bird"], {"cat": "pet", "dog": "pet"}
    )
    [one] = data.images
    assert one.checked_labels is not None and one.checked_labels.tolist() == [1, 2]


def test_an_unmatched_box_of_a_label_that_is_not_exhaustive_is_ignored(tmp_path):
    """As in LVIS' own evaluation."""
    data = load_annotated(str(lvis(tmp_path)), "lvis")
    [one] = data.images
    truth = GroundTruth(one.height, one.width, one.xyxy, one.class_ids, one.crowd, areas=one.areas)
    boxes = np.array([[1, 1, 5, 5], [15, 5, 18, 9], [9, 1, 13, 5]], np.float32)
    found = Predictions(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 2, 2]))
    got = average_precision([truth], [found], data.labels)
    assert got.per_label == {"cat": pytest.approx(1), "bird": pytest.approx(1), "dog": None, "apple": None}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"neg_category_ids": None}, "image 7, has no list of neg_category_ids", id="no LVIS"),
        pytest.param({"neg_category_ids": [9]}, "image 7, names category 9, which has no name", id="no such category"),
        pytest.param({"coco_url": None}, "image 7, has no file_name", id="no name of the file"),
    ],
)
def test_bad_lvis(changes, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        load_annotated(str(lvis(tmp_path, **changes)), "lvis")
