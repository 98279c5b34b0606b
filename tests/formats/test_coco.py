"""COCO files read back with pycocotools, supervision and datumaro."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import supervision
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import openvocab
from openvocab.errors import BadInput


def test_pycocotools_reads_instances(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "out" / "coco.json", "coco", scene.labels)
    assert (made.images, made.errors, made.detections, made.unlinked) == (5, 1, 12, 0)
    coco = COCO(made.path)
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == list(scene.labels)
    assert [each["file_name"] for each in coco.dataset["images"]] == [row.id for row in scene.good]
    found = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    np.testing.assert_array_equal([coco.annToMask(each) for each in found], scene.masks)
    corners = [[x, y, x + width, y + height] for x, y, width, height in (each["bbox"] for each in found)]
    np.testing.assert_allclose(corners, scene.rows[0].detections.xyxy, atol=1e-4)
    assert [scene.labels[each["category_id"] - 1] for each in found] == list(scene.rows[0].detections.labels)
    np.testing.assert_array_equal(
        np.array([each["score"] for each in found], np.float32), scene.rows[0].detections.scores
    )
    assert {each["iscrowd"] for each in coco.dataset["annotations"]} == {0}
    assert [each["area"] for each in found] == scene.masks.sum((1, 2)).tolist()
    assert [(each["file_name"], each["error_kind"]) for each in coco.dataset["errors"]] == [
        (scene.rows[3].id, "truncated")
    ]
    assert coco.dataset["images"][3]["tags"] == [{"label": "<&>", "score": 0.5}]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_results_on_their_own_instances_score_one(scene, tmp_path, kind):
    rows = [scene.rows[0], scene.rows[5]]
    truth = COCO(openvocab.export(rows, tmp_path / "truth.json", "coco", scene.labels).path)
    results = openvocab.export(rows, tmp_path / "results.json", "coco-results", scene.labels)
    found = truth.loadRes(results.path)
    np.testing.assert_array_equal([truth.annToMask(each) for each in found.loadAnns(range(1, 5))], scene.masks)
    judge = COCOeval(truth, found, kind)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


def test_results_take_the_ids_of_another_file(scene, tmp_path):
    truth = {
        "images": [{"id": 77, "file_name": "same.png"}, {"id": 9, "file_name": "b/same.png"}],
        "categories": [{"id": 90 - place, "name": label} for place, label in enumerate(scene.labels)],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth), "utf-8")
    options = {"match": str(tmp_path / "truth.json"), "relative_to": str(scene.folder)}
    openvocab.export(scene.rows[:2], tmp_path / "out.json", "coco-results", scene.labels, **options)
    out = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert [each["image_id"] for each in out] == [77] * 4 + [9] * 4
    assert [each["category_id"] for each in out[:4]] == [90, 88, 87, 86]
    with pytest.raises(BadInput, match=r"has no image 'b/あ x.png'"):
        openvocab.export(scene.rows[5:], tmp_path / "no.json", "coco-results", scene.labels, **options)
    assert not (tmp_path / "no.json").exists()


def test_supervision_reads_instances(scene, tmp_path):
    rows = [scene.rows[0], scene.rows[1]]
    path = openvocab.export(rows, tmp_path / "coco.json", "coco", scene.labels, relative_to=str(scene.folder)).path
    read = supervision.DetectionDataset.from_coco(str(scene.folder), path)
    assert read.classes == list(scene.labels)
    for row in rows:
        found = read.annotations[str(Path(row.id).resolve())]
        np.testing.assert_allclose(found.xyxy, row.detections.xyxy, atol=1e-3)
        assert [read.classes[place] for place in np.array(found.class_id)] == list(row.detections.labels)
    np.testing.assert_array_equal(read.annotations[str(Path(rows[0].id).resolve())].mask, scene.masks)


def test_datumaro_reads_instances(scene, tmp_path):
    datumaro = pytest.importorskip("datumaro")
    path = tmp_path / "annotations" / "instances_default.json"
    (tmp_path / "images").symlink_to(scene.folder)
    rows = [scene.rows[0], scene.rows[1], scene.rows[3]]  # its ids have no suffix, so that a stem may stand once only
    openvocab.export(rows, path, "coco", scene.labels, relative_to=str(scene.folder))
    read = datumaro.Dataset.import_from(str(tmp_path), "coco")
    names = [each.name for each in read.categories()[datumaro.AnnotationType.label]]
    assert names == list(scene.labels)
    items = {item.id: item.annotations for item in read}
    assert sorted(items) == ["a/same", "b/same"]
    masks = [each for each in items["a/same"] if each.type == datumaro.AnnotationType.mask]
    masks.sort(key=lambda each: each.id)
    np.testing.assert_array_equal([each.image for each in masks], scene.masks)
    assert [names[each.label] for each in masks] == list(scene.rows[0].detections.labels)
    boxes = [each for each in items["b/same"] if each.type == datumaro.AnnotationType.bbox]
    boxes.sort(key=lambda each: each.id)
    np.testing.assert_allclose([each.points for each in boxes], scene.rows[1].detections.xyxy, atol=0.011)


@pytest.mark.parametrize("how", ["link", "copy"])
def test_fiftyone_layout(scene, tmp_path, how):
    made = openvocab.export(scene.rows, tmp_path / "fo", "fiftyone", scene.labels, images=how)
    coco = COCO(f"{made.path}/labels.json")
    files = [Path(made.path, "data", each["file_name"]) for each in coco.dataset["images"]]
    assert len({str(file).casefold() for file in files}) == 5
    assert all(file.is_file() and file.is_symlink() == (how == "link") for file in files)
    code = coco.dataset["annotations"][1]["segmentation"]
    np.testing.assert_array_equal(coco_mask.decode(code), scene.masks[1])


def test_fiftyone_without_images_names_them_from_the_root(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(scene.folder)
    rows = [openvocab.Row("a/same.png", "0" * 64, 43, 30, 1)]
    made = openvocab.export(rows, tmp_path / "fo", "fiftyone", scene.labels)
    image = json.loads(Path(made.path, "labels.json").read_text("utf-8"))["images"][0]
    assert image["file_name"] == str(scene.folder / "a" / "same.png")
