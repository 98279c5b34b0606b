"""A data set is the same by relative and absolute paths, and data without labels are an error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from openvocab.errors import BadInput
from openvocab.evaluate.data import ANNOTATED, load_annotated, load_labeled
from openvocab.ui.cli.main import main
from tests.evaluate.data import fuzzing
from tests.evaluate.data.test_annotated import coco, voc
from tests.evaluate.data.test_lvis import lvis
from tests.evaluate.data.test_yolo import BOXES, folder


def yolo(root: Path, text: str | None = BOXES) -> str:
    folder(root, {"a": text}, path=None)
    return "."


def image_folder(root: Path) -> str:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / name / "a.png")
    return "."


def web_dataset(root: Path) -> str:
    files, _, _ = fuzzing.formats()["webdataset"]
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return "."


def rows(root: Path, labels: list[str]) -> str:
    root.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4)).save(root / "a.png")
    (root / "x.jsonl").write_text(json.dumps({"path": "a.png", "labels": labels}))
    return "x.jsonl"


def written(path: Path) -> str:
    """Return the name of a file that was written beside the images."""
    return path.name


SETS: list[Any] = [
    pytest.param("coco", lambda root: written(coco(root)), id="coco"),
    pytest.param("lvis", lambda root: written(lvis(root)), id="lvis"),
    pytest.param("voc", lambda root: voc(root, [("dog", 1, 1, 2, 2)]) and ".", id="voc"),
    pytest.param("yolo", yolo, id="yolo"),
    pytest.param("yolo", lambda root: yolo(root) and "data.yaml", id="yolo, the file"),
    pytest.param("imagefolder", image_folder, id="imagefolder"),
    pytest.param("list", lambda root: rows(root, ["dog"]), id="list"),
    pytest.param("webdataset", web_dataset, id="webdataset"),
]


def truth(path: str, kind: str) -> list[tuple[Any, ...]]:
    """The labels of each image, by its name."""
    if kind in ANNOTATED:
        annotated = load_annotated(path, kind)
        return [(os.path.basename(one.path), one.class_ids.tolist(), one.xyxy.tolist()) for one in annotated.images]
    labeled = load_labeled(path, kind)
    return [(os.path.basename(one.item.id), one.labels) for one in labeled.images()]


@pytest.mark.parametrize("parent", ["set", "images/set"])
@pytest.mark.parametrize(("kind", "write"), SETS)
def test_relative_and_absolute_paths_give_the_same_truth(kind, write, parent, tmp_path, monkeypatch):
    root = tmp_path / parent
    (root / ".below").mkdir(parents=True)
    name = write(root)
    expected = truth(str(root / name), kind)
    assert any(row[1] for row in expected)
    for here, path in (
        (root, name),
        (root, f"./{name}"),
        (root / ".below", f"../{name}"),
        (root.parent, f"set/{name}"),
    ):
        monkeypatch.chdir(here)
        assert truth(path, kind) == expected, path


@pytest.mark.parametrize(
    ("kind", "write", "says"),
    [
        pytest.param(
            "yolo", lambda root: yolo(root, None), r"1 label files, of which 0 exist.*labels/val/a.txt", id="y"
        ),
        pytest.param("yolo", lambda root: yolo(root, ""), "1 label files, of which 1 exist", id="yolo, an empty file"),
        pytest.param("coco", lambda root: written(coco(root, annotations=[])), "the 0 annotations of", id="coco"),
        pytest.param("voc", lambda root: voc(root, []) and ".", r"1 file .*Annotations'/\*.xml", id="voc"),
        pytest.param(
            "voc", lambda root: voc(root, [("hard", 1, 1, 2, 2)]) and ".", r"\*.xml", id="voc, difficult ones"
        ),
        pytest.param("list", lambda root: rows(root, []), "x.jsonl' has a label; .* its column labels", id="list"),
    ],
)
def test_a_data_set_without_an_object_is_an_error_that_names_the_source_of_its_labels(kind, write, says, tmp_path):
    name = write(tmp_path)
    with pytest.raises(BadInput, match=says):
        truth(str(tmp_path / name), kind)


def empty_shards(root: Path) -> str:
    web_dataset(root)
    (root / "dataset_type.txt").write_text("multilabel")
    (root / "test" / "0.tar").write_bytes(fuzzing.tar({"a.png": fuzzing.png(), "a.npy": fuzzing.npy([0, 0])}))
    return "."


def no_labels(root: Path) -> str:
    return yolo(root, None)


def no_labels_at_first(root: Path) -> str:
    folder(root, {"a": None, "b": BOXES}, path=None)
    return "."


@pytest.mark.parametrize(
    ("arguments", "write", "says"),
    [
        pytest.param(["detect", "--format", "yolo"], no_labels, "label files, of which 0 exist", id="detect"),
        pytest.param(["chain", "--format", "yolo"], no_labels, "label files, of which 0 exist", id="chain"),
        pytest.param(
            ["chain", "--format", "yolo", "--limit", "1"], no_labels_at_first, "no object in its 1 image", id="limit"
        ),
        pytest.param(["classify", "--format", "webdataset"], empty_shards, "the .npy of each sample", id="classify"),
    ],
)
def test_evaluating_data_without_labels_exits_with_2(
    arguments: list[str],
    write: Callable[[Path], str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "set").mkdir()
    name = write(tmp_path / "set")
    monkeypatch.chdir(tmp_path / "set")
    assert main(["evaluate", *arguments, "--data", name, "--out", str(tmp_path / "report")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_objects_of_unreadable_images_do_not_count(tmp_path, capsys):
    """The one image with an object is broken, so no object is left."""
    folder(tmp_path / "set", {"a": None, "b": BOXES}, path=None)
    broken = tmp_path / "set" / "images" / "val" / "b.png"
    Image.effect_noise((40, 20), 99).save(broken, "JPEG")
    broken.write_bytes(broken.read_bytes()[:-200])
    arguments = ["--data", str(tmp_path / "set"), "--format", "yolo", "--out", str(tmp_path / "report")]
    assert main(["evaluate", "detect", *arguments]) == 2
    assert "no object in its 1 image" in capsys.readouterr().err
