"""`openvocab evaluate chain` and `segment` write complete and reproducible reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import openvocab
from openvocab.testing import FakeSegmenter, FakeTagger
from openvocab.ui.cli.main import main
from tests.helpers.stages import chain

FILES = ["errors.png", "report.json", "report.md", "worst.png"]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Three images of 40 x 32, in each of which something red fills the upper left quarter; in one there is more."""
    (tmp_path / "data").mkdir()
    images: list[Any] = []
    objects: list[Any] = []
    for number in range(3):
        Image.new("RGB", (40, 32), (200, 20 * number, 30)).save(tmp_path / "data" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 32, "width": 40})
        for place, label in (((0, 0, 20, 16), 3), ((22, 18, 12, 10), 1))[: 1 + (number == 1)]:
            left, top, wide, tall = place
            mask = np.zeros((32, 40), np.uint8)
            mask[top : top + tall, left : left + wide] = 1
            code = coco_mask.encode(np.asfortranarray(mask))
            shape = {"size": code["size"], "counts": code["counts"].decode()}
            one = {"id": len(objects), "image_id": number, "category_id": label, "bbox": place, "area": wide * tall}
            objects.append(one | {"iscrowd": 0, "segmentation": shape})
    names = [{"id": row, "name": name} for row, name in enumerate(("dark", "light", "red"), 1)]
    whole = {"images": images, "annotations": objects, "categories": names}
    (tmp_path / "data" / "instances.json").write_text(json.dumps(whole), "utf-8")
    return tmp_path / "data" / "instances.json"


@pytest.fixture
def loaded(monkeypatch):
    """Fake stages in place of those of openvocab.load; returns what each call asked for."""
    queried = []

    def load(preset=None, **given):
        queried.append((preset, {name: value for name, value in given.items() if value}))
        return chain(tag_threshold=0.0, max_tags=3)

    monkeypatch.setattr(openvocab, "load", load)
    monkeypatch.setattr(openvocab, "load_segmenter", lambda *_: FakeSegmenter())
    monkeypatch.setattr(openvocab, "load_detector", lambda *_: chain().detector)
    return queried


def run(task: str, data: Path, out: Path, *more: str) -> int:
    return main(["evaluate", task, "--data", str(data), "--format", "coco", "--out", str(out), *more])


def test_chain_writes_a_whole_report(coco, loaded, tmp_path, capsys):
    assert run("chain", coco, tmp_path / "out", "--seed", "4") == 0
    printed = capsys.readouterr().out
    assert "F1 of the chain" in printed and "not tagged" in printed and "3 images, 3 labels" in printed
    assert loaded == [("pocket", {})]
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["task"] == "chain" and report["run"]["tagger"]["sha256"] == FakeTagger().record.sha256
    assert report["bootstrap"]["seed"] == 4 and len(report["data"]["digest"]) == 64
    objects = report["metrics"]["chain"]["errors"]["objects"]
    assert sum(objects.values()) == 4
    assert report["metrics"]["true_box_masks"]["mean_iou"]["value"] == 1
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "![errors](errors.png)" in text and "![worst](worst.png)" in text and "true labels: boxes, masks" in text
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == FILES


@pytest.mark.parametrize("task", ["chain", "segment"])
def test_the_same_run_writes_the_same_files(task, coco, loaded, tmp_path):
    for name in ("one", "two"):
        assert run(task, coco, tmp_path / name) == 0
    names = sorted(each.name for each in (tmp_path / "one").iterdir())
    assert names == (FILES if task == "chain" else ["report.json", "report.md"])
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("more", "given"),
    [
        pytest.param(["--preset", "base"], ("base", {}), id="preset"),
        pytest.param(["--detector", "x:y"], (None, {"detector": "x:y"}), id="detector alone"),
        pytest.param(["--preset", "base", "--tagger", "x:y"], ("base", {"tagger": "x:y"}), id="preset and tagger"),
    ],
)
def test_chain_loads_what_is_named(more, given, coco, loaded, tmp_path):
    assert run("chain", coco, tmp_path / "out", *more) == 0
    assert loaded == [given]


def test_segment_measures_masks_from_true_boxes(coco, loaded, tmp_path, capsys):
    assert run("segment", coco, tmp_path / "out", "--limit", "2") == 0
    assert "from true boxes, mean IoU" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert (
        report["metrics"]["true_box_masks"]["objects"] == 3
        and report["metrics"]["true_box_masks"]["share"]["value"] == 1
    )
    assert report["metrics"]["detector_masks"] is None and report["run"]["detector"] is None
    assert report["metrics"]["semantic"]["mean"] == 1
    assert "true box of each object" in (tmp_path / "out" / "report.md").read_text("utf-8")


def test_segment_with_a_detector_has_mask_ap_too(coco, loaded, tmp_path, capsys):
    assert run("segment", coco, tmp_path / "out", "--detector", "x:y", "--box-threshold", "0") == 0
    assert "mask AP50" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["metrics"]["detector_masks"]["ap50"] is not None
    assert report["run"]["settings"]["box_threshold"] == 0


@pytest.mark.parametrize(
    ("task", "more", "says"),
    [
        pytest.param("chain", ["--tagger", "x:y"], "the chain needs a detector", id="no detector"),
        pytest.param("chain", ["--limit", "0"], "--limit must be", id="no image"),
        pytest.param("chain", ["--seed", "-1"], "--seed must be", id="negative seed"),
        pytest.param("chain", ["--labels", "dark"], "2 labels that are not among those given", id="labels"),
        pytest.param("chain", ["--class-map", "rot=red"], "names 'rot', which is not a label", id="class map"),
        pytest.param("chain", ["--format", "voc"], "", id="another format"),
        pytest.param("segment", ["--box-threshold", "0.5"], "give --detector too", id="threshold of no detector"),
        pytest.param("segment", ["--preset", "pocket", "--segmenter", "x:y"], "both name a segmenter", id="two"),
        pytest.param("segment", ["--preset", "pockte"], "did you mean 'pocket'", id="preset"),
        pytest.param("segment", ["--preset", "sam3"], "has no segmenter of its own", id="preset without"),
    ],
)
def test_bad_input_is_one_line(task, more, says, coco, loaded, tmp_path, capsys):
    assert run(task, coco, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err.strip()
    assert says in error and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_segment_needs_masks(coco, loaded, tmp_path, capsys):
    whole = json.loads(coco.read_text("utf-8"))
    for one in whole["annotations"]:
        del one["segmentation"]
    coco.write_text(json.dumps(whole), "utf-8")
    assert run("segment", coco, tmp_path / "out") == 2
    assert "has boxes and no masks" in capsys.readouterr().err


def test_an_unreadable_image_is_reported_and_counted(coco, loaded, tmp_path, capsys):
    (coco.parent / "1.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(coco.parent / "2.png")
    assert run("chain", coco, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "1.png" in said and "1 image has another size" in said
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["data"]["images"] == 1 and len(report["data"]["unread"]) == len(report["data"]["resized"]) == 1


def test_presence(coco, loaded, tmp_path, capsys):
    assert run("presence", coco, tmp_path / "one") == run("presence", coco, tmp_path / "two") == 0
    assert "MCC at 0.5" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["reliability.png", "report.json", "report.md", "risk_coverage.png"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    metrics = json.loads((tmp_path / "one" / "report.json").read_text("utf-8"))["metrics"]
    assert (metrics["positives"], metrics["negatives"]) == (4, 5) and len(metrics["rows"]) == 3
    assert run("presence", coco, tmp_path / "three", "--presence-threshold", "2") == 2
    assert "--presence-threshold must lie in 0 to 1" in capsys.readouterr().err
