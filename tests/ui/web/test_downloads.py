from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

import openvocab
from openvocab import Detections, Result, RunRecord, Tag
from openvocab.errors import BadInput, UnknownName
from openvocab.ui.web.downloads import FILE_TYPES, write

RECORD = RunRecord("0", None, None, None, ("{label}",), "", "", {})


def result_of(source="my image.jpg", *, masks=True, labels=("cat", "a/b")):
    image = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    cut = np.zeros((2, 20, 30), bool)
    cut[0, 2:6, 3:9] = True
    cut[1, 10:18, 10:28] = True
    boxes, ones = np.array([[3, 2, 9, 6], [10, 10, 28, 18]], np.float32), np.array([0.9, 0.5], np.float32)
    detections = Detections(boxes, ones, labels, ones, ones if masks else None, cut if masks else None)
    return Result(source, 30, 20, (Tag("cat", 0.7),), detections, RECORD, image)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("coco", "my image-coco.json"),
        ("yolo", "my image-yolo.zip"),
        ("mask", "my image-mask.png"),
        ("image", "my image-annotated.png"),
        ("cutouts", "my image-cutouts.zip"),
        ("json", "my image.json"),
    ],
)
def test_the_file_is_named_after_the_image(tmp_path, kind, name):
    assert write(result_of(), kind, tmp_path).name == name
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_every_file_type_is_tested():
    assert set(FILE_TYPES) == {"coco", "yolo", "mask", "image", "cutouts", "json"}


def test_coco_loads_in_pycocotools(tmp_path):
    from pycocotools.coco import COCO

    read = COCO(str(write(result_of(), "coco", tmp_path)))
    assert [image["file_name"] for image in read.imgs.values()] == ["my image.jpg"]
    assert {category["name"] for category in read.cats.values()} == {"cat", "a/b"}
    masks = [read.annToMask(each) for each in read.anns.values()]
    np.testing.assert_array_equal(np.array(masks, bool), result_of().detections.masks)


def test_yolo_contains_the_image(tmp_path):
    with zipfile.ZipFile(write(result_of(), "yolo", tmp_path)) as archive:
        names = set(archive.namelist())
        lines = archive.read("labels/my image.txt").decode().splitlines()
        with archive.open("images/my image.png") as file:
            np.testing.assert_array_equal(np.asarray(Image.open(file)), result_of().image)
    assert "data.yaml" in names
    assert [float(each) for each in lines[0].split()] == pytest.approx([0, 6 / 30, 4 / 20, 6 / 30, 4 / 20])


def test_the_mask_has_one_value_per_detection(tmp_path):
    values = np.asarray(Image.open(write(result_of(), "mask", tmp_path)))
    masks = result_of().detections.masks
    np.testing.assert_array_equal(values, masks[0] * 1 + masks[1] * 2)


def test_cutouts_are_transparent_around_the_object(tmp_path):
    with zipfile.ZipFile(write(result_of(), "cutouts", tmp_path)) as archive:
        assert archive.namelist() == ["001-cat.png", "002-a_b.png"]
        with archive.open("001-cat.png") as file:
            cut = Image.open(file)
            assert (cut.mode, cut.size) == ("RGBA", (6, 4))
            np.testing.assert_array_equal(np.asarray(cut)[..., :3], result_of().image[2:6, 3:9])
            assert np.asarray(cut)[..., 3].min() == 255


def test_json_is_the_whole_record(tmp_path):
    plain = json.loads(write(result_of(), "json", tmp_path).read_text("utf-8"))
    assert plain == json.loads(json.dumps(result_of().to_dict()))


@pytest.mark.parametrize(
    "source",
    [
        "../../etc/passwd",
        "C:\\x\\y.png",
        "a\nb.png",
        "....",
        "",
        "/",
        "😀" * 200 + ".png",
        "con<script>.png",
        "\ud800.png",
    ],
)
@pytest.mark.parametrize("kind", ["coco", "cutouts", "yolo"])
def test_file_names_stay_in_the_folder(tmp_path, kind, source):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    path = write(result_of(source), kind, inside)
    assert path.parent == inside
    assert path.is_file()
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", inside, path]


@pytest.mark.parametrize("label", ["../../up", "a" * 900, "<img src=x>", ".", "x\u202e"])
def test_labels_stay_in_the_archive(tmp_path, label):
    with zipfile.ZipFile(write(result_of(labels=(label, "b")), "cutouts", tmp_path)) as archive:
        name = archive.namelist()[0]
    assert "/" not in name
    assert len(name) < 80


@pytest.mark.parametrize(
    ("kind", "result", "error", "says"),
    [
        pytest.param("mask", result_of(masks=False), BadInput, "no segmenter ran", id="no masks"),
        pytest.param("cutouts", result_of(masks=False), BadInput, "no segmenter ran", id="nothing to cut by"),
        pytest.param("coca", result_of(), UnknownName, "did you mean 'coco'", id="no such kind"),
    ],
)
def test_unwritable_results_are_errors(tmp_path, kind, result, error, says):
    with pytest.raises(error, match=says):
        write(result, kind, tmp_path)


def test_empty_results_can_be_downloaded(tmp_path):
    empty = openvocab.Result("a.png", 30, 20, (), Detections.none((20, 30)), RECORD, result_of().image)
    assert not np.asarray(Image.open(write(empty, "mask", tmp_path))).any()
    assert json.loads(write(empty, "coco", tmp_path).read_text())["annotations"] == []
    with pytest.raises(BadInput, match="no detection to crop"):
        write(empty, "cutouts", tmp_path)
