"""The handlers of the workspace without a browser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.errors import BadInput
from openvocab.ui.web.mask_edits import cleaned, painted

pytest.importorskip("gradio")

SCENE = openvocab.example_scenes()[0]
WORDS = ", ".join(SCENE.labels)
POINT = [96, 59]


@pytest.fixture(scope="module")
def handlers(server: Any) -> Any:
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

    return WorkspaceHandlers(Context(server.context.models))


@pytest.fixture
def opened(handlers: Any) -> str:
    """Token of the scene, opened and not run."""
    token: str = handlers.open(str(SCENE.path), "pocket", None)[2]
    return token


def run(handlers: Any, token: str | None = None, words: str = WORDS) -> tuple[Any, Any, str]:
    *_, last = handlers.run(str(SCENE.path), words, "pocket", token, *handlers.defaults("pocket"))
    return last  # type: ignore[no-any-return]


def event(**parts: Any) -> Any:
    return SimpleNamespace(**{"serial": 1, **parts})


def click(*place: float) -> list[dict[str, Any]]:
    return [{"kind": "point", "at": list(place), "inside": True}]


def labels(message: dict[str, Any]) -> list[str]:
    return [each["label"] for each in message["objects"]]


def test_an_image_is_encoded_once(handlers, opened):
    calls = handlers._context.models.calls
    before = dict(calls)
    for place in ([96, 59], [170, 134], [43, 183]):
        reply = handlers.act(opened, event(do="segment", prompts=click(*place)))
        assert len(reply["masks"]) == 3 and "failed" not in reply
    handlers.act(opened, event(do="accept", prompts=click(*POINT), choice=0, name="tent"))
    handlers.edit(opened, event(do="undo"))
    assert {name: calls[name] - before.get(name, 0) for name in calls if calls[name] != before.get(name, 0)} == {
        "segmenter.encode": 1,
        "segmenter.prompt": 4,
    }


def test_a_run_streams_its_stages_and_keeps_what_was_added_before(handlers, opened):
    handlers.act(opened, event(do="accept", prompts=click(*POINT), choice=0, name="my tent"))
    steps = list(handlers.run(str(SCENE.path), WORDS, "pocket", opened, *handlers.defaults("pocket")))
    assert [sum(step["state"] == "done" for step in message["steps"]) for message, _, _ in steps] == [0, 1, 2, 3, 3]
    message, note, token = steps[-1]
    assert token == opened and "detections in scene-1.png" in note["text"]
    assert labels(message)[-1] == "my tent" and len(labels(message)) == 5
    assert {each["color"] for each in message["tags"] if each["label"] in labels(message)} <= {
        each["color"] for each in message["objects"]
    }


def test_corrections_survive_other_words_and_thresholds_and_are_undone_and_redone(handlers):
    message, _, token = run(handlers)
    first, second = message["objects"][:2]
    handlers.edit(token, event(do="rename", keys=[first["key"]], name="toy"))
    handlers.edit(token, event(do="remove", key=second["key"]))
    moved, _ = handlers.set_thresholds(token, 0.5, 0.99, 0.0, 0.5)
    assert labels(moved) == ["toy"]
    again, _, token = run(handlers, token)
    assert labels(again)[0] == "toy" and second["key"] not in [each["key"] for each in again["objects"]]
    back = handlers.edit(token, event(do="undo"))
    assert second["key"] in [each["key"] for each in back["objects"]] and back["canRedo"]
    assert second["key"] not in [each["key"] for each in handlers.edit(token, event(do="redo"))["objects"]]


def test_a_moved_box_gets_a_new_mask(handlers):
    message, _, token = run(handlers)
    bulb = next(each for each in message["objects"] if each["label"] == "light bulb")
    box = SCENE.xyxy[SCENE.labels.index("game controller")].tolist()
    reply = handlers.act(token, event(do="box", key=bulb["key"], xyxy=box))
    moved = next(each for each in reply["objects"] if each["key"] == bulb["key"])
    np.testing.assert_allclose(moved["box"], box, atol=1e-3)
    mask = openvocab.decode_mask(moved["mask"])
    true = SCENE.masks()[SCENE.labels.index("game controller")]
    assert (mask & true).sum() / (mask | true).sum() > 0.7


def test_brush_eraser_and_clean_change_the_mask(handlers):
    message, _, token = run(handlers)
    key = message["objects"][0]["key"]

    def area(reply: dict[str, Any]) -> int:
        return int(openvocab.decode_mask(next(e["mask"] for e in reply["objects"] if e["key"] == key)).sum())

    assert area(message) > 0
    before = area(handlers.edit(token, event(do="clean", key=key)))  # holes are filled, specks are gone
    stroke = {"do": "paint", "key": key, "path": [[5, 5], [60, 5]], "radius": 4}
    added = area(handlers.edit(token, event(**stroke, inside=True)))
    assert added > before + 300
    assert area(handlers.edit(token, event(**stroke, inside=False))) == before
    handlers.edit(token, event(**{**stroke, "path": [[5, 5]], "radius": 2}, inside=True))
    assert area(handlers.edit(token, event(do="clean", key=key))) == before


def test_rename_all_merges_labels(handlers):
    message, _, token = run(handlers)
    reply = handlers.edit(token, event(do="rename_all", old="tent", name="umbrella"))
    assert "tent" not in labels(reply) and labels(reply).count("umbrella") == 1 + labels(message).count("umbrella")


@pytest.mark.parametrize(
    ("kind", "parts", "message"),
    [
        pytest.param("act", {"do": "segment", "prompts": []}, "no prompt", id="no prompt"),
        pytest.param(
            "act", {"do": "accept", "prompts": click(9, 9), "choice": 3, "name": ""}, "one of the three", id="a fourth"
        ),
        pytest.param(
            "act", {"do": "accept", "prompts": click(9, 9), "choice": "0", "name": ""}, "one of the three", id="text"
        ),
        pytest.param("act", {"do": "box", "key": "9", "xyxy": [1, 1, 9, 9]}, "does not exist anymore", id="box"),
        pytest.param("edit", {"do": "remove", "key": "9"}, "does not exist anymore", id="delete an unknown key"),
        pytest.param("edit", {"do": "undo"}, "nothing to undo", id="nothing to undo"),
        pytest.param("edit", {"do": "redo"}, "nothing to redo", id="nothing to redo"),
        pytest.param("edit", {"do": "rename_all", "old": "x", "name": "y"}, "no object 'x'", id="no such label"),
        pytest.param("edit", {"do": "explode"}, "error on the server", id="an unknown action"),
        pytest.param("act", {"do": "segment"}, "error on the server", id="an action without its fields"),
    ],
)
def test_errors_are_part_of_the_reply(handlers, opened, kind, parts, message):
    reply = getattr(handlers, kind)(opened, event(**parts))
    assert reply["failed"] is True and reply["serial"] == 1
    assert message in reply["note"]


def test_workspaces_are_found_by_their_token_only(handlers, opened):
    for wrong in (None, "", "x" * 22):
        assert "no longer stored" in handlers.act(wrong, event(do="segment", prompts=click(*POINT)))["note"]
    handlers.open(None, "pocket", opened)
    assert "no longer stored" in handlers.act(opened, event(do="segment", prompts=click(*POINT)))["note"]


def test_an_image_without_objects_cannot_be_downloaded(handlers, opened):
    with pytest.raises(BadInput, match="no object yet"):
        handlers.download("coco", opened)


def test_messages_are_small(handlers, tmp_path):
    path = tmp_path / "large.png"
    Image.fromarray(openvocab.read_image(SCENE.path)).resize((3000, 2000)).save(path)
    message, _, token = handlers.open(str(path), "pocket", None)
    assert (message["width"], message["height"]) == (3000, 2000)
    assert len(message["image"]) < 600_000
    reply = handlers.act(token, event(do="segment", prompts=click(1100, 460)))
    assert sum(len(mask["mask"]["counts"]) for mask in reply["masks"]) < 60_000
    assert reply["masks"][0]["mask"]["size"] == [853, 1280]


@pytest.mark.parametrize(
    ("path", "radius", "says"),
    [
        pytest.param([], 3, "1 to 2000 points", id="no point"),
        pytest.param([[1, 2]], 0, "positive number", id="no radius"),
        pytest.param([[1, "2"]], 3, "two finite numbers", id="text"),
    ],
)
def test_invalid_strokes_are_one_sentence(path, radius, says):
    with pytest.raises(BadInput, match=says):
        painted(np.zeros((9, 9), bool), path, radius, inside=True)


def test_clean_removes_specks_and_fills_holes():
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:50] = True
    wanted = mask.copy()
    mask[20:23, 20:23] = False
    mask[55:57, 55:57] = True
    np.testing.assert_array_equal(cleaned(mask), wanted)
    assert not cleaned(np.zeros((4, 4), bool)).any()


def test_an_edit_that_is_made_while_models_run_is_kept(handlers, opened):
    store = handlers._store
    mask = np.zeros((256, 256), np.bool_)
    mask[10:20, 10:20] = True
    seen: list[Any] = []

    def change(workspace: Any, pipe: Any) -> Any:
        if not seen:
            store.update(opened, lambda now: now.add(mask, 1.0, "meanwhile"))
        seen.append(workspace)
        return workspace.add(mask.T, 1.0, "marked")

    message, _, token = handlers.changed(opened, change)
    assert (labels(message), token, len(seen)) == (["meanwhile", "marked"], opened, 2)
