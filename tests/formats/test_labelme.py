"""LabelMe files read back with supervision and labelme."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import supervision
from PIL import Image

import openvocab


def _decoded(shape):
    """Draw a mask as labelme does: both corners lie inside."""
    (left, top), (right, bottom) = shape["points"]
    found = np.zeros((30, 43), np.bool_)
    inside = np.asarray(Image.open(BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
    found[top : bottom + 1, left : right + 1] = inside
    return found


def test_masks_come_back(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "lm", "labelme", scene.labels, images="link")
    files = sorted(Path(made.path).glob("*.json"))
    assert len(files) == 5
    first = json.loads(Path(made.path, "same.json").read_text("utf-8"))
    np.testing.assert_array_equal([_decoded(shape) for shape in first["shapes"]], scene.masks)
    assert [shape["label"] for shape in first["shapes"]] == list(scene.rows[0].detections.labels)
    assert first["flags"] == {"犬": True, 'a,"b"': True}
    assert (first["imagePath"], first["imageHeight"], first["imageWidth"]) == ("same.png", 30, 43)
    assert all(Path(made.path, json.loads(file.read_text("utf-8"))["imagePath"]).is_file() for file in files)


def test_labelme_reads_its_masks(scene, tmp_path):
    label_file = pytest.importorskip("labelme._label_file", exc_type=ImportError)
    made = openvocab.export(scene.rows[:1], tmp_path / "lm", "labelme", scene.labels, images="copy")
    shapes = label_file.read_label_file(str(Path(made.path, "same.json"))).shapes
    assert [shape["label"] for shape in shapes] == list(scene.rows[0].detections.labels)
    for shape, mask in zip(shapes, scene.masks, strict=True):
        (left, top), (right, bottom) = shape["points"]
        np.testing.assert_array_equal(shape["mask"], mask[top : bottom + 1, left : right + 1])


def test_supervision_reads_boxes(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "lm", "labelme", scene.labels, images="copy", shapes="box")
    (tmp_path / "json").mkdir()
    for file in Path(made.path).glob("*.json"):
        file.rename(tmp_path / "json" / file.name)
    read = supervision.DetectionDataset.from_labelme(made.path, str(tmp_path / "json"))
    found = read.annotations[str(Path(made.path, "same.png"))]
    np.testing.assert_allclose(found.xyxy, scene.rows[0].detections.xyxy, atol=1e-3)
    assert [read.classes[place] for place in np.array(found.class_id)] == list(scene.rows[0].detections.labels)


def test_both_shapes_have_a_group_and_images_are_named_from_the_folder(scene, tmp_path):
    made = openvocab.export(scene.rows[:2], tmp_path / "x" / "lm", "labelme", scene.labels, shapes="both")
    first = json.loads(Path(made.path, "same.json").read_text("utf-8"))
    assert [shape["group_id"] for shape in first["shapes"]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert Path(made.path, first["imagePath"]).resolve() == Path(scene.rows[0].id).resolve()
