"""Boxes that verification rejected, in the workspace: listed with their reasons, shown, and brought back."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.ui.web.board import CV, STAGE, Board

pytest.importorskip("gradio")

PIXELS = f"document.querySelector('{STAGE}').toDataURL()"
ROW = ".cv-rejections li"


@pytest.fixture
def board(page: Any) -> Board:
    """A scene with rejected boxes; the first that looks like another label is the one that the tests bring back."""
    return Board(page).rejecting()


def rejected(board: Board, count: int) -> None:
    board.page.wait_for_function("([at, count]) => document.querySelectorAll(at).length === count", arg=[ROW, count])


def first_alike(board: Board) -> int:
    """The row of the first rejected box that looks like another label."""
    return [row.locator("[data-part=relabel]").count() for row in board.page.locator(ROW).all()].index(1)


def labels(board: Board, row: int) -> dict[str, str]:
    """What the buttons of a row would call its box."""
    buttons = board.page.locator(ROW).nth(row).locator("button").all()
    titles = {str(each.get_attribute("data-part")): str(each.get_attribute("title")) for each in buttons}
    return {part: title.removeprefix("Bring back as ") for part, title in titles.items()}


def test_the_list_is_closed_at_first_and_says_why(board):
    page, count = board.page, board.page.locator(ROW).count()
    said = page.locator(".cv-rejected summary").inner_text()
    assert said == ("1 rejected box" if count == 1 else f"{count} rejected boxes")
    assert not page.locator(ROW).first.is_visible()
    page.locator(".cv-rejected summary").click()
    row = first_alike(board)
    own, other = (re.escape(labels(board, row)[part]) for part in ("restore", "relabel"))
    text = page.locator(ROW).nth(row).inner_text()
    assert re.search(rf"{own} 0\.\d\d", text) and re.search(rf"looks like {other} 0\.\d\d", text)


def test_a_rejected_box_under_the_pointer_is_shown_in_the_image(board):
    page = board.page
    page.locator(".cv-rejected summary").click()
    page.mouse.move(3, 3)
    page.wait_for_timeout(200)
    before = page.evaluate(PIXELS)
    page.locator(ROW).first.hover()
    page.wait_for_function(f"before => {PIXELS} !== before", arg=before)
    page.mouse.move(3, 3)
    page.wait_for_function(f"before => {PIXELS} === before", arg=before)


BACK = [
    pytest.param("button", "restore", "restore", id="by its button"),
    pytest.param("button", "relabel", "relabel", id="by its button, as what it looks like"),
    pytest.param("key", "k", "restore", id="by a key"),
    pytest.param("key", "Shift+K", "relabel", id="by a key, as what it looks like"),
]


@pytest.mark.parametrize(("how", "which", "part"), BACK)
def test_a_rejected_box_is_brought_back_with_undo_and_redo(board, how, which, part):
    page, before, count = board.page, board.names(), board.page.locator(ROW).count()
    row = first_alike(board)
    label = labels(board, row)[part]
    if how == "button":
        page.locator(".cv-rejected summary").click()
        page.locator(ROW).nth(row).locator(f"[data-part={which}]").focus()
        page.keyboard.press("Enter")
    else:
        for _ in range(row + 1):
            board.press("j")
        board.says("Rejected: .* K brings it back. Shift")
        board.press(which)
    board.says("Brought the box back")
    assert board.names() == [*before, label]
    assert page.locator(".cv-objects li.cv-selected input").input_value() == label
    rejected(board, count - 1)
    assert page.evaluate("document.activeElement !== document.body")
    found = board.found()
    assert [each["label"] for each in found] == [*before, label] and "verification" not in found[-1]
    board.press("u")
    board.count(len(before))
    rejected(board, count)
    board.press("y")
    board.count(len(before) + 1)
    rejected(board, count - 1)


def test_a_box_that_was_brought_back_and_deleted_is_rejected_again(board):
    objects, boxes = len(board.names()), board.page.locator(ROW).count()
    board.press("j")
    board.press("k")
    board.count(objects + 1)
    board.press("Delete")
    board.count(objects)
    rejected(board, boxes)


def test_without_a_rejected_box_the_key_says_so(page):
    board = Board(page).example(0)
    board.press("j")
    board.says("rejected no box")
    assert page.locator(f"{CV} .cv-rejected").is_hidden()
