"""Editing objects in the workspace with the mouse, and what the page asks before edits are dropped."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.ui.web.board import CV, SCENES, STAGE, Board, inside

pytest.importorskip("gradio")

SCENE = SCENES[0]
BULB = SCENE.xyxy[SCENE.labels.index("light bulb")].tolist()
PIXELS = f"document.querySelector('{STAGE}').toDataURL()"


def box(board: Board) -> list[float]:
    return list(board.found()[0]["xyxy"])


def settled(board: Board) -> str:
    """The pixels of the canvas once nothing changes any more."""
    board.page.mouse.move(3, 3)
    board.at_rest()
    pixels: str = board.page.evaluate(PIXELS)
    return pixels


@pytest.mark.parametrize(
    ("handle", "by", "edges"),
    [
        pytest.param((2, 3), (20, 10), {2: 20, 3: 10}, id="bottom right corner"),
        pytest.param((0, 1), (-8, -12), {0: -8, 1: -12}, id="top left corner"),
        pytest.param((2, None), (15, 40), {2: 15}, id="right edge"),
        pytest.param((None, 1), (30, -9), {1: -9}, id="top edge"),
        pytest.param((None, None), (25, -6), {0: 25, 1: -6, 2: 25, 3: -6}, id="moved as a whole"),
    ],
)
def test_a_box_is_resized_and_moved_with_the_mouse(board, handle, by, edges):
    before = box(board)
    middle = (before[0] + before[2]) / 2, (before[1] + before[3]) / 2
    start = [middle[axis] if edge is None else before[edge] for axis, edge in enumerate(handle)]
    board.drag((start[0], start[1]), (start[0] + by[0], start[1] + by[1]))
    board.says("Changed the box")
    wanted = [edge + edges.get(row, 0) for row, edge in enumerate(before)]
    reach = 2.02 / float((board.get("view") or "").split()[0])  # two pixels of the screen: where it starts and ends
    np.testing.assert_allclose(box(board), wanted, atol=reach)
    board.press("u")
    board.says("Undid")
    assert box(board) == before


def test_the_selected_object_gets_a_box_by_keyboard_and_the_crosshair_stays_in_view(board):
    for _ in range(5):
        board.press("+")
    for key, count in (("ArrowUp", 1), ("ArrowLeft", 6), ("ArrowUp", 6)):
        for _ in range(count):
            board.press(key)
    page, frame = board.page, board.page.locator(STAGE).bounding_box()
    words = page.locator(f"{CV} .cv-status", has_text="Crosshair at").inner_text()
    corner = [int(each) for each in re.findall(r"\d+", words)]
    board.at_rest()
    x, y = board.at((corner[0], corner[1]))
    assert frame["x"] < x < frame["x"] + frame["width"] and frame["y"] < y < frame["y"] + frame["height"]
    board.press("b")
    for key in ("ArrowRight", "ArrowDown"):
        for _ in range(9):
            board.press(key)
    board.press("b")
    board.says("Changed the box")
    step = 9 * max(1, 8 / float((board.get("view") or "").split()[0]))
    np.testing.assert_allclose(box(board), [*corner, corner[0] + step, corner[1] + step], atol=1)


def test_a_locked_object_stays_as_it_is(board):
    board.page.locator(".cv-objects [data-part=lock]").click()
    before = board.found()
    right, bottom = before[0]["xyxy"][2:]
    board.drag((right, bottom), (right + 20, bottom - 20))
    board.says("is locked")
    board.page.locator(".cv-objects [data-part=delete]").click()
    board.says("is locked")
    board.page.click(f"{CV} [data-tool=eraser]")
    board.drag(inside(SCENE, "light bulb"), (BULB[0], BULB[1]))
    board.says("is locked")
    assert board.found() == before
    board.page.locator(".cv-objects [data-part=lock]").click()
    board.page.locator(".cv-objects [data-part=delete]").click()
    board.count(0)


def test_a_hidden_object_is_not_drawn_and_cannot_be_clicked(board):
    board.press("Escape")
    shown = settled(board)
    board.page.locator(".cv-objects [data-part=hide]").click()
    board.press("Escape")
    assert settled(board) != shown
    board.page.mouse.click(*board.at(inside(SCENE, "light bulb")))
    assert board.page.locator(".cv-objects li.cv-selected").count() == 0
    assert len(board.found()) == 1
    board.page.locator(".cv-objects [data-part=hide]").click()
    board.press("Escape")
    assert settled(board) == shown


def test_a_mask_under_the_pointer_is_previewed_in_the_image(board):
    board.press("p")
    board.click(inside(SCENE, "tent"))
    choices = board.page.locator(f"{CV} .cv-choices button")
    chosen = [each.get_attribute("aria-checked") for each in choices.all()].index("true")
    before = settled(board)
    choices.nth((chosen + 1) % 3).hover()
    board.page.wait_for_function(f"before => {PIXELS} !== before", arg=before)
    assert choices.nth(chosen).get_attribute("aria-checked") == "true"
    assert settled(board) == before


@pytest.mark.parametrize("opens", ["example", "file"])
def test_another_image_does_not_drop_edits_without_asking(board, opens):
    said: list[str] = []

    def answer(asked: Any) -> None:
        said.append(asked.message)
        asked.dismiss() if len(said) == 1 else asked.accept()

    board.page.on("dialog", answer)
    for count in (1, 0):
        if opens == "example":
            board.page.locator("#work-examples button").nth(1).click()
        else:
            board.page.locator("#work-image input[type=file]").first.set_input_files(str(SCENES[1].path))
        if count:
            board.page.wait_for_timeout(300)
            assert board.names() == ["bulb"]
    board.page.wait_for_function("() => !document.querySelector('.cv-objects input')?.value.includes('bulb')")
    assert len(said) == 2 and all("drop" in each for each in said)


def test_closing_the_page_with_edits_asks(board):
    said: list[str] = []

    def answer(asked: Any) -> None:
        said.append(asked.type)
        asked.accept()

    board.page.on("dialog", answer)
    board.page.goto("about:blank")
    assert said == ["beforeunload"]


def test_phones_scroll_to_the_result(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#work-examples button").first.click()
    page.locator("#work-note", has_text="detections in").wait_for()
    page.wait_for_function(
        "at => Math.abs(document.querySelector(at).getBoundingClientRect().top - 200) <= 200",
        arg=f"{CV} .cv-stage",
    )


def test_escape_clears_the_prompts_and_undo_brings_them_back(board):
    choices = board.page.locator(f"{CV} .cv-choices button")
    board.press("p")
    board.click(inside(SCENE, "tent"))
    board.press("Escape")
    board.says("Cleared the prompts")
    assert choices.count() == 0
    with board.masks():
        board.press("u")
    assert choices.count() == 3


def test_a_label_above_the_image_names_a_new_mask(board):
    board.press("p")
    board.click(inside(SCENE, "tent"))
    board.page.locator(".cv-words button", has_text="bulb").click()
    board.says("Added bulb")
    assert board.names() == ["bulb", "bulb"]
    board.page.locator(".cv-words button", has_text="bulb").click()  # without a mask it filters
    board.page.locator(".cv-words button[aria-pressed=true]").wait_for()


@pytest.mark.parametrize("where", ["after a rename", "in a row", "beside everything"])
def test_keys_act_wherever_the_focus_was_left(board, where):
    page = board.page
    if where == "after a rename":
        page.locator(".cv-objects input[type=text]").fill("lamp")
        page.keyboard.press("Enter")
        board.says("Renamed")
        page.keyboard.press("Control+z")
        board.says("Undid")
        assert board.names() == ["bulb"]
    elif where == "in a row":
        page.locator(".cv-objects .cv-score").click()
    else:
        page.locator(".ov-header p").click()
        assert page.evaluate("document.activeElement === document.body")
    page.keyboard.press("Delete")
    board.count(0)


def corners(board: Board, count: int) -> None:
    board.page.wait_for_selector(f'{CV}[data-corners="{count}"]:not([data-busy])')


def corner(board: Board) -> tuple[int, int]:
    """The place of the next corner."""
    board.press(".")
    words = board.page.locator(f"{CV} .cv-status", has_text="Corner at").inner_text()
    x, y = words.removeprefix("Corner at ").rstrip(".").split(", ")
    return int(x), int(y)


def test_a_polygon_is_edited_with_the_mouse_and_by_keys(board):
    page, before = board.page, board.found()
    board.press("g")
    board.says("corners: drag one")
    count = int(board.get("corners") or 0)
    assert 8 < count < 60
    x, y = corner(board)
    board.press("i")
    corners(board, count + 1)
    board.says("Changed the mask")
    board.press("Delete")
    corners(board, count)
    board.press("Escape")
    x, y = corner(board)
    board.drag((x, y), (x - 25, y - 25))  # a corner is dragged out
    board.says("Changed the mask")
    corners(board, count)
    dragged = board.found()
    assert dragged[0]["mask"] != before[0]["mask"]
    assert dragged[0]["xyxy"][0] < before[0]["xyxy"][0] or dragged[0]["xyxy"][1] < before[0]["xyxy"][1]
    page.mouse.dblclick(*board.at((x - 25, y - 25)))  # and deleted
    corners(board, count - 1)
    board.press("u")
    board.says("Undid")
    corners(board, count)
    assert board.found() == dragged
    board.press("y")
    board.says("Repeated")
    corners(board, count - 1)
    corner(board)
    board.press("Shift+ArrowRight")
    board.says("Changed the mask")
    corners(board, count - 1)
    board.press("v")
    corners(board, 0)
    assert board.names() == ["bulb"]
