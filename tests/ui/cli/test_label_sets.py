"""A file with synonyms, parents and negatives goes wherever `--labels` does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import LabelSet
from openvocab.evaluate.data import load_annotated, load_labeled
from openvocab.evaluate.runs.concepts import run_concepts
from openvocab.evaluate.runs.tagger import run_tagger
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger
from openvocab.ui.cli.main import main

SET = LabelSet(["red", "thing", "light"], {"red": ["crimson"]}, {"thing": ["light"]}, ["shadow"])
TEXT = "red: [crimson]\nthing: {children: [light]}\nnegatives: [shadow]\n"
BOX = (0, 0, 20, 16)


@pytest.fixture
def labels(tmp_path: Path) -> str:
    (tmp_path / "set.yaml").write_text(TEXT, "utf-8")
    return str(tmp_path / "set.yaml")


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Two images of 40 x 32; something red fills the upper left quarter of each."""
    (tmp_path / "data").mkdir()
    whole: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "red"}]}
    for number in range(2):
        Image.new("RGB", (40, 32), (200, 20 * number, 30)).save(tmp_path / "data" / f"{number}.png")
        whole["images"].append({"id": number, "file_name": f"{number}.png", "height": 32, "width": 40})
        one = {"id": number, "image_id": number, "category_id": 1, "bbox": [*BOX], "area": 320, "iscrowd": 0}
        whole["annotations"].append(one)
    (tmp_path / "data" / "instances.json").write_text(json.dumps(whole), "utf-8")
    return tmp_path / "data" / "instances.json"


def fake(*boxes: tuple[Any, ...]) -> openvocab.Pipeline:
    """Stages whose detector knows the synonym alone."""
    detector = FakeDetector([(label, score, *BOX) for label, score in boxes])
    settings = openvocab.Settings(tag_threshold=0.0, box_threshold=0.0)
    return openvocab.Pipeline(FakeTagger(), detector, FakeSegmenter(), settings)


@pytest.mark.parametrize(
    ("boxes", "ap"),
    [
        pytest.param([("crimson", 0.7)], 1.0, id="a synonym finds the label"),
        pytest.param([("crimson", 0.7), ("shadow", 0.9)], 0.0, id="a negative takes the box"),
    ],
)
@pytest.mark.parametrize("task", ["detect", "chain", "presence"])
def test_evaluate_asks_for_the_whole_set(
    task: str, boxes: Any, ap: float, coco: Path, labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvocab, "load", lambda *_, **__: fake(*boxes))
    monkeypatch.setattr(openvocab, "load_detector", lambda *_: fake(*boxes).detector)
    given = ["--data", str(coco), "--format", "coco", "--out", str(tmp_path / "out"), "--labels", labels]
    assert main(["evaluate", task, *given]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["data"]["queries"] == SET.digest
    assert SET.digest in (tmp_path / "out" / "report.md").read_text("utf-8")
    if task == "detect":
        assert report["metrics"]["ap50"] == pytest.approx(ap)
    else:
        assert report["run"]["label_set"] == SET.digest


def test_labels_of_each_image_are_asked_for_with_their_synonyms(coco: Path) -> None:
    plain = load_annotated(str(coco), "coco").with_labels(SET)
    run = run_concepts(replace(fake(("crimson", 0.7)), segmenter=None), plain)
    assert run.record.label_set == SET.digest
    assert [[(int(each.hits[0]), each.detections) for each in image] for image in run.pairs] == [
        [(1, 1), (0, 0), (0, 0)]
    ] * 2


@pytest.mark.parametrize(
    ("given", "same"),
    [pytest.param(LabelSet(["blue", "red"]), True, id="plain"), pytest.param(SET, False, id="synonyms")],
)
def test_classify_ranks_the_best_phrase_of_each_label(given: LabelSet, same: bool, tmp_path: Path) -> None:
    for label, color in (("red", (200, 0, 0)), ("light", (250, 250, 250))):
        (tmp_path / label).mkdir()
        Image.new("RGB", (8, 8), color).save(tmp_path / label / "a.png")
    given = LabelSet(["red", "light"]) if same else given
    data = load_labeled(str(tmp_path), "imagefolder").with_labels(given)
    tagger, prompts = FakeTagger(), openvocab.prompt_set()
    run = run_tagger(tagger, data, prompts)
    features = tagger.encode_images([np.full((8, 8, 3), color, np.uint8) for color in ((250, 250, 250), (200, 0, 0))])
    rows = tagger.logits(features, tagger.encode_labels(given.phrases))
    np.testing.assert_allclose(run.logits, given.best(rows)[:, : len(given.labels)], atol=1e-6)
    assert run.labels == tuple(given.labels)


def test_relabel_reads_a_file(labels: str, tmp_path: Path) -> None:
    scene = str(openvocab.example_scenes()[0].path)
    command = ["tag", scene, "--labels", "tent, crab", "--out", str(tmp_path / "run"), "--features", "float32"]
    assert main(command) == 0
    (tmp_path / "set.yaml").write_text("shelter: [tent]\nlamp: [light bulb]\nnegatives: [crab]\n", "utf-8")
    assert main(["relabel", str(tmp_path / "run"), "--labels", labels, "--out", str(tmp_path / "new")]) == 0
    new = openvocab.read_run(tmp_path / "new")
    fresh = ["tag", scene, "--labels", labels, "--out", str(tmp_path / "fresh"), "--windows", "0"]
    assert main(fresh) == 0
    (row,), (expected,) = new, openvocab.read_run(tmp_path / "fresh")
    assert [tag.label for tag in row.tags] == [tag.label for tag in expected.tags] != []
    assert row.tags[0].score == pytest.approx(expected.tags[0].score, abs=1e-6)
    assert (new.record["label_set"], new.labels) == (openvocab.read_label_set(labels).digest, ("shelter", "lamp"))


def test_check_names_a_shared_synonym(labels: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "check", labels]) == 0
    Path(labels).write_text("tent: [wigwam]\nhut: [wigwam]\n", "utf-8")
    assert main(["labels", "check", labels]) == 1
    assert "synonym: 'wigwam' stands for 'tent' and for 'hut'; leave it out of one" in capsys.readouterr().out
    assert main(["tag", str(openvocab.example_scenes()[0].path), "--labels", labels]) == 2
    assert "'wigwam' stands for the label 'tent' and for the label 'hut'" in capsys.readouterr().err


def test_the_parent_alone_is_asked_for_behind_a_colon(labels: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(labels).write_text("shelter: {children: [tent]}\ncrab:\n", "utf-8")
    scene = str(openvocab.example_scenes()[0].path)
    command = ["tag", scene, "--json", "--labels"]
    assert main([*command, f"{labels}:shelter"]) == 0
    assert main([*command, labels]) == 0
    alone, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert [tag["label"] for tag in alone["tags"]] == ["shelter"]
    assert {tag["label"] for tag in whole["tags"]} >= {"shelter", "tent"}
