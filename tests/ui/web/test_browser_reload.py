"""A reload shows the image of the tab again, with its objects, edits, words and thresholds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ui.web.board import CV, Board

pytest.importorskip("gradio")

WORDS = "#work-labels textarea"
FOUND = "detections in scene-1.png"


def found(page: Any) -> Board:
    """Run the first example, delete an object and name another."""
    board = Board(page)
    page.locator("#work-examples button").first.click()
    page.locator("#work-note", has_text=FOUND).wait_for()
    page.locator(f"{CV} .cv-objects [data-part=delete]").first.click()
    page.wait_for_selector(f'{CV}[data-edits="1"]:not([data-busy])')
    page.on("dialog", lambda asked: asked.accept())
    return board


def slid(page: Any) -> str:
    value: str = page.locator("#work-box-threshold input[type=range]").input_value()
    return value


def test_an_edited_image_comes_again_and_can_be_worked_on(page):
    before = found(page)
    field = page.locator("#work-box-threshold input[type=range]")
    field.evaluate("each => { each.value = 0.35; each.dispatchEvent(new Event('input', {bubbles: true})); }")
    page.wait_for_function("() => document.querySelector('#work-note').textContent.includes('detections in')")
    names, words = before.names(), page.locator(WORDS).input_value()
    page.reload()
    board = Board(page).opened()
    page.locator("#work-note", has_text=FOUND).wait_for()
    assert (board.names(), page.locator(WORDS).input_value(), slid(page)) == (names, words, "0.35")
    board.press("u")
    board.count(len(names) + 1)
    page.press(WORDS, "Enter")
    page.wait_for_selector(f"{CV} .ov-steps")
    page.locator("#work-note", has_text=FOUND).wait_for()
    page.reload()
    Board(page).opened().count(len(names) + 1)


def test_another_tab_and_a_cleared_image_are_empty(page, server):
    found(page)
    other = page.context.new_page()
    other.goto(server.url)
    assert Board(other).get("empty") == "yes"
    other.close()
    page.locator("#work-image button[aria-label='Clear'], #work-image button[aria-label='Remove Image']").first.click()
    page.wait_for_selector(f'{CV}[data-empty="yes"]')
    assert page.evaluate("sessionStorage.length") == 0


def test_an_image_that_the_server_no_longer_holds_leaves_the_page_empty(page, server):
    found(page)
    token = page.evaluate("sessionStorage.getItem('openvocab-image')")
    server.context.workspaces.discard(token)
    with page.expect_response(lambda response: "/run/" in response.url or "/queue/" in response.url):
        page.reload()
    board = Board(page)
    assert board.get("empty") == "yes"
    page.locator("#work-examples button").first.click()
    page.locator("#work-note", has_text=FOUND).wait_for()
