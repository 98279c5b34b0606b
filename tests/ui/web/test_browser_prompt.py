"""Prompts in the workspace, in a real browser: prompts of every kind, the masks, the list of objects, the keyboard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import openvocab
from tests.ui.web.board import CV, STAGE, Board

SCENE = openvocab.example_scenes()[0]
TENT, CONTROLLER, BULB = (SCENE.labels.index(name) for name in ("tent", "game controller", "light bulb"))
ON_THE_TENT, ON_THE_CONTROLLER = (96, 59), (170, 134)
"""The points of both objects that are farthest from their edges."""


@pytest.fixture
def board(page: Any) -> Board:
    return Board(page)


def overlap(detection: dict[str, Any], row: int) -> float:
    """IoU of a downloaded detection with an object's true mask."""
    mask, true = coco_mask.decode(detection["mask"]).astype(bool), SCENE.masks()[row]
    return float((mask & true).sum() / (mask | true).sum())


def test_an_empty_canvas_explains_what_to_do(board):
    assert board.page.locator(f"{CV} .cv-empty").is_visible()
    assert not board.page.locator(STAGE).is_visible()


def test_a_click_segments_the_object(board):
    board.example().click(ON_THE_TENT)
    assert board.page.locator(f"{CV} .cv-choices button").count() == 3
    board.accept("tent")
    (detection,) = board.found()
    assert detection["label"] == "tent"
    assert overlap(detection, TENT) > 0.7


def test_a_box_segments_the_object(board):
    board.example()
    left, top, right, bottom = (float(edge) for edge in SCENE.xyxy[BULB])
    with board.masks():
        board.drag((left, top), (right, bottom))
    board.accept("bulb")
    assert overlap(board.found()[0], BULB) > 0.7


def test_a_stroke_segments_the_object(board):
    board.example()
    board.page.click(f"{CV} [data-tool=stroke]")
    with board.masks():
        board.drag((140, 134), (156, 138), (175, 136))
    assert board.sent[-1]["prompts"][0]["kind"] == "stroke" and len(board.sent[-1]["prompts"][0]["path"]) > 5
    board.accept("controller")
    assert overlap(board.found()[0], CONTROLLER) > 0.7


@pytest.mark.parametrize(
    ("options", "inside"),
    [
        pytest.param({"button": "right"}, False, id="right click"),
        pytest.param({"modifiers": "Shift"}, False, id="shift and click"),
        pytest.param({"mode": "no"}, False, id="the button for background"),
        pytest.param({"mode": "no", "button": "right"}, True, id="turned twice"),
    ],
)
def test_background_points(board, options, inside):
    board.example().click(ON_THE_TENT)
    if "mode" in options:
        board.page.click(f"{CV} [data-inside=no]")
    if "modifiers" in options:
        board.page.keyboard.down("Shift")
    board.click(ON_THE_CONTROLLER, button=options.get("button", "left"))
    board.page.keyboard.up("Shift")
    assert [mark["inside"] for mark in board.sent[-1]["prompts"]] == [True, inside]


@pytest.mark.parametrize(
    ("width", "size"),
    [
        pytest.param(1280, (1500, 600), id="wide"),
        pytest.param(1280, (500, 2400), id="tall"),
        pytest.param(390, (1500, 600), id="phone"),
        pytest.param(1280, (64, 48), id="small"),
    ],
)
def test_coordinates_are_those_of_the_original_image(board, tmp_path, width, size):
    board.page.set_viewport_size({"width": width, "height": 900})
    path = tmp_path / "odd size.png"
    Image.new("RGB", size, "teal").save(path)
    board.upload(path, size)
    place = (size[0] * 0.3, size[1] * 0.8)
    board.click(place)
    shown = board.page.locator(STAGE).bounding_box()
    assert shown["x"] >= 0 and shown["x"] + shown["width"] <= width
    reach = 1.01 / float((board.get("view") or "").split()[0])  # a pixel of the screen
    np.testing.assert_allclose(board.sent[-1]["prompts"][0]["at"], place, atol=reach)
    wanted = [size[0] * 0.1, size[1] * 0.2, size[0] * 0.5, size[1] * 0.6]
    with board.masks():
        board.drag((wanted[0], wanted[1]), (wanted[2], wanted[3]))
    np.testing.assert_allclose(board.sent[-1]["prompts"][-1]["xyxy"], wanted, atol=2 * reach)


def test_three_masks_to_choose_from(board):
    board.example().click(ON_THE_TENT)
    choices = board.page.locator(f"{CV} .cv-choices button")
    scores = [float(text.split("·")[1]) for text in choices.all_inner_texts()]
    picked = [each.get_attribute("aria-checked") == "true" for each in choices.all()]
    assert picked == [score == max(scores) for score in scores]
    board.press("3")
    assert choices.nth(2).get_attribute("aria-checked") == "true"
    choices.nth(1).click()
    assert choices.nth(1).get_attribute("aria-checked") == "true"
    board.accept("second")
    assert board.found()[0]["score"] == pytest.approx(scores[1], abs=0.006)


