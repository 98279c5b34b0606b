"""The ImageFolder layout, loaded with datasets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import openvocab


def test_datasets_loads_images_with_objects(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    made = openvocab.export(scene.rows, tmp_path / "hf", "imagefolder", scene.labels, images="copy")
    read = datasets.load_dataset("imagefolder", data_dir=made.path, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(read) == 5
    rows = list(read)
    assert all(row["image"].size == (43, 30) for row in rows)
    for row, known in zip(rows, scene.good, strict=True):
        names = () if known.detections is None else known.detections.labels
        assert row["objects"]["category"] == list(names)
        if names:
            boxes = np.array(row["objects"]["bbox"])
            boxes[:, 2:] += boxes[:, :2]
            np.testing.assert_allclose(boxes, known.detections.xyxy, atol=1e-3)
            assert row["objects"]["counts"] == [each.rle and each.rle["counts"] for each in known.detections]
    assert rows[0]["tags"]["label"] == ["犬", 'a,"b"']


def test_images_can_stay_where_they_are(scene, tmp_path):
    options = {"relative_to": str(scene.folder)}
    made = openvocab.export(scene.rows, tmp_path / "hf", "imagefolder", scene.labels, **options)
    lines = [json.loads(line) for line in Path(made.path, "metadata.jsonl").read_text("utf-8").splitlines()]
    assert [line["file_name"] for line in lines] == [
        "a/same.png",
        "b/same.png",
        "b/same.jpg",
        "b/Same.PNG",
        "b/あ x.png",
    ]
