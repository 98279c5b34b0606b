"""The tab Prompt without a browser: its named action through gradio_client, and its handlers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import openvocab
from openvocab.errors import BadInput

pytest.importorskip("gradio_client")

SCENE = openvocab.example_scenes()[0]
TENT = SCENE.labels.index("tent")
POINT = [96, 59]


def ask(client: Any, **changes: Any) -> dict[str, Any]:
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
def test_segment_prompt_answers_with_data(client, prompt):
    found = ask(client, **prompt)
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
    assert found == ask(client, points=None, box=box, name="")
    assert found["masks"][0]["label"] == "object"


def test_segment_prompt_keeps_nothing_between_calls(client):
    one, other = ask(client), ask(client, points=[[170, 134]])
    assert one == ask(client) and one["masks"] != other["masks"]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        pytest.param({"points": None}, "needs a point or a box", id="no prompt"),
        pytest.param({"points": []}, "needs a point or a box", id="no point"),
        pytest.param({"points": {"x": 1}}, "points must be a list", id="points of another form"),
        pytest.param({"points": [[1, "2"]]}, "two finite numbers", id="text for a number"),
        pytest.param({"point_labels": [1, 1]}, "must be 1 numbers", id="more labels than points"),
        pytest.param({"point_labels": [2]}, "1 on the thing and 0", id="another label"),
        pytest.param({"box": [1, 2, 3]}, "four numbers", id="a box of three"),
        pytest.param({"box": [9, 9, 9, 9]}, "no area", id="a box without area"),
        pytest.param({"points": [[96, 59], [300, 59]]}, r"\(300, 59\) lies outside.*256 x 256", id="a point outside"),
        pytest.param({"points": [[96, -1]]}, r"\(96, -1\) lies outside", id="a point above"),
        pytest.param({"box": [9, 9, 90, 257]}, r"\(90, 257\) lies outside", id="a box that juts out"),
        pytest.param({"name": "a\u0007b"}, "control character", id="a control character in the name"),
        pytest.param({"preset": "huge"}, "no preset named", id="another preset"),
    ],
)
def test_segment_prompt_refuses_in_one_sentence(client, prompt, message):
    with pytest.raises(Exception, match=message) as caught:
        ask(client, **prompt)
    assert "Traceback" not in str(caught.value)


def test_segment_prompt_refuses_a_bomb_by_its_header(client, tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (9000, 9000)).save(path)
    with pytest.raises(Exception, match=r"bomb.png.*9000 x 9000 pixels"):
        ask(client, path=str(path))


# --- handlers


@pytest.fixture(scope="module")
def doing(server: Any) -> Any:
    from openvocab.ui.web.desk import Desks
    from openvocab.ui.web.prompt_tab import Prompting

    return Prompting(server.context, Desks(10**9))


def event(**parts: Any) -> Any:
    return SimpleNamespace(**{"serial": 1, **parts})


def click(*place: float) -> list[dict[str, Any]]:
    return [{"kind": "point", "at": list(place), "inside": True}]


def test_an_image_is_encoded_once(doing):
    calls = doing.context.models.calls
    before = dict(calls)
    _, token = doing.open(str(SCENE.path), None, None)
    for place in ([96, 59], [170, 134], [43, 183]):
        answer = doing.act(token, event(do="prompt", marks=click(*place)))
        assert len(answer["masks"]) == 3 and "failed" not in answer
    doing.act(token, event(do="accept", marks=click(*POINT), choice=0, name="tent"))
    doing.act(token, event(do="undo"))
    assert {name: calls[name] - before.get(name, 0) for name in calls if calls[name] != before.get(name, 0)} == {
        "segmenter.encode": 1,
        "segmenter.prompt": 4,
    }


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param({"do": "prompt", "marks": []}, "no mark", id="no mark"),
        pytest.param(
            {"do": "accept", "marks": click(9, 9), "choice": 3, "name": ""}, "one of the three", id="a fourth"
        ),
        pytest.param({"do": "accept", "marks": click(9, 9), "choice": "0", "name": ""}, "one of the three", id="text"),
        pytest.param({"do": "remove", "number": 9}, "not there any more", id="delete what is gone"),
        pytest.param({"do": "undo"}, "nothing to undo", id="nothing to undo"),
        pytest.param({"do": "explode"}, "fault on the server", id="an unknown deed"),
        pytest.param({"do": "prompt"}, "fault on the server", id="a deed without its parts"),
    ],
)
def test_what_fails_is_told_in_the_answer(doing, parts, message):
    _, token = doing.open(str(SCENE.path), None, None)
    answer = doing.act(token, event(**parts))
    assert answer["failed"] is True and answer["serial"] == 1
    assert message in answer["note"]


def test_a_desk_is_found_by_its_token_alone(doing):
    _, token = doing.open(str(SCENE.path), None, None)
    for wrong in (None, "", "x" * 22):
        assert "no longer held" in doing.act(wrong, event(do="prompt", marks=click(*POINT)))["note"]
    doing.open(None, None, token)
    assert "no longer held" in doing.act(token, event(do="prompt", marks=click(*POINT)))["note"]


def test_nothing_can_be_downloaded_before_there_is_something(doing):
    _, token = doing.open(str(SCENE.path), None, None)
    with pytest.raises(BadInput, match="no object yet"):
        doing.download("coco", token)


def test_the_answers_are_small(doing, tmp_path):
    path = tmp_path / "large.png"
    Image.fromarray(openvocab.read_image(SCENE.path)).resize((3000, 2000)).save(path)
    message, token = doing.open(str(path), None, None)
    assert (message["width"], message["height"]) == (3000, 2000)
    assert len(message["image"]) < 600_000
    answer = doing.act(token, event(do="prompt", marks=click(1100, 460)))
    assert sum(len(mask["png"]) for mask in answer["masks"]) < 60_000


def test_without_a_result_there_is_nothing_to_correct(doing):
    with pytest.raises(BadInput, match="press Run first"):
        doing.adopt(None, None)
