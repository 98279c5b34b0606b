"""An image that is still opening: it is shown at once, and what a person prompts in it is not lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.ui.web.board import CV, SCENES, Board, inside

pytest.importorskip("gradio")

OPENING = f"{CV}[data-opening]"
OPENED = f'{CV}[data-drawn="yes"]:not([data-opening])'
CHOICES = f"{CV} .cv-choices button"


@contextmanager
def held(page: Any, urls: str = "**/queue/join**") -> Iterator[None]:
    """Hold back the requests of the page to these URLs until the end."""
    routes: list[Any] = []
    page.route(urls, lambda route: routes.append(route))
    yield
    for each in routes:
        each.continue_()
    page.unroute(urls)


def choose(page: Any, path: Path) -> None:
    """Choose a file, and wait until it is shown."""
    page.locator("#work-image input[type=file]").first.set_input_files(str(path))
    page.wait_for_selector(OPENING)
    page.locator(f"{CV} .cv-stage canvas").scroll_into_view_if_needed()


def large(tmp_path: Path) -> Path:
    """A scene that the server downscales for the page."""
    path = tmp_path / "large.png"
    with Image.open(SCENES[0].path) as scene:
        scene.resize((2560, 2560)).save(path)
    return path


def on_thumbnail(place: tuple[float, float]) -> tuple[float, float]:
    """The place of a scene in its thumbnail."""
    return place[0] * 160 / 256, place[1] * 160 / 256


@pytest.mark.parametrize("first", [True, False], ids=["the first image", "another one before"])
def test_a_click_in_an_image_that_is_still_opening_is_asked_when_it_is_open(page, tmp_path, first):
    board = Board(page) if first else Board(page).example(1)
    place = [each * 10 for each in inside(SCENES[0], "tent")]
    with held(page):
        choose(page, large(tmp_path))
        board.says("Opening the image")
        page.mouse.click(*board.at((place[0], place[1])))
        board.press("Enter")
        board.says("still opening")
        assert [each for each in board.sent if each["do"] == "segment"] == []
    page.wait_for_selector(CHOICES)
    assert page.locator(OPENED).count() == 1
    reach = 1.01 / float((board.get("view") or "").split()[0])
    np.testing.assert_allclose(board.sent[-1]["prompts"][0]["at"], place, atol=reach)
    board.accept("tent")
    assert board.found()[0]["label"] == "tent"


def test_a_box_is_drawn_while_the_image_opens(page):
    board = Board(page)
    left, top, right, bottom = SCENES[0].xyxy[SCENES[0].labels.index("light bulb")].tolist()
    with held(page):
        choose(page, SCENES[0].path)
        page.mouse.move(*board.at((left, top)))
        page.mouse.down()
        page.mouse.move(*board.at((left + 9, top + 9)), steps=3)
    page.wait_for_selector(OPENED)
    with board.masks():
        page.mouse.move(*board.at((right, bottom)), steps=3)
        page.mouse.up()
    reach = 2.02 / float((board.get("view") or "").split()[0])
    np.testing.assert_allclose(board.sent[-1]["prompts"][0]["xyxy"], (left, top, right, bottom), atol=reach)


def test_an_example_is_shown_by_its_thumbnail_until_it_is_open(page):
    board = Board(page)
    with held(page):
        page.locator("#work-examples button").first.click()
        page.wait_for_selector(OPENING)
        page.wait_for_function("() => document.querySelector('#work-labels textarea').value")  # moves what is below
        page.mouse.click(*board.at(on_thumbnail(inside(SCENES[0], "tent"))))
    page.locator("#work-note", has_text="detections in").wait_for()
    page.wait_for_selector(CHOICES)
    (sent,) = (each for each in board.sent if each["do"] == "segment")
    np.testing.assert_allclose(sent["prompts"][0]["at"], inside(SCENES[0], "tent"), atol=2)
    page.click("[data-do=next]")
    page.locator("#work-examples button").first.click()  # the server does not send it again
    page.wait_for_selector(OPENED)
    assert board.get("empty") == "no" and int(board.get("objects") or 0) > 0


def test_prompts_in_an_image_that_cannot_be_opened_are_dropped_with_the_sentence(page, tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(SCENES[0].path.read_bytes()[:-9000])  # a browser shows the rows that are there
    board = Board(page)
    with held(page):
        choose(page, path)
        page.mouse.click(*board.at(inside(SCENES[0], "tent")))
    board.says(r"cut\.png.* The prompts on it are dropped\.")
    assert board.get("empty") == "yes" and board.get("opening") is None
    assert [each["do"] for each in board.sent] == []
    board.example().click(inside(SCENES[0], "tent"))


@pytest.mark.parametrize("refused", ["**/upload**", "**/queue/join**"], ids=["the upload", "the request"])
def test_the_image_before_is_shown_again_if_the_server_refuses_the_next_one(browser, server, refused):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(server.url)
    board = Board(page).example()
    board.click(inside(SCENES[0], "tent"))
    board.accept("tent")
    page.on("dialog", lambda asked: asked.accept())
    page.route(refused, lambda route: route.fulfill(status=503, body='{"detail": "The queue is full."}'))
    page.locator("#work-image input[type=file]").first.set_input_files(str(SCENES[1].path))
    page.locator(f"{CV} .cv-status.cv-failed").wait_for()
    page.wait_for_selector(OPENED)
    assert board.names() == ["tent"]
    page.unroute(refused)
    board.click(inside(SCENES[0], "light bulb"))
    context.close()


def test_a_thumbnail_is_the_next_image_of_a_folder_until_it_is_open(open_folder):
    desk = open_folder(3)
    page = desk.page
    page.wait_for_function("[...document.querySelectorAll('.st-images img')].every(each => each.naturalWidth)")
    place = inside(SCENES[1], SCENES[1].labels[0])
    with held(page):
        desk.press("d")
        page.wait_for_selector(OPENING)
        page.mouse.click(*desk.at(on_thumbnail(place)))
    desk.at_image(2, 3)
    page.wait_for_selector(CHOICES)
    np.testing.assert_allclose(desk.sent[-1]["prompts"][0]["at"], place, atol=2)
    desk.accept("by hand")
    desk.press("d")
    desk.at_image(3, 3)
    desk.press("d")  # there is no other
    page.wait_for_selector(".st:not([data-busy])")
    assert page.locator(OPENING).count() == 0


def test_a_folder_goes_on_after_a_refused_request(open_folder):
    desk = open_folder(2)
    page = desk.page
    page.route("**/queue/join**", lambda route: route.fulfill(status=503, body='{"detail": "The queue is full."}'))
    desk.press("d")
    page.locator("[data-testid=toast-text]", has_text="busy").wait_for()
    page.wait_for_selector(".st:not([data-busy])")
    page.unroute("**/queue/join**")
    page.wait_for_selector(OPENED)
    desk.at_image(1, 2)
    desk.press("d")
    desk.at_image(2, 2)
