"""Pascal VOC read back with supervision and datumaro."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import supervision
from defusedxml import ElementTree

import openvocab


def test_supervision_reads_boxes_and_labels(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "voc", "voc", scene.labels, images="link")
    top = Path(made.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = supervision.DetectionDataset.from_pascal_voc(str(top / "JPEGImages"), str(top / "Annotations"))
    assert len(read) == 5 == len(list((top / "Annotations").iterdir()))
    listed = [json.loads(line) for line in (top / "images.jsonl").read_text("utf-8").splitlines()]
    for row, told in zip(scene.rows, listed, strict=True):
        assert told["id"] == row.id
        if row.detections is not None:
            found = read.annotations[str(top / told["file"])]
            np.testing.assert_allclose(found.xyxy, row.detections.xyxy, atol=1e-3)
            assert [read.classes[place] for place in np.array(found.class_id)] == list(row.detections.labels)
    assert json.loads((top / "labels.json").read_text("utf-8")) == list(scene.labels)


def test_the_file_names_the_image_and_its_size(scene, tmp_path):
    openvocab.export(scene.rows[:1], tmp_path / "voc", "voc", scene.labels)
    root = ElementTree.parse(tmp_path / "voc" / "Annotations" / "same.xml").getroot()
    assert (root.findtext("filename"), root.findtext("path")) == ("same.png", scene.rows[0].id)
    assert [root.findtext(f"size/{name}") for name in ("width", "height", "depth")] == ["43", "30", "3"]
    assert root.findtext("object/bndbox/xmin") == "2.25" and root.findtext("object/bndbox/xmax") == "20.125"


def test_datumaro_reads_boxes_and_labels(scene, tmp_path):
    datumaro = pytest.importorskip("datumaro")
    rows = [scene.rows[0], scene.rows[1]]
    made = openvocab.export(rows, tmp_path / "voc", "voc", scene.labels, images="copy")
    read = datumaro.Dataset.import_from(made.path, "voc_detection", coordinate_mode="voc-one-based")
    names = [each.name for each in read.categories()[datumaro.AnnotationType.label]]
    items = list(read)
    assert len(items) == 2
    for item in items:
        boxes = [each for each in item.annotations if each.type == datumaro.AnnotationType.bbox]
        np.testing.assert_allclose([each.points for each in boxes], scene.rows[0].detections.xyxy, atol=0.011)
        assert [names[each.label] for each in boxes] == list(scene.rows[0].detections.labels)
