"""A class id is a label's place in the vocabulary that the caller gave, wherever there is one."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, Pipeline, Result
from openvocab.ui.cli.main import main
from tests.helpers.stages import chain, save_images

LABELS = ("dark", "zebra", "light", "red")
INDEX = 1
"""The index of the label that the fake detector finds: that of the only tag."""


def found_chain() -> Pipeline:
    return chain(gate="threshold", tag_threshold=0.66)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with one image; openvocab.load gives a chain without weights."""
    monkeypatch.chdir(tmp_path)
    save_images(tmp_path / "p", 1)
    Image.new("RGB", (8, 8), (0, 0, 200)).save("p/00000.png")
    monkeypatch.setattr(openvocab, "load", lambda *_, **__: found_chain())
    return tmp_path


def result_of(kind: str) -> Result:
    pipe = found_chain()
    if kind == "pipe":
        return pipe("p/00000.png", LABELS)
    if kind == "run":
        return next(pipe.run("p", LABELS))
    *_, explored = openvocab.Pipeline(pipe.tagger, None, None, pipe.settings).explore("p/00000.png", LABELS)
    return replace(explored.result(), detections=pipe("p/00000.png", LABELS).detections)


@pytest.mark.parametrize("kind", ["pipe", "run", "explore"])
def test_a_result_keeps_the_vocabulary_in_its_order(kind: str, here: Path) -> None:
    result = result_of(kind)
    assert result.labels == result.classes == LABELS
    assert [LABELS.index(label) for label in result.detections.labels] == [INDEX]
    assert np.array(result.to_supervision().class_id).tolist() == [INDEX]
    assert np.array(openvocab.to_supervision(result).class_id).tolist() == [INDEX]


def test_rows_of_a_run_know_the_vocabulary_of_the_run(here: Path) -> None:
    found_chain().run_to("run", "p", LABELS)
    (row,) = openvocab.read_run("run")
    assert row.labels == LABELS
    assert np.array(openvocab.to_supervision(row).class_id).tolist() == [INDEX]


def _result() -> Any:
    return found_chain()("p/00000.png", LABELS)


def _row() -> Any:
    found_chain().run_to("run", "p", LABELS)
    return next(iter(openvocab.read_run("run")))


def _run() -> Any:
    found_chain().run_to("run", "p", LABELS)
    return openvocab.read_run("run")


@pytest.mark.parametrize("rows", [_result, _row, _run], ids=["result", "row", "run"])
@pytest.mark.parametrize("by", ["python", "cli"])
def test_exports_count_the_vocabulary(rows: Any, by: str, here: Path) -> None:
    given = rows()
    if by == "cli":
        if rows is not _run:
            pytest.skip("the command line exports runs")
        for name, out in (("yolo", "yolo"), ("coco", "coco.json")):
            assert main(["export", "run", "--format", name, "--out", out]) == 0
    else:
        openvocab.export(given, "yolo", "yolo")
        openvocab.export(given, "coco.json", "coco")
    check(Path("coco.json").read_text("utf-8"), Path("yolo/labels/00000.txt").read_text("utf-8"))


def check(coco: str, yolo: str) -> None:
    read = json.loads(coco)
    assert [each["name"] for each in read["categories"]] == list(LABELS)
    assert [each["category_id"] for each in read["annotations"]] == [INDEX + 1]
    assert [line.split()[0] for line in yolo.splitlines()] == [str(INDEX)]


def test_downloads_of_the_page_count_the_vocabulary(here: Path) -> None:
    pytest.importorskip("gradio")
    from openvocab.ui.web.downloads import write

    coco, yolo = (write(_result(), kind, here) for kind in ("coco", "yolo"))
    with zipfile.ZipFile(yolo) as archive:
        check(coco.read_text("utf-8"), archive.read("labels/00000.txt").decode())


def test_names_given_by_hand_follow_the_vocabulary(here: Path) -> None:
    pytest.importorskip("gradio")
    from openvocab.ui.web.workspace import Workspace

    result = _result()
    renamed = replace(result, detections=replace(result.detections, labels=("apple",)))
    assert renamed.classes == (*LABELS, "apple")
    pipe, image = found_chain(), result.image
    *_, explored = pipe.explore(image, list(LABELS))
    workspace = Workspace("image", "", "", explored.encoded, explored).add(np.ones(image.shape[:2], bool), 0.5, "pear")
    assert workspace.result().classes == (*LABELS, "pear")


def test_labels_that_lack_one_are_refused_and_those_given_count(here: Path) -> None:
    turned = tuple(reversed(LABELS))
    assert np.array(openvocab.to_supervision(_result(), turned).class_id).tolist() == [len(LABELS) - 1 - INDEX]
    with pytest.raises(BadInput, match="not among the 1 given"):
        openvocab.to_supervision(_result(), ["dark"])
