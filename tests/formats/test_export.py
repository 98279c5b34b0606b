"""What every format keeps to: whole or not at all, no two files of one name, rows of every sort, little memory."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import openvocab
from openvocab.batch.file_names import FileNames
from openvocab.batch.rows import Row
from openvocab.errors import BadInput, CannotWrite, UnknownName
from openvocab.formats import FORMATS
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.result import Result, RunRecord, Tag

RUN = RunRecord("0", None, None, None, (), "", "{label}")


def _result():
    masks = np.zeros((1, 4, 6), np.bool_)
    masks[0, 1:3, 2:5] = True
    half = np.array([0.5], np.float32)
    detections = Detections(np.array([[2, 1, 5, 3]], np.float32), half, ("b",), half, half, masks)
    return Result("a/x.png", 6, 4, (Tag("c", 0.25), Tag("b", 0.125)), detections, RUN, np.zeros((4, 6, 3), np.uint8))


def _files(path):
    return sorted(str(each.relative_to(path)) for each in Path(path).rglob("*"))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_rows_of_every_sort(scene, tmp_path, name):
    made = openvocab.export(iter(scene.rows), tmp_path / "out", name, scene.labels)
    assert (made.images, made.errors, made.detections, made.unlinked) == (5, 1, 12, 0)
    assert not [each for each in tmp_path.iterdir() if each.name.endswith(".tmp")]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_result_alone(tmp_path, name):
    made = openvocab.export(_result(), tmp_path / "out", name)
    assert (made.images, made.detections) == (1, 1)
    if name == "coco":
        assert [each["name"] for each in json.loads(Path(made.path).read_text("utf-8"))["categories"]] == ["b", "c"]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_no_row_at_all(tmp_path, name):
    assert openvocab.export([], tmp_path / "out", name, ["a"]).images == 0


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_nothing_is_left_where_it_fails(scene, tmp_path, name):
    def rows():
        yield from scene.rows
        raise RuntimeError("stop")

    (tmp_path / "here").mkdir()
    with pytest.raises(RuntimeError, match="stop"):
        openvocab.export(rows(), tmp_path / "here" / "out", name, scene.labels)
    assert _files(tmp_path / "here") == []


@pytest.mark.parametrize(
    "name", [name for name in sorted(FORMATS) if name not in ("instance-masks", "labelme", "cvat")]
)
def test_memory_does_not_grow_with_the_rows(tmp_path, name):
    half = np.full(1, 0.5, np.float32)
    detections = Detections(np.array([[0, 0, 4, 4]], np.float32), half, ("a",), half).encoded()

    def rows(count):
        for number in range(count):  # of more than 4 kB each
            yield Row(f"{number // 100}/{number}.png", f"{number:4}" * 1024, 8, 8, 1, detections=detections)

    openvocab.export(rows(10), tmp_path / "warm", name, ["a"])
    peaks = []
    for count in (150, 600):
        tracemalloc.start()
        openvocab.export(rows(count), tmp_path / str(count), name, ["a"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 450 * 600  # the set of names that were given out


def test_an_unknown_format_is_met_with_the_nearest(tmp_path):
    with pytest.raises(UnknownName, match="no format named 'coc'; did you mean 'coco'"):
        openvocab.export([], tmp_path / "out", "coc", [])


@pytest.mark.parametrize(
    ("rows", "labels", "options", "says"),
    [
        pytest.param([], None, {}, "labels are required", id="no labels"),
        pytest.param([], ["a", "b", "a"], {}, "the label 'a' is in the vocabulary twice", id="a label twice"),
        pytest.param([], ["a"], {"image": "link"}, "'image' is not an export option", id="unknown option"),
        pytest.param([], ["a"], {"images": "move"}, "images must be one of refer, link, copy", id="unknown choice"),
        pytest.param([_result()], ["c"], {}, "has the label 'b', which is not among the 1 given", id="foreign label"),
    ],
)
@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_bad_input_is_named_and_leaves_nothing(tmp_path, rows, labels, options, says, name):
    with pytest.raises(BadInput, match=says):
        openvocab.export(rows, tmp_path / "out", name, labels, **options)
    assert _files(tmp_path) == []


def test_a_file_is_replaced_and_a_full_folder_is_not(tmp_path):
    (tmp_path / "out.json").write_text("old", "utf-8")
    openvocab.export(_result(), tmp_path / "out.json", "coco")
    assert (tmp_path / "out.json").read_text("utf-8") != "old"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(BadInput, match="full is not empty; give a new folder"):
        openvocab.export(_result(), tmp_path / "full", "yolo")
    with pytest.raises(BadInput, match=r"out.json is a file, and this format is a folder"):
        openvocab.export(_result(), tmp_path / "out.json", "yolo")
    with pytest.raises(BadInput, match="full is a folder, and this format is one file"):
        openvocab.export(_result(), tmp_path / "full", "coco")
    (tmp_path / "empty").mkdir()
    openvocab.export(_result(), tmp_path / "empty", "yolo")
    assert "data.yaml" in _files(tmp_path / "empty")


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="cannot be written"):
        openvocab.export(_result(), tmp_path / "file" / "below" / "out", name)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "out.csv").write_text("old", "utf-8")
    full = lambda path: open("/dev/full", "w", encoding="utf-8")  # noqa: E731, SIM115
    monkeypatch.setattr("openvocab.formats.targets.open_text", full)
    with pytest.raises(CannotWrite, match=r"out.csv cannot be written \(No space left on device\)"):
        openvocab.export(_result(), tmp_path / "out.csv", "csv")
    assert (tmp_path / "out.csv").read_text("utf-8") == "old" and _files(tmp_path) == ["out.csv"]


def test_images_that_are_no_files_are_counted(tmp_path):
    rows = [Row("s.tar::a/x.jpg", "0" * 64, 8, 8, 1), Row("https://e.org/y.png?v=1", "0" * 64, 8, 8, 1)]
    made = openvocab.export(rows, tmp_path / "out", "yolo", ["a"], images="copy")
    assert made.unlinked == 2
    assert sorted(path.name for path in Path(made.path, "labels").iterdir()) == ["x.txt", "y.txt"]


NAMES = [
    pytest.param("a/b/cat.jpg", "cat", id="plain"),
    pytest.param("cat", "cat", id="no suffix"),
    pytest.param(".hidden", "hidden", id="leading dot"),
    pytest.param("a/..", "_", id="dots alone"),
    pytest.param("", "_", id="empty"),
    pytest.param("C:\\x\\y.png", "y", id="backslashes"),
    pytest.param("a/con.png", "_con", id="reserved on Windows"),
    pytest.param("a/x<y>:\n\x00|?.png", "x_y______", id="characters that are refused"),
    pytest.param("a/" + "犬" * 100 + ".png", "犬" * 40, id="too long"),
    pytest.param("s.tar::d/犬.png", "犬", id="member of a shard"),
    pytest.param("a/\udcff.png", "_", id="not Unicode"),
]


@pytest.mark.parametrize(("given", "name"), NAMES)
def test_file_names_are_safe(given, name):
    assert FileNames()(given) == name


def test_file_names_are_never_the_same():
    ids = ["a/x.png", "b/x.png", "b/x.jpg", "B/X.jpg", "a/x.png", "a/x.png", "c/ss.png", "c/ß.png"]
    names = FileNames()
    given = [names(each) for each in ids]
    assert given[0] == "x" and len({name.casefold() for name in given}) == len(ids)
