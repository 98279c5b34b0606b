"""Masks as PNG files, read back with Pillow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.errors import BadInput
from openvocab.formats.mask_images import palette
from openvocab.pipeline.detections import Detections


def _pixels(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def _expected(masks, values):
    found = np.zeros(masks.shape[1:], int)
    for mask, value in reversed(list(zip(masks, values, strict=True))):
        found[mask] = value
    return found


def test_instances(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "m", "instance-masks", scene.labels)
    mode, pixels = _pixels(Path(made.path, "masks", "same.png"))
    assert mode == "P"
    np.testing.assert_array_equal(pixels, _expected(scene.masks, [1, 2, 3, 4]))
    told = [json.loads(line) for line in Path(made.path, "images.jsonl").read_text("utf-8").splitlines()]
    assert [(each["value"], each["label"]) for each in told[0]["detections"]] == list(
        enumerate(scene.rows[0].detections.labels, 1)
    )
    assert [each["mask"] for each in told] == [True, False, True, False, False, True]
    assert len(list(Path(made.path, "masks").iterdir())) == 3
    assert not _pixels(Path(made.path, "masks", f"{told[2]['name']}.png"))[1].any()


def test_semantics(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "m", "semantic-masks", scene.labels)
    mode, pixels = _pixels(Path(made.path, "masks", "same.png"))
    assert mode == "P"
    np.testing.assert_array_equal(pixels, _expected(scene.masks, [1, 3, 4, 5]))
    values = json.loads(Path(made.path, "values.json").read_text("utf-8"))
    assert [(each["value"], each["label"]) for each in values] == list(enumerate(scene.labels, 1))
    with Image.open(Path(made.path, "masks", "same.png")) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[0, 0], values[2]["color"])


@pytest.mark.parametrize(("count", "expected"), [(255, "P"), (256, "I;16")])
def test_more_than_255_values_need_16_bits(count, expected, tmp_path):
    masks = np.zeros((count, 20, 15), np.bool_)
    masks.reshape(count, -1)[np.arange(count), np.arange(count)] = True
    scores = np.linspace(1, 0.1, count, dtype=np.float32)
    labels = tuple(f"thing {place}" for place in range(count))
    detections = Detections(np.zeros((count, 4), np.float32), scores, labels, scores, scores, masks)
    row = openvocab.Row("a.png", "0" * 64, 15, 20, 1, detections=detections.encoded())
    for name in ("instance-masks", "semantic-masks"):
        made = openvocab.export(row, tmp_path / name, name, labels)
        mode, pixels = _pixels(Path(made.path, "masks", "a.png"))
        assert mode == expected
        np.testing.assert_array_equal(pixels.ravel(), np.pad(np.arange(1, count + 1), (0, 300 - count)))


def test_too_many_labels_are_refused(tmp_path):
    labels = [str(number) for number in range(65536)]
    with pytest.raises(BadInput, match="there are 65536 labels, and a PNG holds 65535 values; choose another format"):
        openvocab.export([], tmp_path / "m", "semantic-masks", labels)
    assert not list(tmp_path.iterdir())


def test_the_palette_is_that_of_pascal_voc():
    colors = palette().reshape(-1, 3).tolist()
    assert colors[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert (colors[15], colors[20], colors[255]) == ([192, 128, 128], [0, 64, 128], [224, 224, 192])
