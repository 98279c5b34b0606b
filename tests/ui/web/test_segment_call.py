"""The call segment_prompt through gradio_client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import openvocab

pytest.importorskip("gradio_client")

SCENE = openvocab.example_scenes()[0]
TENT = SCENE.labels.index("tent")
POINT = [96, 59]


def segment(client: Any, **changes: Any) -> dict[str, Any]:
    from gradio_client import handle_file

    given = {"points": [POINT], "point_labels": None, "box": None, "name": "tent", "preset": ""} | changes
    path = given.pop("path", str(SCENE.path))
    found: dict[str, Any] = client.predict(handle_file(path), *given.values(), api_name="/segment_prompt")
    return found


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param({}, id="a point"),
        pytest.param({"points": [POINT, [5, 5]], "point_labels": [1, 0]}, id="object and background"),
        pytest.param({"points": None, "box": SCENE.xyxy[TENT].tolist()}, id="a box"),
        pytest.param({"box": SCENE.xyxy[TENT].tolist()}, id="a point and a box"),
    ],
)
def test_segment_prompt_returns_three_masks(client, prompt):
    found = segment(client, **prompt)
    assert (found["width"], found["height"], len(found["masks"])) == (256, 256, 3)
    scores = [mask["score"] for mask in found["masks"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    best = found["masks"][0]
    mask, true = coco_mask.decode(best["mask"]).astype(bool), SCENE.masks()[TENT]
    assert (mask & true).sum() / (mask | true).sum() > 0.7
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert best["xyxy"] == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert best["label"] == "tent"


def test_segment_prompt_takes_its_parameters_by_name(client):
    from gradio_client import handle_file

    box = SCENE.xyxy[TENT].tolist()
    found = client.predict(image=handle_file(str(SCENE.path)), box=box, api_name="/segment_prompt")
    assert found == segment(client, points=None, box=box, name="")
    assert found["masks"][0]["label"] == "object"


def test_segment_prompt_is_stateless(client):
    one, other = segment(client), segment(client, points=[[170, 134]])
    assert one == segment(client) and one["masks"] != other["masks"]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        pytest.param({"points": None}, "needs a point or a box", id="no prompt"),
        pytest.param({"points": []}, "needs a point or a box", id="no point"),
        pytest.param({"points": {"x": 1}}, "points must be a list", id="points of another form"),
        pytest.param({"points": [[1, "2"]]}, "two finite numbers", id="text for a number"),
        pytest.param({"point_labels": [1, 1]}, "must be 1 numbers", id="more labels than points"),
        pytest.param({"point_labels": [2]}, "1 for object and 0", id="another label"),
        pytest.param({"box": [1, 2, 3]}, "four numbers", id="a box of three"),
        pytest.param({"box": [9, 9, 9, 9]}, "no area", id="a box without area"),
        pytest.param({"points": [[96, 59], [300, 59]]}, r"\(300, 59\) lies outside.*256 x 256", id="a point outside"),
        pytest.param({"points": [[96, -1]]}, r"\(96, -1\) lies outside", id="a point above"),
        pytest.param({"box": [9, 9, 90, 257]}, r"\(90, 257\) lies outside", id="a box that juts out"),
        pytest.param({"name": "a\u0007b"}, "control character", id="a control character in the name"),
        pytest.param({"preset": "huge"}, "no preset named", id="another preset"),
    ],
)
def test_segment_prompt_rejects_invalid_input_in_one_sentence(client, prompt, message):
    with pytest.raises(Exception, match=message) as caught:
        segment(client, **prompt)
    assert "Traceback" not in str(caught.value)


def test_segment_prompt_rejects_a_decompression_bomb_by_its_header(client, tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (9000, 9000)).save(path)
    with pytest.raises(Exception, match=r"bomb.png.*9000 x 9000 pixels"):
        segment(client, path=str(path))
