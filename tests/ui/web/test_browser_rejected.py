"""Boxes that verification rejected, in the workspace: listed with their reasons, shown, and brought back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ui.web.board import CV, STAGE, Board

pytest.importorskip("gradio")

PIXELS = f"document.querySelector('{STAGE}').toDataURL()"
ROW = ".cv-rejections li"


@pytest.fixture
def board(page: Any) -> Board:
    """The fourth scene, asked for all labels of the models: a tomato is rejected, which looks like a chili pepper."""
    made = Board(page).example(3)
    page.fill("#work-labels textarea", "pocket")
    page.press("#work-labels textarea", "Enter")
    page.locator("#work-note", has_text="detections in").wait_for()
    page.wait_for_selector(".cv-rejected:not([hidden])")
    return made


def rejected(board: Board, count: int) -> None:
    board.page.wait_for_function("([at, count]) => document.querySelectorAll(at).length === count", arg=[ROW, count])


def test_the_list_is_closed_at_first_and_says_why(board):
    page = board.page
    assert page.locator(".cv-rejected summary").inner_text() == "1 rejected box"
    assert not page.locator(ROW).is_visible()
    page.locator(".cv-rejected summary").click()
    said = page.locator(ROW).inner_text()
    assert "tomato 0.4" in said and "looks like chili pepper 0.1" in said


def test_a_rejected_box_under_the_pointer_is_shown_in_the_image(board):
    page = board.page
    page.locator(".cv-rejected summary").click()
    page.mouse.move(3, 3)
    page.wait_for_timeout(200)
    before = page.evaluate(PIXELS)
    page.locator(ROW).hover()
    page.wait_for_function(f"before => {PIXELS} !== before", arg=before)
    page.mouse.move(3, 3)
    page.wait_for_function(f"before => {PIXELS} === before", arg=before)


BACK = [
    pytest.param("button", "restore", "tomato", id="by its button"),
    pytest.param("button", "relabel", "chili pepper", id="by its button, as what it looks like"),
    pytest.param("key", "k", "tomato", id="by a key"),
    pytest.param("key", "Shift+K", "chili pepper", id="by a key, as what it looks like"),
]


@pytest.mark.parametrize(("how", "which", "label"), BACK)
def test_a_rejected_box_is_brought_back_with_undo_and_redo(board, how, which, label):
    page, before = board.page, board.names()
    if how == "button":
        page.locator(".cv-rejected summary").click()
        page.locator(f"{ROW} [data-part={which}]").focus()
        page.keyboard.press("Enter")
    else:
        board.press("j")
        board.says("Rejected: tomato .* K brings it back. Shift")
        board.press(which)
    board.says("Brought the box back")
    assert board.names() == [*before, label]
    assert page.locator(".cv-objects li.cv-selected input").input_value() == label
    assert not page.locator(".cv-rejected").is_visible()
    assert page.evaluate("document.activeElement !== document.body")
    found = board.found()
    assert [each["label"] for each in found] == [*before, label] and "verification" not in found[-1]
    board.press("u")
    board.count(len(before))
    rejected(board, 1)
    board.press("y")
    board.count(len(before) + 1)
    rejected(board, 0)


def test_a_box_that_was_brought_back_and_deleted_is_rejected_again(board):
    count = len(board.names())
    board.press("j")
    board.press("k")
    board.count(count + 1)
    board.press("Delete")
    board.count(count)
    rejected(board, 1)


def test_without_a_rejected_box_the_key_says_so(page):
    board = Board(page).example(0)
    board.press("j")
    board.says("rejected no box")
    assert page.locator(f"{CV} .cv-rejected").is_hidden()
