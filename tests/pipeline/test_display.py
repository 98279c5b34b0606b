"""What a result shows: tables, crops, files of other tools, notebooks."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from openvocab import BadInput, CannotWrite, Detections, Result, Tag
from tests.pipeline.test_result import RUN, detections

IMAGE = np.arange(8 * 10 * 3, dtype=np.uint8).reshape(8, 10, 3)


def result(count: int = 2, *, masks: bool = True, source: str = "a/b.jpg", **changes: Any) -> Result:
    made = Result(source, 10, 8, (Tag("<b>", 0.75),), detections(count, masks=masks), RUN, IMAGE)
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        pytest.param([1, 2, 4, 7], (5, 3, 3), id="whole pixels"),
        pytest.param([1.2, 2.7, 3.1, 6.2], (5, 3, 3), id="parts of pixels are whole ones"),
        pytest.param([-5, -5, 50, 50], (8, 10, 3), id="over the edges"),
        pytest.param([9.9, 7.9, 10, 8], (1, 1, 3), id="in the last pixel"),
        pytest.param([3, 3, 3, 3], (1, 1, 3), id="empty box"),
    ],
)
def test_a_crop_is_what_lies_in_the_box(box: list[float], shape: tuple[int, ...]) -> None:
    found = replace(detections(1, masks=False), xyxy=np.array([box], np.float32))
    (crop,) = result(detections=found).crops()
    assert crop.shape == shape
    left, top = max(int(box[0]), 0), max(int(box[1]), 0)
    np.testing.assert_array_equal(crop, IMAGE[top : top + shape[0], left : left + shape[1]])
    assert not np.shares_memory(crop, IMAGE)


def test_a_cutout_is_transparent_beside_the_mask() -> None:
    shown = result(3)
    for row, piece in enumerate(shown.cutouts()):
        assert piece.shape == (3, 2, 4)
        np.testing.assert_array_equal(piece[..., :3], IMAGE[row : row + 3, row : row + 2])
        assert (piece[..., 3] == 255).all()
    wider = replace(shown.detections, xyxy=shown.detections.xyxy + np.array([0, 0, 2, 0], np.float32))
    assert {tuple(piece[0, :, 3].tolist()) for piece in result(detections=wider).cutouts()} == {(255, 255, 0, 0)}


def test_cutouts_need_masks() -> None:
    with pytest.raises(BadInput, match=r"a/b.jpg: the detections have no masks; load a segmenter, or take crops\(\)"):
        result(1, masks=False).cutouts()
    assert result(0, masks=False).cutouts() == []


def test_crops_are_saved_by_label_under_names_that_every_system_takes(tmp_path: Path) -> None:
    found = detections(2, labels=("a/b: c?", "dog"))
    paths = result(detections=found).save_crop(tmp_path / "out")
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["out/a_b_ c_/b-0.png", "out/dog/b-1.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(paths[1])), result(detections=found).crops()[1])


def test_crops_of_another_image_of_the_same_name_overwrite_nothing(tmp_path: Path) -> None:
    found = detections(2, labels=("dog", "dog"))
    first, second = (result(detections=found).save_crop(tmp_path) for _ in range(2))
    assert [path.name for path in (*first, *second)] == ["b-0.png", "b-1.png", "b-2.png", "b-3.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(first[0])), result(detections=found).crops()[0])


@pytest.mark.parametrize("method", ["save_crop", "save_txt"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, method: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CannotWrite, match=r"file/x.* cannot be written"):
        getattr(result(), method)(tmp_path / "file" / "x")


def test_coco_results_are_read_by_pycocotools() -> None:
    shown = result(2)
    entries = json.loads(json.dumps(shown.to_coco(7)))
    assert [(each["image_id"], each["category_id"], each["bbox"]) for each in entries] == [
        (7, 0, [0.0, 0.0, 2.0, 3.0]),
        (7, 1, [1.0, 1.0, 2.0, 3.0]),
    ]
    decoded = [coco_mask.decode(each["segmentation"]).astype(bool) for each in entries]
    np.testing.assert_array_equal(decoded, np.asarray(shown.detections.masks))
    assert "segmentation" not in result(1, masks=False).to_coco()[0]


def test_tables_hold_every_detection(tmp_path: Path) -> None:
    shown = result(2)
    frame = shown.to_pandas()
    assert frame.columns.tolist()[:3] == ["label", "class_id", "score"]
    np.testing.assert_array_equal(frame[["left", "top", "right", "bottom"]].to_numpy(), shown.detections.xyxy)
    lines = list(csv.DictReader(io.StringIO(shown.to_csv())))
    assert [line["label"] for line in lines] == frame["label"].tolist() == ["thing 0", "thing 1"]
    assert len(result(0).to_pandas()) == 0 and result(0).to_pandas().columns.tolist() == frame.columns.tolist()
    shown.save_txt(tmp_path / "b.txt")
    first, second = (tmp_path / "b.txt").read_text().splitlines()
    assert first == "0 0.1 0.1875 0.2 0.375 0.9"
    assert second.split()[0] == "1"


def test_no_cell_of_a_table_is_run_by_a_spreadsheet() -> None:
    shown = result(1)
    named = replace(shown, detections=replace(shown.detections, labels=("=1+1",)), labels=("=1+1",))
    (line,) = csv.DictReader(io.StringIO(named.to_csv()))
    assert line["label"] == "'=1+1" and named.to_pandas()["label"].tolist() == ["=1+1"]


def test_notebooks_get_an_image_and_escaped_names() -> None:
    shown = result(2, source='x"><script>.png', notes=("a <note>",))
    with Image.open(io.BytesIO(shown._repr_png_())) as drawn:
        assert drawn.size == shown.draw().size == shown.plot().shape[1::-1]
    page = shown._repr_html_()
    assert "&lt;b&gt; 0.75" in page and "a &lt;note&gt;" in page and "<td>thing 1</td>" in page
    assert "<script" not in page and "<b>" not in page


def test_the_table_in_a_notebook_is_short() -> None:
    many = replace(detections(1, masks=False))
    found = many
    for _ in range(24):
        found = found + many
    page = result(detections=found)._repr_html_()
    assert page.count("<tr>") == 21 and "and 5 more" in page


def test_a_result_is_shown_in_a_viewer_outside_of_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Image.Image, "show", lambda self, title=None: shown.append(title))
    result().show()
    assert shown == ["a/b.jpg"]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        pytest.param(result(2), "Result('a/b.jpg', 10x8, tags: <b> 0.75, Detections(2, masks: ", id="found"),
        pytest.param(result(0, tags=()), "Result('a/b.jpg', 10x8, tags: none, Detections(0, masks: )", id="nothing"),
    ],
)
def test_a_result_says_itself_in_one_line(made: Result, text: str) -> None:
    assert repr(made).startswith(text)
    assert "\n" not in repr(made)


def test_results_are_equal_by_value() -> None:
    assert result(2) == result(2)
    assert result(2) != result(1)
    assert result(2) != result(2, image=IMAGE + 1)
    assert result(2) != result(2, tags=())
    assert result(2) != "a result"
    assert len(result(2)) == 2 and result(0)
    assert result(2).boxes is not None and result(2).names == {0: "thing 0", 1: "thing 1", 2: "<b>"}
    assert isinstance(result(1).boxes, Detections) and result(1, masks=False).masks is None
