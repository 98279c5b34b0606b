"""Loaders of images with boxes: what they load, leave out with a count, and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from openvocab.errors import BadInput, OpenVocabWarning, UnknownName
from openvocab.evaluate.data import load_annotated

Thing = tuple[str, float, float, float, float]


def voc(root: Path, objects: list[Thing], size: tuple[int, int] = (20, 10), name: str = "a") -> Path:
    """One image of width and height with VOC's boxes."""
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(root / "JPEGImages" / f"{name}.png")
    elements = "".join(
        f"<object><name>{label}</name><difficult>{int(label == 'hard')}</difficult><bndbox><xmin>{left}</xmin>"
        f"<ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for label, left, top, right, bottom in objects
    )
    shape = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    text = f"<annotation><filename>{name}.png</filename>{shape}{elements}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text, "utf-8")
    return root


def coco(root: Path, **changes: Any) -> Path:
    """One image of 20 x 10 with two boxes; changes replace its parts."""
    root.mkdir(exist_ok=True)
    Image.new("RGB", (20, 10)).save(root / "a.png")
    whole = {
        "images": [{"id": 7, "file_name": "a.png", "width": 20, "height": 10}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4], "area": 9, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 20, 10], "iscrowd": 1},
        ],
        "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    (root / "coco.json").write_text(json.dumps({**whole, **changes}), "utf-8")
    return root / "coco.json"


def test_voc(tmp_path):
    data = load_annotated(str(voc(tmp_path, [("dog", 1, 1, 20, 10), ("hard", 2, 3, 4, 5)])), "voc")
    one = data.images[0]
    assert (data.labels, one.height, one.width) == (("dog", "hard"), 10, 20)
    assert one.xyxy.tolist() == [[0, 0, 20, 10], [1, 2, 4, 5]]
    assert (one.class_ids.tolist(), one.crowd.tolist(), dict(data.faults)) == ([0, 1], [False, True], {})


def test_coco(tmp_path):
    data = load_annotated(str(coco(tmp_path)), "coco")
    one = data.images[0]
    assert (data.labels, one.height, one.width) == (("dog", "cat"), 10, 20)
    assert one.xyxy.tolist() == [[1, 2, 4, 6], [0, 0, 20, 10]]
    assert one.areas is not None
    assert (one.class_ids.tolist(), one.crowd.tolist(), one.areas.tolist()) == ([0, 1], [False, True], [9, 200])


def test_coco_takes_images_from_another_folder(tmp_path):
    path = coco(tmp_path)
    (tmp_path / "else").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "else" / "a.png")
    assert len(load_annotated(str(path), "coco", str(tmp_path / "else")).images) == 1
    with pytest.raises(BadInput, match="no image"):
        load_annotated(str(path), "coco")


def test_labels_are_renamed_and_reindexed(tmp_path):
    data = load_annotated(str(coco(tmp_path)), "coco").with_labels(["cat", "bird", "hound"], {"dog": "hound"})
    assert data.labels == ("cat", "bird", "hound")
    assert data.images[0].class_ids.tolist() == [2, 0]
    with pytest.raises(BadInput, match="the first is 'hound'"):
        data.with_labels(["cat", "bird"])


@pytest.mark.parametrize(
    ("box", "kept", "says"),
    [
        pytest.param((5, 5, 4, 9), None, "boxes of no width or height, left out: 1, the first in .*2", id="zero area"),
        pytest.param((25, 2, 30, 4), None, "boxes outside their image, left out: 1", id="outside"),
        pytest.param((11, 2, 30, 4), [10, 1, 20, 4], "partly outside their image, clipped: 1", id="partly outside"),
    ],
)
@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_invalid_boxes_are_counted_with_their_position(kind, box, kept, says, tmp_path):
    left, top, right, bottom = box
    if kind == "voc":
        path = voc(tmp_path, [("dog", 1, 1, 2, 2), ("dog", *box)])
    else:
        good = {"id": 1, "image_id": 7, "category_id": 5, "bbox": [0, 0, 2, 2]}
        odd = [left - 1, top - 1, right - left + 1, bottom - top + 1]
        path = coco(tmp_path, annotations=[good, {"id": 2, "image_id": 7, "category_id": 5, "bbox": odd}])
    with pytest.warns(OpenVocabWarning, match=says):
        data = load_annotated(str(path), kind)
    assert data.images[0].xyxy.tolist() == [[0, 0, 2, 2]] + [kept] * (kept is not None)
    assert list(data.faults.values()) == [1]


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_an_image_that_is_missing_is_counted(kind, tmp_path):
    if kind == "voc":
        path = voc(voc(tmp_path, [("dog", 1, 1, 2, 2)]), [("dog", 1, 1, 2, 2)], name="gone")
        (tmp_path / "JPEGImages" / "gone.png").unlink()
    else:
        images = [
            {"id": key, "file_name": f"{name}.png", "width": 20, "height": 10} for key, name in ((7, "a"), (8, "gone"))
        ]
        path = coco(tmp_path, images=images)
    with pytest.warns(OpenVocabWarning, match=r"missing, left out: 1, the first in .*gone"):
        assert len(load_annotated(str(path), kind).images) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"images": []}, "lists no image", id="empty"),
        pytest.param({"categories": None}, "lacks a list", id="no categories"),
        pytest.param(
            {"categories": [{"id": 5, "name": "dog"}]}, "annotation 2, has category 3, which has no name", id="id"
        ),
        pytest.param({"categories": [{"id": 5}]}, "category 5, has no name", id="category without a name"),
        pytest.param({"annotations": [{"id": 4, "image_id": 9, "category_id": 5}]}, "of image 9", id="no such image"),
        pytest.param(
            {"annotations": [{"id": 4, "image_id": 7, "category_id": 5}]}, "annotation 4, has no bbox", id="no box"
        ),
    ],
)
def test_bad_coco(changes, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        load_annotated(str(coco(tmp_path, **changes)), "coco")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("<annotation>", "b.xml' is not readable XML", id="broken"),
        pytest.param("<annotation/>", "b.xml' has no filename", id="no file name"),
        pytest.param("<annotation><filename>a.png</filename></annotation>", "b.xml' has no size/width", id="no size"),
        pytest.param(
            "<annotation><filename>a.png</filename><size><width>w</width><height>1</height></size></annotation>",
            "has 'w' for size/width",
            id="size is no number",
        ),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "b.xml' is not readable XML", id="entity"
        ),
    ],
)
def test_bad_voc(text, says, tmp_path):
    root = voc(tmp_path, [("dog", 1, 1, 2, 2)])
    (root / "Annotations" / "b.xml").write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says):
        load_annotated(str(root), "voc")


def test_an_empty_folder_and_an_unknown_format(tmp_path):
    with pytest.raises(BadInput, match=r"has no Annotations/\*.xml"):
        load_annotated(str(tmp_path), "voc")
    with pytest.raises(UnknownName, match="did you mean 'coco'"):
        load_annotated(str(tmp_path), "cocoo")
