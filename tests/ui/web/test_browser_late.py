"""Answers that are late: nothing that a person did meanwhile is lost, and no older state is shown again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import pytest

from tests.ui.web.board import CV, SCENES, Board, Desk, inside

pytest.importorskip("gradio")

TENT, BULB = (inside(SCENES[0], label) for label in ("tent", "light bulb"))


class Hold:
    """Handlers that wait, before or after their work, until they are released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch, self._released = monkeypatch, threading.Event()
        self.reached = threading.Event()

    def wait(self) -> None:
        self.reached.set()
        self._released.wait(20)

    def release(self) -> None:
        self._released.set()

    def before(self, owner: Any, name: str, at: Callable[..., bool] = lambda *_: True) -> None:
        """Hold calls of a method, where `at` says so of their arguments, before their work."""
        self._replace(owner, name, at, self.wait, lambda: None)

    def after(self, owner: Any, name: str, at: Callable[..., bool] = lambda *_: True) -> None:
        """Hold the answers of a method after its work."""
        self._replace(owner, name, at, lambda: None, self.wait)

    def _replace(
        self, owner: Any, name: str, at: Callable[..., bool], before: Callable[[], None], after: Callable[[], None]
    ) -> None:
        method = getattr(owner, name)

        @wraps(method)
        def held(*inputs: Any, **options: Any) -> Any:
            if not at(*inputs):
                return method(*inputs, **options)
            before()
            answer = method(*inputs, **options)
            after()
            return answer

        self._patch.setattr(owner, name, held)


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    made = Hold(monkeypatch)
    yield made
    made.release()


# --- the canvas


def test_a_click_after_add_is_the_next_object_and_add_adds_once(page, hold):
    from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

    board = Board(page).example()
    board.click(TENT)
    hold.before(WorkspaceHandlers, "_accept")
    page.fill(f"{CV} [data-name]", "tent")
    board.press("Enter")
    board.press("Enter")
    assert hold.reached.wait(20)
    page.mouse.click(*board.at(BULB))
    with board.masks():
        hold.release()
    board.count(1)
    assert page.locator(f"{CV} .cv-choices button").count() == 3
    assert [len(each["prompts"]) for each in board.sent if each["do"] == "segment"] == [1, 1]
    board.accept("bulb", 2)
    assert board.names() == ["tent", "bulb"]


def test_the_next_image_after_add_asks_nothing(open_folder, hold):
    from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

    hold.before(WorkspaceHandlers, "_accept")
    desk: Desk = open_folder(2)
    said: list[str] = []

    def answer(asked: Any) -> None:
        said.append(asked.message)
        asked.accept()

    desk.page.on("dialog", answer)
    desk.click(TENT)
    desk.press("Enter")
    desk.press("d")
    assert hold.reached.wait(20)
    hold.release()
    desk.at_image(2, 2)
    desk.press("a")
    desk.at_image(1, 2)
    assert desk.names() == ["object"] and said == []


def test_a_name_that_is_being_typed_stays_when_the_list_is_made_anew(open_folder, hold):
    from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

    hold.before(WorkspaceHandlers, "edit", lambda _, __, event: event.do == "remove")
    desk: Desk = open_folder(1)
    for number, place in enumerate((TENT, BULB), 1):
        desk.click(place)
        desk.accept("thing", number)
    fields = desk.page.locator(".cv-objects input[type=text]")
    desk.page.locator(".cv-objects [data-part=delete]").first.click()
    assert hold.reached.wait(20)
    fields.nth(1).focus()
    desk.page.keyboard.press("End")
    desk.page.keyboard.type("am")
    hold.release()
    desk.count(1)
    desk.page.keyboard.type("ajig")
    desk.page.keyboard.press("Enter")
    desk.says("Renamed")
    assert desk.names() == ["thingamajig"]
    desk.press("u")  # it was one rename
    desk.says("Undid")
    assert desk.names() == ["thing"]


