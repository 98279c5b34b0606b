"""Each option of an export changes what is written, or is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.batch.rows import Row
from openvocab.errors import BadInput
from openvocab.formats import FORMATS
from openvocab.formats.job import Job, LabelIndex
from openvocab.formats.options import USED, ExportOptions
from openvocab.pipeline.detections import Detections
from openvocab.ui.cli.main import main

LABELS = ["=cat"]
ASKED: dict[str, Any] = {
    "images": "copy",
    "relative_to": "p",
    "prefix": "s3://b/",
    "shapes": "both",
    "raw": True,
    "match": "match.json",
}


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """An image that is there and one that is gone, in the current folder, with a mask each."""
    monkeypatch.chdir(tmp_path)
    Path("p/q").mkdir(parents=True)
    Image.new("RGB", (12, 9)).save("p/q/a.png")
    images = [{"id": 7, "file_name": "q/a.png"}, {"id": 8, "file_name": "q/b.png"}]
    Path("match.json").write_text(json.dumps({"images": images, "categories": [{"id": 9, "name": "=cat"}]}), "utf-8")
    score, box = np.array([0.75], np.float32), np.array([[1, 1, 6, 6]], np.float32)
    mask = np.zeros((1, 9, 12), np.bool_)
    mask[0, 1:5, 1:4] = True
    found = Detections(box, score, ("=cat",), score, score, mask).encoded()
    return [Row(f"p/q/{name}.png", None, 12, 9, 1, detections=found) for name in "ab"]


def written(rows: list[Row], name: str, **options: Any) -> dict[str, bytes]:
    made = Path(f"out-{name}-{len(options)}")
    openvocab.export(rows, made, name, LABELS, **options)
    files = [made] if made.is_file() else sorted(each for each in made.rglob("*") if each.is_file())
    return {str(file.relative_to(made)): file.read_bytes() for file in files}


def test_each_format_says_what_it_uses() -> None:
    assert USED.keys() == FORMATS.keys()
    assert {option for options in USED.values() for option in options} == {each.name for each in fields(ExportOptions)}
    assert ASKED.keys() == {each.name for each in fields(ExportOptions)}


@pytest.mark.parametrize("option", ASKED)
@pytest.mark.parametrize("name", FORMATS)
def test_an_option_counts_or_is_refused(name: str, option: str, rows: list[Row]) -> None:
    if option not in USED[name]:
        with pytest.raises(BadInput, match=f"{name} does not use {option}=; leave it out"):
            written(rows, name, **{option: ASKED[option]})
        return
    if name == "coco-results":
        pytest.skip("its options go together, see the next test")
    assert written(rows, name) != written(rows, name, **{option: ASKED[option]})


def test_names_of_results_need_a_file_to_be_found_in(rows: list[Row]) -> None:
    with pytest.raises(BadInput, match="give match, or leave relative_to out"):
        written(rows, "coco-results", relative_to="p")
    with pytest.raises(BadInput, match="try relative_to"):
        written(rows, "coco-results", match="match.json")
    (text,) = written(rows, "coco-results", match="match.json", relative_to="p").values()
    assert [(each["image_id"], each["category_id"]) for each in json.loads(text)] == [(7, 9), (8, 9)]


@pytest.mark.parametrize(
    ("name", "below"),
    [
        pytest.param("p/q/a.png", "q/a.png", id="inside"),
        pytest.param("p/..q/a.png", "..q/a.png", id="inside, in a folder that begins with two dots"),
        pytest.param("r/a.png", "r/a.png", id="beside"),
        pytest.param("s3://p/a.png", "s3://p/a.png", id="an address"),
    ],
)
def test_names_are_relative_to_a_folder_that_holds_them(name: str, below: str) -> None:
    job = Job(iter(()), LabelIndex(LABELS), Path("out"), ExportOptions(relative_to="p"))
    assert job.image(Row(name)) == below


@pytest.mark.parametrize("name", FORMATS)
def test_values_that_ask_for_nothing_suit_every_format(name: str, rows: list[Row]) -> None:
    usual = {each.name: each.default for each in fields(ExportOptions) if each.name != "shapes"}
    assert written(rows, name) == written(rows, name, **usual)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        pytest.param("coco", ["--shapes", "box"], id="shapes with coco"),
        pytest.param("coco", ["--images", "link"], id="images with coco"),
        pytest.param("yolo", ["--raw"], id="raw with yolo"),
        pytest.param("yolo", ["--shapes", "mask"], id="the usual shapes with yolo"),
    ],
)
def test_the_command_line_refuses_what_a_format_cannot_use(
    name: str, given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.helpers.stages import chain, save_images

    save_images(tmp_path / "p", 1)
    chain().run_to(tmp_path / "run", tmp_path / "p", ["a"])
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "run"), "--format", name, "--out", str(out), *given]) == 2
    assert f"{name} does not use {given[0]}; leave it out. It uses --" in capsys.readouterr().err
    assert not out.exists()


def test_two_rows_are_not_one_image_of_the_file_of_ids(rows: list[Row]) -> None:
    twins = [*rows, replace(rows[0], id="r/a.png")]
    Path("match.json").write_text(Path("match.json").read_text("utf-8").replace("q/", ""), "utf-8")
    with pytest.raises(BadInput, match="has one image for 'p/q/a.png' and 'r/a.png'; try relative_to"):
        written(twins, "coco-results", match="match.json")
    assert len(written(rows, "coco-results", match="match.json")) == 1
