"""CVAT for images 1.1 read back with cvat_sdk and datumaro."""

from __future__ import annotations

import numpy as np
import pytest
from defusedxml import ElementTree

import openvocab


def _shapes(path):
    return [(image, list(image)) for image in ElementTree.parse(path).getroot().iter("image")]


def test_masks_and_boxes_come_back(scene, tmp_path):
    masks = pytest.importorskip("cvat_sdk.masks")
    made = openvocab.export(scene.rows, tmp_path / "annotations.xml", "cvat", scene.labels)
    images = _shapes(made.path)
    assert [image.get("name") for image, _ in images] == [row.id for row in scene.good]
    found = [shape for shape in images[0][1] if shape.tag == "mask"]
    for shape, mask in zip(found, scene.masks, strict=True):
        left, top, width, height = (int(shape.get(name)) for name in ("left", "top", "width", "height"))
        runs = [int(run) for run in shape.get("rle").split(",")]
        assert [*runs, left, top, left + width - 1, top + height - 1] == masks.encode_mask(mask)
        box = [left, top, left + width - 1, top + height - 1]
        np.testing.assert_array_equal(masks.decode_mask([*runs, *box], image_width=43, image_height=30), mask)
    boxes = [shape for shape in images[1][1] if shape.tag == "box"]
    edges = [[float(shape.get(name)) for name in ("xtl", "ytl", "xbr", "ybr")] for shape in boxes]
    np.testing.assert_allclose(edges, scene.rows[1].detections.xyxy, atol=1e-3)
    assert [shape.get("label") for shape in boxes] == list(scene.rows[1].detections.labels)
    assert [shape.get("label") for shape in images[0][1] if shape.tag == "tag"] == ["犬", 'a,"b"']


def test_labels_stand_in_order(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "annotations.xml", "cvat", scene.labels)
    names = [each.text for each in ElementTree.parse(made.path).getroot().iterfind("meta/task/labels/label/name")]
    assert names == list(scene.labels)


@pytest.mark.parametrize(
    ("shapes", "tags"),
    [
        pytest.param("mask", ["mask"] * 4, id="masks"),
        pytest.param("box", ["box"] * 4, id="boxes"),
        pytest.param("both", ["mask", "box"] * 4, id="both"),
    ],
)
def test_shapes_are_chosen(scene, tmp_path, shapes, tags):
    made = openvocab.export(scene.rows[:1], tmp_path / "a.xml", "cvat", scene.labels, shapes=shapes)
    found = [shape for shape in _shapes(made.path)[0][1] if shape.tag != "tag"]
    assert [shape.tag for shape in found] == tags
    groups = [shape.get("group_id") for shape in found]
    assert groups == (["1", "1", "2", "2", "3", "3", "4", "4"] if shapes == "both" else [None] * 4)


def test_characters_that_xml_cannot_hold_are_replaced(scene, tmp_path):
    rows = [openvocab.Row("a\x01b\nc\ufffe.png", "0" * 64, 43, 30, 1)]
    made = openvocab.export(rows, tmp_path / "a.xml", "cvat", scene.labels)
    assert _shapes(made.path)[0][0].get("name") == "a�b\nc�.png"


def test_datumaro_reads_masks_boxes_and_tags(scene, tmp_path):
    datumaro = pytest.importorskip("datumaro")
    (tmp_path / "cvat").mkdir()
    (tmp_path / "cvat" / "images").symlink_to(scene.folder)
    options = {"relative_to": str(scene.folder)}
    rows = [scene.rows[0], scene.rows[1], scene.rows[3]]  # its ids have no suffix, so that a stem may stand once only
    openvocab.export(rows, tmp_path / "cvat" / "annotations.xml", "cvat", scene.labels, **options)
    read = datumaro.Dataset.import_from(str(tmp_path / "cvat"), "cvat")
    names = [each.name for each in read.categories()[datumaro.AnnotationType.label]]
    assert names == list(scene.labels)
    items = {item.id: item.annotations for item in read}
    assert sorted(items) == ["a/same", "b/same"]
    masks = [each for each in items["a/same"] if each.type == datumaro.AnnotationType.mask]
    np.testing.assert_array_equal([each.image for each in masks], scene.masks)
    assert [names[each.label] for each in masks] == list(scene.rows[0].detections.labels)
    boxes = [each for each in items["b/same"] if each.type == datumaro.AnnotationType.bbox]
    np.testing.assert_allclose([each.points for each in boxes], scene.rows[1].detections.xyxy, atol=0.011)
