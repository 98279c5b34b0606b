"""Label Studio tasks: brushes decoded by the rule of their code, and by label_studio_sdk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from defusedxml import ElementTree

import openvocab
from openvocab.formats.label_studio import brush


def _decoded(code, height, width):
    """Decode a brush bit by bit, as rle-pack's decode does."""
    bits = "".join(f"{byte:08b}" for byte in code)
    at = 0

    def read(count):
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, value_bits = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    found: list[int] = []
    while len(found) < total:
        same, size = read(1), sizes[read(2)]
        count = read(size) + 1
        found += [read(value_bits)] * count if same else [read(value_bits) for _ in range(count)]
    return np.array(found, np.uint8).reshape(height, width, 4)[..., 3] > 127


def _tasks(made):
    return json.loads(Path(made.path, "tasks.json").read_text("utf-8"))


def test_brushes_and_rectangles_come_back(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "ls", "label-studio", scene.labels, prefix="/data/?d=")
    tasks = _tasks(made)
    assert [task["data"]["image"] for task in tasks] == [f"/data/?d={row.id}" for row in scene.good]
    brushes = [each for each in tasks[0]["predictions"][0]["result"] if each["type"] == "brushlabels"]
    for each, mask in zip(brushes, scene.masks, strict=True):
        np.testing.assert_array_equal(_decoded(each["value"]["rle"], 30, 43), mask)
    assert [each["value"]["brushlabels"] for each in brushes] == [[name] for name in scene.rows[0].detections.labels]
    boxes = [each["value"] for each in tasks[1]["predictions"][0]["result"]]
    corners = [[each["x"], each["y"], each["x"] + each["width"], each["y"] + each["height"]] for each in boxes]
    np.testing.assert_allclose(np.array(corners) * np.tile([0.43, 0.3], 2), scene.rows[1].detections.xyxy, atol=1e-3)
    assert [each["rectanglelabels"] for each in boxes] == [[name] for name in scene.rows[1].detections.labels]
    assert tasks[3]["predictions"][0]["result"][0]["value"] == {"choices": ["<&>"]}
    ids = [each["id"] for task in tasks for each in task["predictions"][0]["result"]]
    assert len(set(ids)) == len(ids)


def test_every_result_names_a_control_of_the_configuration(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "ls", "label-studio", scene.labels, shapes="both")
    view = ElementTree.parse(Path(made.path, "labeling-config.xml")).getroot()
    controls = {each.get("name"): [inner.get("value") for inner in each] for each in view if each.tag != "Image"}
    assert controls == {name: list(scene.labels) for name in ("box", "mask", "tags")}
    results = [each for task in _tasks(made) for each in task["predictions"][0]["result"]]
    assert {each["from_name"] for each in results} == set(controls)


MASKS = [
    pytest.param(np.zeros((3, 5), np.bool_), id="nothing"),
    pytest.param(np.ones((300, 400), np.bool_), id="everything, in several runs"),
    pytest.param(np.ones((128, 128), np.bool_), id="exactly the longest run"),
    pytest.param(np.indices((7, 9)).sum(0) % 2 == 0, id="chequered"),
    pytest.param(np.random.default_rng(1).random((40, 61)) > 0.9, id="noise"),
]


@pytest.mark.parametrize("mask", MASKS)
def test_brush_is_exact(mask):
    np.testing.assert_array_equal(_decoded(brush(mask), *mask.shape), mask)


@pytest.mark.parametrize("mask", MASKS)
def test_label_studio_decodes_the_brush(mask):
    sdk = pytest.importorskip("label_studio_sdk.converter.brush")
    np.testing.assert_array_equal(sdk.decode_rle(brush(mask)).reshape(*mask.shape, 4)[..., 3] > 127, mask)
    assert brush(mask)[: len(brush(mask)) - 1] == sdk.mask2rle(mask.astype(np.uint8) * 255)[: len(brush(mask)) - 1]
