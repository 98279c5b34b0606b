"""YOLO layouts read back with supervision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import supervision
import yaml
from scipy import ndimage

import openvocab
from openvocab.formats.detections import outline


def _read(made, masks=False):
    top = Path(made.path)
    args = (str(top / "images"), str(top / "labels"), str(top / "data.yaml"))
    return supervision.DetectionDataset.from_yolo(*args, force_masks=masks)


def _names(made):
    lines = (Path(made.path) / "images.jsonl").read_text("utf-8").splitlines()
    return {each["id"]: each for each in map(json.loads, lines)}


def test_boxes_come_back(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "yolo", "yolo", scene.labels, images="link")
    read, names = _read(made), _names(made)
    assert read.classes == list(scene.labels)
    assert len(read) == 5 and len(list(Path(made.path, "labels").iterdir())) == 5
    for row in scene.good:
        found = read.annotations[str(Path(made.path) / names[row.id]["file"])]
        count = 0 if row.detections is None else len(row.detections)
        assert len(found) == count
        if count:
            np.testing.assert_allclose(found.xyxy, row.detections.xyxy, atol=1e-3)
            assert [read.classes[place] for place in np.array(found.class_id)] == list(row.detections.labels)
    assert names[scene.rows[3].id] == {
        "name": "_cut_",
        "id": scene.rows[3].id,
        "status": "error",
        "file": None,
        "width": None,
        "height": None,
        "error_kind": "truncated",
        "error": scene.rows[3].error,
    }


def test_polygons_come_back_but_for_holes(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "seg", "yolo-seg", scene.labels, images="copy")
    read, names = _read(made), _names(made)
    found = read.annotations[str(Path(made.path) / names[scene.rows[0].id]["file"])]
    filled = np.array([ndimage.binary_fill_holes(mask) for mask in scene.masks])
    np.testing.assert_array_equal(found.mask[0], scene.masks[0])
    np.testing.assert_array_equal(found.mask[1], filled[1])
    assert not (filled & ~found.mask).any()
    assert (found.mask[2] & ~filled[2]).sum() < 40  # the lines between its three parts
    boxes = read.annotations[str(Path(made.path) / names[scene.rows[1].id]["file"])]
    np.testing.assert_allclose(boxes.xyxy, scene.rows[1].detections.xyxy, atol=1e-3)


def test_a_label_with_newline_and_quotes_survives_the_yaml(tmp_path):
    labels = ["a\nb", "'\"", "yes", "1", "null", "a: b # c", "- x", "犬🐕", "\ttab ", "x" * 300]
    made = openvocab.export([], tmp_path / "yolo", "yolo", labels)
    names = yaml.safe_load(Path(made.path, "data.yaml").read_text("utf-8"))["names"]
    assert names == dict(enumerate(labels))


def test_boxes_are_cut_at_the_edge(scene, tmp_path):
    row = scene.rows[1]
    wide = openvocab.Detections(
        np.array([[-5, -5, 50, 35]], np.float32), np.ones(1, np.float32), ("犬",), np.ones(1, np.float32)
    )

    rows = [openvocab.Row(row.id, "0" * 64, 43, 30, 1, detections=wide.encoded())]
    made = openvocab.export(rows, tmp_path / "yolo", "yolo", scene.labels)
    line = Path(made.path, "labels", "same.txt").read_text("utf-8")
    assert [float(number) for number in line.split()] == [0, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize("seed", range(40))
def test_outlines_fill_to_the_mask_without_holes(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 24, 2)
    coarse = rng.random((height // 3 + 1, width // 3 + 1)) > 0.5
    mask = coarse.repeat(3, 0).repeat(3, 1)[:height, :width] ^ (rng.random((height, width)) > 0.95)
    mask[0, 0] = True
    filled = ndimage.binary_fill_holes(mask)
    drawn = supervision.polygon_to_mask(outline(mask), (int(width), int(height))).astype(bool)
    assert not (filled & ~drawn).any()
    if ndimage.label(filled, np.ones((3, 3)))[1] == 1:
        np.testing.assert_array_equal(drawn, filled)


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029", "\u00a0", "é", "犬"])
def test_names_survive_the_separators_of_unicode(tmp_path, mark):
    names = [f"a{mark}b", mark.join("xyz"), "plain"]
    openvocab.export([], tmp_path / "out", "yolo", names)
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text("utf-8"))
    assert list(data["names"].values()) == names
