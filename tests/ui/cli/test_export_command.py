"""`openvocab export` over a run folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from openvocab.batch.rows import Row, schema
from openvocab.batch.run_folder import describe, open_run
from openvocab.formats import FORMATS
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.result import RunRecord
from openvocab.ui.cli.main import main
from tests.helpers.stages import LABELS as STAGE_LABELS
from tests.helpers.stages import save_images, tagging

LABELS = ["犬", '=HYPERLINK("x")']


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of an image, a broken one and a member of a shard."""
    monkeypatch.chdir(tmp_path)
    Path("p").mkdir()
    Image.new("RGB", (12, 9)).save("p/a.png")
    masks = np.random.default_rng(0).random((2, 9, 12)) > 0.5
    scores = np.array([0.75, 0.5], np.float32)
    boxes = np.array([[0, 0, 12, 9], [1.5, 2, 3, 4]], np.float32)
    detections = Detections(boxes, scores, tuple(LABELS), scores, scores, masks).encoded()
    rows = [
        Row("p/a.png", hashlib.sha256(Path("p/a.png").read_bytes()).hexdigest(), 12, 9, 1, detections=detections),
        Row("p/b.png", None, None, None, None, "truncated", "cut short"),
        Row("s.tar::c.png", "0" * 64, 12, 9, 1),
    ]
    record = RunRecord("0", None, None, None, (), "", "{label}")
    with open_run(tmp_path / "run", describe(asdict(record), LABELS)) as folder:
        folder.add(rows, schema())
    return tmp_path / "run"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_is_written(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--format", name, "--out", "out"]) == 0
    said = capsys.readouterr()
    assert said.out == "2 images with 2 detections in out\n"
    assert "1 input of" in said.err and Path("out").exists()


@pytest.mark.parametrize(
    ("name", "told"), [pytest.param("voc", True, id="boxes"), pytest.param("csv", False, id="tags too")]
)
def test_a_run_of_tags_says_that_it_has_no_boxes(
    tmp_path: Path, name: str, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    tagging().run_to(tmp_path / "run", save_images(tmp_path / "p", 1), STAGE_LABELS)
    assert main(["export", str(tmp_path / "run"), "--format", name, "--out", str(tmp_path / "out")]) == 0
    assert ("holds tags alone, no boxes; openvocab annotate finds boxes" in capsys.readouterr().err) == told


def test_coco_of_a_run_has_all_its_labels(run: Path) -> None:
    assert main(["export", str(run), "--format", "coco", "--out", "a/coco.json", "--relative-to", "p"]) == 0
    coco = COCO("a/coco.json")
    assert [each["name"] for each in coco.loadCats([1, 2])] == LABELS
    assert [each["file_name"] for each in coco.dataset["images"]] == ["a.png", "s.tar::c.png"]


def test_images_that_cannot_be_copied_are_reported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--format", "yolo", "--out", "out", "--images", "copy"]) == 1
    assert "1 image could not be linked or copied" in capsys.readouterr().err
    assert sorted(path.name for path in Path("out/images").iterdir()) == ["a.png"]


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        pytest.param({"form": "yollo"}, 2, "no format named 'yollo'; did you mean 'yolo'?", id="unknown format"),
        pytest.param({"run": "p"}, 2, "p holds no run", id="no run"),
        pytest.param({"out": "p"}, 2, "p is a folder, and this format is one file", id="a folder in the way"),
        pytest.param({"out": "p/a.png/x"}, 3, "p/a.png/x cannot be written", id="no such place"),
    ],
)
def test_what_cannot_be_done_is_told(run, change, status, says, capsys):
    given = SimpleNamespace(**{"run": str(run), "form": "coco", "out": "out"} | change)
    assert main(["export", given.run, "--format", given.form, "--out", given.out]) == status
    assert says in capsys.readouterr().err


def test_options_are_passed_on(run: Path) -> None:
    arguments = ["--shapes", "both", "--prefix", "s3://b/"]
    assert main(["export", str(run), "--format", "label-studio", "--out", "out", *arguments]) == 0
    task = json.loads(Path("out/tasks.json").read_text("utf-8"))[0]
    assert task["data"]["image"] == "s3://b/p/a.png" and len(task["predictions"][0]["result"]) == 4
