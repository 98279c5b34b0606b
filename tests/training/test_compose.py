"""A composed set is the same for a seed, and what is read back is what was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the extra openvocab[train]")

from PIL import Image

from openvocab.evaluate.data import load_annotated, load_labeled
from training.compose import main


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    """A square of each of two labels."""
    for label, color in (("apple", (200, 30, 30, 255)), ("dog", (120, 80, 40, 255))):
        (tmp_path / "drawings" / label).mkdir(parents=True)
        Image.new("RGBA", (60, 60), color).save(tmp_path / "drawings" / label / "0.png")
    return tmp_path / "drawings"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_seed_names_a_set_and_an_image_does_not_depend_on_the_number(drawings, tmp_path):
    for name, scenes, seed in (("one", 3, 5), ("two", 3, 5), ("more", 4, 5), ("other", 3, 6)):
        given = ["--drawings", str(drawings), "--scenes", str(scenes), "--seed", str(seed)]
        assert main([str(tmp_path / name), *given]) == 0
    one, more, other = (files(tmp_path / name) for name in ("one", "more", "other"))
    assert one == files(tmp_path / "two")
    images = [name for name in one if name.endswith(".png")]
    assert len(images) == 6
    assert all(one[name] == more[name] for name in images)
    assert any(one[name] != other.get(name) for name in images)


def test_boxes_and_masks_are_exact(drawings, tmp_path):
    from pycocotools import mask as coco_mask

    assert main([str(tmp_path / "set"), "--drawings", str(drawings), "--scenes", "4", "--seed", "1"]) == 0
    data = load_annotated(str(tmp_path / "set" / "instances.json"), "coco")
    assert data.labels == ("dog", "apple") and len(data.images) == 4 and not data.faults
    for one in data.images:
        assert one.masks is not None and one.areas is not None and len(one.masks) == len(one.xyxy) > 0
        for box, area, code in zip(one.xyxy, one.areas, one.masks, strict=True):
            mask = coco_mask.decode(code)
            down, across = np.nonzero(mask)
            assert (across.min(), down.min(), across.max() + 1, down.max() + 1) == tuple(box)
            assert mask.sum() == area
    classes = load_labeled(str(tmp_path / "set" / "classes"), "imagefolder")
    assert classes.labels == ("apple", "dog") and len(list(classes.images())) == 4


@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param(["--scenes", "0"], "--scenes must be at least 1", id="no scene"),
        pytest.param(["--seed", "-1"], "--seed at least 0", id="negative seed"),
        pytest.param(["--drawings", "{drawings}/none"], "no drawing found", id="no drawing"),
        pytest.param(["--drawings", "{drawings}/.."], "no drawing is named after a label", id="names of no label"),
        pytest.param([], "holds something already", id="full folder"),
    ],
)
def test_bad_input_is_one_line(more, says, drawings, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "note.txt").write_text("mine", "utf-8")
    (drawings.parent / "unknown thing").mkdir()
    Image.new("RGBA", (60, 60), "red").save(drawings.parent / "unknown thing" / "0.png")
    more = [each.format(drawings=drawings) for each in more]
    assert main([str(tmp_path / "out"), "--drawings", str(drawings), *more]) == 2
    error = capsys.readouterr().err.strip()
    assert says in error and "\n" not in error
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["note.txt"]