def test_undo_reverts_prompts_then_changes_of_the_list(board):
    board.example().click(ON_THE_TENT)
    board.click(ON_THE_CONTROLLER)
    with board.masks():
        board.press("u")
    assert len(board.sent[-1]["prompts"]) == 1
    board.press("Control+z")
    board.page.wait_for_function("at => !document.querySelector(at)", arg=f"{CV} .cv-choices button")
    board.click(ON_THE_TENT)
    board.accept("tent")
    board.press("u")
    board.count(0)
    board.says("Undid")
    board.press("Control+Shift+z")
    board.count(1)
    board.press("Control+z")
    board.count(0)
    board.press("y")
    board.count(1)
    assert board.names() == ["tent"]


def test_objects_are_renamed_and_deleted(board):
    board.example().click(ON_THE_TENT)
    board.accept("tent", 1)
    board.click(ON_THE_CONTROLLER)
    board.accept("pad", 2)
    first = board.page.locator(f"{CV} .cv-objects input").first
    first.fill("marquee")
    first.press("Enter")
    board.says("Renamed")
    assert board.names() == ["marquee", "pad"]
    options = board.page.locator(f"{CV} #cv-names option")
    assert [each.get_attribute("value") for each in options.all()] == ["marquee", "pad"]
    board.page.locator(f"{CV} .cv-objects [data-part=delete]").first.click()
    board.count(1)
    assert board.names() == ["pad"]
    board.page.locator(f"{CV} .cv-objects li").first.click(position={"x": 8, "y": 20})
    board.press("Delete")
    board.count(0)


def test_the_keyboard_is_sufficient(board):
    board.example()
    stage = board.page.locator(STAGE)
    board.press("ArrowUp")
    assert stage.evaluate("each => getComputedStyle(each).outlineStyle") == "solid"
    for _ in range(3):
        board.press("Shift+ArrowRight")
    with board.masks():
        board.press("Space")
    np.testing.assert_allclose(board.sent[-1]["prompts"][0]["at"], [131, 128])
    board.press("n")
    board.press("b")
    for _ in range(5):
        board.press("ArrowRight")
        board.press("ArrowDown")
    with board.masks():
        board.press("b")
    assert board.sent[-1]["prompts"][0]["kind"] == "box"
    board.press("x")
    assert board.page.locator(f"{CV} [data-inside=no]").get_attribute("aria-checked") == "true"
    board.press("Enter")
    board.count(1)
    assert board.names() == ["object"]


def test_delete_removes_the_selected_prompt(board):
    board.example().click(ON_THE_TENT)
    board.click(ON_THE_CONTROLLER)
    board.page.mouse.click(*board.at(ON_THE_TENT))
    with board.masks():
        board.press("Backspace")
    np.testing.assert_allclose(board.sent[-1]["prompts"][0]["at"], ON_THE_CONTROLLER, atol=1)
    assert len(board.sent[-1]["prompts"]) == 1


def test_names_are_text_only(board):
    board.example().click(ON_THE_TENT)
    name = "<img src=x onerror='window.__xss=1'>${Object.assign(window,{__xss:2})}`"
    board.accept(name)
    assert board.names() == [name]
    assert board.page.evaluate("window.__xss") is None
    assert board.found()[0]["label"] == name


def test_visitors_are_isolated(board, browser, server):
    board.example().click(ON_THE_TENT)
    board.accept("mine")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    other = context.new_page()
    other.goto(server.url)
    second = Board(other)
    assert second.get("empty") == "yes"
    second.example()
    assert second.names() == []
    second.click(ON_THE_CONTROLLER)
    second.accept("theirs")
    context.close()
    assert [detection["label"] for detection in board.found()] == ["mine"]


def test_unreadable_images_are_one_sentence(board, tmp_path):
    path = tmp_path / "words.png"
    path.write_text("no image")
    board.page.locator("#work-image input[type=file]").first.set_input_files(str(path))
    board.says("words.png.* is not an image")
    assert board.get("empty") == "yes"


@pytest.mark.parametrize("kind", ["coco", "yolo", "mask", "image", "cutouts"])
def test_downloads(board, kind):
    board.example().click(ON_THE_TENT)
    board.accept("tent")
    assert board.download(kind).stat().st_size > 0


def test_rejected_requests_are_reported_and_can_be_repeated(browser, server):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(server.url)
    board = Board(page).example()
    page.route("**/queue/join**", lambda route: route.fulfill(status=503, body='{"detail": "Queue is full."}'))
    page.mouse.click(*board.at(ON_THE_CONTROLLER))
    board.says("server is busy")
    page.unroute("**/queue/join**")
    board.click(ON_THE_TENT)
    board.says("Mask")
    context.close()


def test_touch_sets_points(browser, server):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(server.url)
    board = Board(page).example()
    with board.masks():
        page.touchscreen.tap(*board.at(ON_THE_TENT))
    np.testing.assert_allclose(board.sent[-1]["prompts"][0]["at"], ON_THE_TENT, atol=2)
    context.close()
