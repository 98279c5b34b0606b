"""COCO segmentations: polygons and runs as pycocotools decodes them, and the replacement of invalid ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from openvocab.errors import OpenVocabWarning
from openvocab.evaluate.data import AnnotatedSet, load_annotated

HEIGHT, WIDTH = 10, 20
BOX = [2, 1, 5, 6]


def data_of(root: Path, *segmentations: Any) -> AnnotatedSet:
    """One image with an object of that box for each segmentation."""
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "a.png")
    rows = [
        {"id": number, "image_id": 1, "category_id": 1, "bbox": BOX, "area": 4, "iscrowd": 0} | each
        for number, each in enumerate(segmentations, 1)
    ]
    images = [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}]
    whole = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "dog"}]}
    (root / "coco.json").write_text(json.dumps(whole), "utf-8")
    return load_annotated(str(root / "coco.json"), "coco")


def pixels(data: AnnotatedSet) -> Any:
    masks = data.images[0].masks
    return None if masks is None else np.stack([coco_mask.decode(each) for each in masks])


def packed(seed: int) -> dict[str, Any]:
    """Compressed runs of a random mask."""
    drawn = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < (0.02, 0.5, 0.9)[seed % 3]
    drawn[0, seed % 20] = True
    made = coco_mask.encode(np.asfortranarray(drawn.astype(np.uint8)))
    return {"size": made["size"], "counts": made["counts"].decode()}


@pytest.mark.parametrize(
    "segmentation",
    [
        pytest.param([[2, 1, 7, 1, 7, 7, 2, 7]], id="polygon"),
        pytest.param([[2, 1, 4, 1, 4, 7], [5.5, 2.5, 7, 3, 6, 7]], id="two polygons"),
        pytest.param([[-5, -5, 40, -5, 40, 15]], id="polygon that leaves the image"),
        pytest.param({"size": [HEIGHT, WIDTH], "counts": [21, 3, 7, 3, 166]}, id="runs"),
        *(pytest.param(packed(seed), id=f"packed runs {seed}") for seed in range(12)),
    ],
)
def test_masks_are_those_of_pycocotools(segmentation, tmp_path):
    data = data_of(tmp_path, {"segmentation": segmentation})
    upstream = COCO(str(tmp_path / "coco.json"))
    assert pixels(data)[0].tolist() == upstream.annToMask(upstream.anns[1]).tolist()
    assert pixels(data).any() and not data.faults


@pytest.mark.parametrize(
    ("segmentation", "says"),
    [
        pytest.param(
            [[2, 1, 7, 1]], "invalid segmentations, replaced by their box: 1, the first in .*annotation 2", id="two"
        ),
        pytest.param([[2, 1, 7, 1, 7, 7, 2]], "invalid segmentations", id="a point without y"),
        pytest.param([[2, 1, 7, 1, 7, float("nan")]], "invalid segmentations", id="a number that is none"),
        pytest.param([2, 1, 7, 1, 7, 7], "invalid segmentations", id="no list of polygons"),
        pytest.param([[30, 30, 40, 30, 40, 40]], "segmentations without a pixel in their image", id="outside"),
        pytest.param({"size": [10, 21], "counts": [0, 210]}, "of another size than their image", id="another size"),
        pytest.param({"size": [10, 20], "counts": [5, 9]}, "invalid segmentations", id="too few runs"),
        pytest.param({"size": [10, 20], "counts": [5, -5, 200]}, "invalid segmentations", id="a run below zero"),
        pytest.param({"size": [10, 20]}, "invalid segmentations", id="no runs"),
        pytest.param({"size": [10, 20], "counts": "P"}, "invalid segmentations", id="a text that is cut short"),
        pytest.param({"size": [10, 20], "counts": " é"}, "invalid segmentations", id="another character"),
        pytest.param({"size": [10, 20], "counts": ""}, "invalid segmentations", id="an empty text"),
        pytest.param([], "objects without a segmentation", id="none among others"),
    ],
)
def test_an_invalid_segmentation_is_counted_and_replaced_by_its_box(segmentation, says, tmp_path):
    good = {"segmentation": [[0, 0, 5, 0, 5, 5]]}
    with pytest.warns(OpenVocabWarning, match=says):
        data = data_of(tmp_path, good, {"segmentation": segmentation})
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[1:7, 2:7] = 1
    assert pixels(data)[1].tolist() == expected.tolist()
    assert list(data.faults.values()) == [1]


def test_an_invalid_polygon_is_left_out(tmp_path):
    part = [2, 1, 7, 1, 7, 7, 2, 7]
    with pytest.warns(OpenVocabWarning, match="invalid polygons, left out: 1"):
        data = data_of(tmp_path, {"segmentation": [part, [1, 2, 3, 4]]}, {"segmentation": [part]})
    both = pixels(data)
    assert both[0].tolist() == both[1].tolist()


@pytest.mark.parametrize("given", [pytest.param({}, id="missing"), pytest.param({"segmentation": []}, id="empty")])
def test_data_with_boxes_only_have_no_masks(given, tmp_path):
    data = data_of(tmp_path, given)
    assert data.images[0].masks is None and not data.faults
