"""YOLO folders: what is loaded, with parity to supervision, and messages for bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.evaluate.data import load_annotated

BOXES = "1 0.5 0.5 0.5 0.5\n0 0.25 0.25 0.1 0.2\n"
POLYGONS = "1 0.1 0.1 0.9 0.1 0.9 0.9\n0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6\n"


def folder(root: Path, labels: dict[str, str | None], **said: Any) -> Path:
    """A split `val` of images of 40 x 20, with their label files."""
    for part in ("images/val", "labels/val"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name, text in labels.items():
        Image.new("RGB", (40, 20)).save(root / "images" / "val" / f"{name}.png")
        if text is not None:
            (root / "labels" / "val" / f"{name}.txt").write_text(text, "utf-8")
    whole = {"path": str(root), "val": "images/val", "names": ["cat", "dog"]} | said
    (root / "data.yaml").write_text(yaml.safe_dump({key: each for key, each in whole.items() if each is not None}))
    return root


def test_boxes(tmp_path):
    data = load_annotated(str(folder(tmp_path, {"a": BOXES, "b": None, "c": ""})), "yolo")
    assert (data.labels, dict(data.faults)) == (("cat", "dog"), {})
    assert [Path(one.path).name for one in data.images] == ["a.png", "b.png", "c.png"]
    assert [one.xyxy.shape for one in data.images] == [(2, 4), (0, 4), (0, 4)]
    one = data.images[0]
    np.testing.assert_allclose(one.xyxy, [[10, 5, 30, 15], [8, 3, 12, 7]])
    assert (one.class_ids.tolist(), one.height, one.width, one.masks) == ([1, 0], 20, 40, None)


@pytest.mark.parametrize("text", [pytest.param(BOXES, id="boxes"), pytest.param(POLYGONS, id="polygons")])
def test_parity_with_supervision(text, tmp_path):
    from supervision import DetectionDataset

    root = folder(tmp_path, {"a": text})
    images, labels = (str(root / part / "val") for part in ("images", "labels"))
    [(_, _, found)] = list(DetectionDataset.from_yolo(images, labels, str(root / "data.yaml")))
    upstream: Any = found
    one = load_annotated(str(root), "yolo").images[0]
    np.testing.assert_allclose(one.xyxy, upstream.xyxy, atol=1e-4)
    assert one.class_ids.tolist() == upstream.class_id.tolist()
    if text is POLYGONS:
        assert one.masks is not None
        for mine, other in zip(one.masks, upstream.mask, strict=True):
            pixels = coco_mask.decode(mine).astype(bool)
            assert (pixels & other).sum() / (pixels | other).sum() > 0.8  # supervision draws the edge's pixels too


@pytest.mark.parametrize(
    ("said", "split", "expected"),
    [
        pytest.param({"names": {0: "cat", 1: "dog"}}, None, 2, id="names by number"),
        pytest.param({"path": None}, None, 2, id="no path: beside data.yaml"),
        pytest.param({"path": "../datasets/elsewhere"}, None, 2, id="a path that is not there: beside data.yaml"),
        pytest.param({"val": "../images/val", "path": None}, None, 2, id="as Roboflow writes it"),
        pytest.param({"val": ["images/val", "images/val"]}, "val", 4, id="several folders"),
        pytest.param({"val": None, "train": "images/val"}, None, 2, id="train where there is nothing else"),
        pytest.param({"test": "list.txt"}, "test", 1, id="a list"),
    ],
)
def test_paths_of_a_split(said, split, expected, tmp_path):
    root = folder(tmp_path / "set", {"a": BOXES, "b": BOXES}, **said)
    (root / "list.txt").write_text("./images/val/a.png\n", "utf-8")
    data = load_annotated(str(root), "yolo", split=split)
    assert [one.xyxy.shape for one in data.images] == [(2, 4)] * expected
    assert data.labels == ("cat", "dog")


def test_a_box_is_its_own_mask_if_others_have_polygons(tmp_path):
    with pytest.warns(OpenVocabWarning, match="objects without a segmentation"):
        data = load_annotated(str(folder(tmp_path, {"a": POLYGONS + "0 0.5 0.5 0.5 0.5\n"})), "yolo")
    masks = data.images[0].masks
    assert masks is not None and coco_mask.area(masks[2]) == 20 * 10


def test_a_rotated_image_has_its_upright_size(tmp_path):
    root = folder(tmp_path, {"a": BOXES})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(root / "images" / "val" / "a.png", exif=exif)
    one = load_annotated(str(root), "yolo").images[0]
    assert (one.height, one.width) == (40, 20)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param("0 0.5 0.5 0 0.5", "boxes of no width or height, left out: 1, .*a.txt', line 1", id="zero area"),
        pytest.param("0 1.5 0.5 0.2 0.2", "boxes outside their image, left out: 1", id="outside"),
        pytest.param("0 1.0 0.5 0.2 0.2", "boxes partly outside their image, clipped: 1", id="partly outside"),
    ],
)
def test_invalid_boxes_are_counted_with_their_line(line, says, tmp_path):
    with pytest.warns(OpenVocabWarning, match=says):
        load_annotated(str(folder(tmp_path, {"a": f"{line}\n{BOXES}"})), "yolo")


@pytest.mark.parametrize("kind", ["missing", "no image"])
def test_missing_and_unreadable_images_are_counted(kind, tmp_path):
    root = folder(tmp_path, {"a": BOXES, "b": BOXES}, val="list.txt")
    (root / "list.txt").write_text("./images/val/a.png\n./images/val/b.png\n", "utf-8")
    (root / "images" / "val" / "b.png").unlink()
    if kind == "no image":
        (root / "images" / "val" / "b.png").write_bytes(b"text")
    says = "listed and missing, left out: 1" if kind == "missing" else "cannot be read, left out: 1"
    with pytest.warns(OpenVocabWarning, match=f"{says}.*b.png"):
        assert len(load_annotated(str(root), "yolo").images) == 1


@pytest.mark.parametrize(
    ("labels", "said", "says"),
    [
        pytest.param({"a": "5 0.5 0.5 0.1 0.1"}, {}, "a.txt', line 1, has class 5, which has no name", id="no name"),
        pytest.param({"a": BOXES + "0 0.5 x 1 1"}, {}, "line 3, has a word that is not a number", id="no number"),
        pytest.param({"a": "0 0.5 0.5 0.1"}, {}, "line 1, has 3 numbers after its class", id="three numbers"),
        pytest.param({"a": "0 nan 0.5 0.1 0.1"}, {}, "line 1 has a box with an edge that is not a number", id="nan"),
        pytest.param({"a": BOXES}, {"names": None}, "data.yaml' has no names", id="no names"),
        pytest.param({"a": BOXES}, {"val": None}, "names no val split; it has none", id="no split"),
        pytest.param({"a": BOXES}, {"val": "images/no"}, "images/no' does not exist; check it", id="no folder"),
        pytest.param({}, {}, "no image", id="an empty folder"),
        pytest.param({"a": BOXES}, {"names": ["cat", "Cat"]}, "are the same", id="labels that are twins"),
    ],
)
def test_bad_folders(labels, said, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        load_annotated(str(folder(tmp_path, labels, **said)), "yolo")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(None, "data.yaml' is not a file", id="missing"),
        pytest.param("[", "data.yaml' is not YAML", id="broken"),
        pytest.param("1", "has no names and splits", id="a number"),
    ],
)
def test_bad_descriptions(text, says, tmp_path):
    if text is not None:
        (tmp_path / "data.yaml").write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says):
        load_annotated(str(tmp_path), "yolo")


def test_a_split_and_a_folder_of_images_are_for_some_formats_only(tmp_path):
    with pytest.raises(BadInput, match="a split is for yolo, because coco has none"):
        load_annotated(str(tmp_path), "coco", split="val")
    with pytest.raises(BadInput, match="because yolo has the paths"):
        load_annotated(str(tmp_path), "yolo", images="x")