def test_an_object_that_is_being_deleted_is_not_selected_again(open_folder, hold):
    from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

    hold.before(WorkspaceHandlers, "edit", lambda _, __, event: event.do == "remove")
    desk: Desk = open_folder(1)
    for number, (place, name) in enumerate(((TENT, "tent"), (BULB, "bulb")), 1):
        desk.click(place)
        desk.accept(name, number)
    desk.press("v")
    desk.press("]")
    desk.press("Delete")
    desk.press("]")
    desk.press("1")
    assert hold.reached.wait(20)
    hold.release()
    desk.count(1)
    desk.says("Renamed")
    assert desk.names() == ["tent"]


def test_a_threshold_that_is_answered_late_does_not_undo_an_edit(open_folder, hold):
    from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

    hold.after(WorkspaceHandlers, "set_thresholds")
    desk: Desk = open_folder(1)
    desk.run(list(SCENES[0].labels))
    before = desk.names()
    desk.slide("box-threshold", 0.5)
    assert hold.reached.wait(20)
    desk.page.locator(".cv-objects [data-part=delete]").first.click()
    desk.edits(1)
    hold.release()
    desk.page.wait_for_timeout(700)
    assert desk.names() == before[1:] and desk.get("edits") == "1"


def test_what_the_models_find_in_an_image_is_not_shown_in_the_next_one(page, hold):
    from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

    board = Board(page)
    page.locator("#work-examples button").first.click()
    page.locator("#work-note", has_text="detections in").wait_for()
    hold.before(WorkspaceHandlers, "_shown")
    page.click("#work-run")
    assert hold.reached.wait(20)
    page.locator("#work-image input[type=file]").first.set_input_files(str(SCENES[1].path))
    page.wait_for_selector(f"{CV}[data-opening]")
    place = inside(SCENES[1], SCENES[1].labels[0])
    page.mouse.click(*board.at(place))
    with board.masks():
        hold.release()
    page.wait_for_selector(f'{CV}[data-drawn="yes"]:not([data-opening])')
    assert board.names() == []
    assert [each["do"] for each in board.sent] == ["segment"]
    board.accept(SCENES[1].labels[0])


# --- the strip


def test_the_status_of_the_image_before_does_not_bring_it_back(open_folder, hold):
    from openvocab.ui.web.strip.handlers import StripHandlers

    hold.before(StripHandlers, "refresh")
    desk: Desk = open_folder(2)
    desk.run(["tent"])
    desk.page.keyboard.press("d")
    desk.at_image(2, 2)
    url = desk.page.url
    hold.release()
    desk.page.wait_for_timeout(700)
    desk.at_image(2, 2)
    assert desk.page.url == url and desk.status(1) == "answered"


def test_the_status_after_a_run_leaves_the_order_as_it_is(open_folder, hold):
    from openvocab.ui.web.strip.handlers import StripHandlers

    hold.before(StripHandlers, "refresh")
    desk: Desk = open_folder(3)
    desk.run(["tent"])
    assert hold.reached.wait(20)
    desk.page.locator("[data-order]").select_option("doubt")
    desk.page.wait_for_selector(".st:not([data-busy])")
    hold.release()
    desk.page.wait_for_selector('.st-images button[data-status="answered"]')
    desk.page.wait_for_timeout(700)
    assert desk.page.locator("[data-order]").input_value() == "doubt"


def test_a_thumbnail_that_is_clicked_while_an_image_opens_is_opened_after_it(open_folder, hold):
    from openvocab.ui.web.strip.handlers import StripHandlers

    hold.before(StripHandlers, "_target", lambda _, __, ___, event: event.do == "next")
    desk: Desk = open_folder(4)
    desk.press("d")
    assert hold.reached.wait(20)
    desk.page.locator(".st-images button").nth(3).click()
    hold.release()
    desk.at_image(4, 4)


def test_the_sliders_show_what_the_open_image_was_answered_with(open_folder):
    desk: Desk = open_folder(2)
    desk.run(list(SCENES[0].labels))
    count = len(desk.names())
    desk.slide("box-threshold", 0.8)
    desk.page.wait_for_function("n => document.querySelectorAll('.cv-objects li').length < n", arg=count)
    few = desk.names()
    desk.page.reload()
    desk.ready()
    slider = desk.page.locator("#work-box-threshold input[type=range]")
    desk.page.wait_for_function("document.querySelector('#work-box-threshold input[type=range]').value === '0.8'")
    assert desk.names() == few and slider.input_value() == "0.8"
