"""The brush and its size, the panel that can be hidden, two fingers on the image, and what fits into a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.ui.web.board import CV, SCENES, STAGE, Board, inside

pytest.importorskip("gradio")

SCENE = SCENES[0]
SIZE = f"{CV} [data-size]"
PANEL = f"{CV} [data-do=panel]"


def area(board: Board) -> int:
    return int(coco_mask.area(board.found()[0]["mask"]))


def circle(board: Board) -> int:
    """The number of white pixels in the rows around the middle of the canvas."""
    pixels: int = board.page.evaluate(
        """query => {
            const canvas = document.querySelector(query), context = canvas.getContext("2d");
            const { width, height } = canvas;
            const { data } = context.getImageData(0, height / 2 - 100, width, 200);
            let count = 0;
            for (let at = 0; at < data.length; at += 4) count += Math.min(...data.slice(at, at + 3)) > 250;
            return count;
        }""",
        STAGE,
    )
    return pixels


def test_the_size_of_the_brush_is_chosen_by_slider_and_keys_and_shown_at_the_pointer(board):
    page = board.page
    assert not page.locator(SIZE).is_visible()
    board.press("m")
    assert page.locator(SIZE).is_visible() and page.locator(".cv-size output").inner_text() == "16 px"
    page.mouse.move(*board.at((128, 128)))
    page.wait_for_timeout(100)
    small = circle(board)
    board.press("]")
    board.says("Brush of 20 pixels")
    page.locator(SIZE).evaluate(
        "each => { each.value = 120; each.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    assert page.locator(".cv-size output").inner_text() == "120 px"
    page.mouse.move(*board.at((129, 128)))
    page.wait_for_timeout(100)
    assert circle(board) > 2 * small > 0
    board.says("Brush of 20 pixels")
    before = area(board)
    page.mouse.click(*board.at((128, 128)))
    board.says("Changed the mask")
    scale = float((board.get("view") or "").split()[0])
    assert area(board) - before == pytest.approx(np.pi * (60 / scale) ** 2, rel=0.1)
    page.click(f"{CV} [data-tool=point]")
    assert not page.locator(SIZE).is_visible()


def test_the_brush_and_the_eraser_work_by_keyboard_alone(board):
    before = area(board)
    board.press("m")
    for _ in range(5):
        board.press("]")
    board.press("ArrowUp")
    board.press("Space")
    board.says("Changed the mask")
    dab = area(board)
    assert dab > before
    board.press("b")
    board.says("end of the stroke")
    for _ in range(6):
        board.press("ArrowRight")
    board.press("b")
    board.says("Changed the mask")
    stroke = area(board)
    assert stroke > dab
    board.press("e")
    board.press("Space")
    board.page.wait_for_selector(f"{CV}:not([data-busy])")
    assert area(board) < stroke


def test_brackets_select_objects_unless_a_tool_paints_and_braces_always_do(board):
    board.press("p")
    board.click(inside(SCENE, "tent"))
    board.accept("tent", 2)
    chosen = board.page.locator(".cv-objects li.cv-selected input[type=text]")
    names = []
    for key in ("]", "]", "m", "}", "[", "{"):
        board.press(key)
        names.append(chosen.input_value())
    assert names == ["bulb", "tent", "tent", "bulb", "bulb", "tent"]


def width(board: Board) -> float:
    return float(board.page.locator(f"{CV} .cv-stage").bounding_box()["width"])


@pytest.mark.parametrize("how", ["button", "key"])
def test_the_panel_is_hidden_for_the_image_and_stays_so(board, how):
    page, before = board.page, width(board)

    def toggle() -> None:
        if how == "button":
            page.click(PANEL)
        else:
            board.press("s")

    toggle()
    assert not page.locator(".cv-side").is_visible() and not page.locator("#work-box-threshold").is_visible()
    page.wait_for_function("([at, wide]) => document.querySelector(at).clientWidth > wide", arg=[STAGE, before + 250])
    assert page.locator(PANEL).get_attribute("aria-expanded") == "false"
    with board.masks():  # the image fits the new room, and its places are right
        board.press("p")
        page.wait_for_timeout(200)
        page.mouse.click(*board.at(inside(SCENE, "tent")))
    np.testing.assert_allclose(board.sent[-1]["prompts"][0]["at"], inside(SCENE, "tent"), atol=1)
    board.press("Enter")
    board.count(2)
    page.on("dialog", lambda asked: asked.accept())
    page.reload()
    again = Board(page).example()
    assert not page.locator(".cv-side").is_visible()
    page.click(PANEL)
    assert page.locator(".cv-side").is_visible() and width(again) == pytest.approx(before, abs=1)


def test_the_focus_goes_to_the_button_of_a_panel_that_is_hidden(board):
    page = board.page
    page.locator(".cv-objects [data-part=hide]").first.focus()
    page.keyboard.press("s")
    assert page.evaluate("document.activeElement.dataset.do") == "panel"
    page.keyboard.press("Enter")
    assert page.locator(".cv-side").is_visible()
    assert page.evaluate("document.activeElement.dataset.do") == "panel"


# --- touch


class Fingers:
    """Fingers on a touch screen."""

    def __init__(self, page: Any) -> None:
        self.session = page.context.new_cdp_session(page)

    def put(self, kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        self.session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    def drag(self, start: tuple[tuple[float, float], ...], end: tuple[tuple[float, float], ...]) -> None:
        """Put fingers down one after the other, move them, and lift them."""
        for count in range(1, len(start) + 1):
            self.put("Start", *start[:count])
        for step in np.linspace(0, 1, 9)[1:]:
            at = np.asarray(start) * (1 - step) + np.asarray(end) * step
            self.put("Move", *((float(x), float(y)) for x, y in at))
        self.put("End", end[0])
        self.put("End")


@pytest.fixture
def touched(browser: Any, server: Any) -> Any:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(server.url)
    yield Board(page).example()
    context.close()


def view(board: Board) -> tuple[float, float, float]:
    board.page.wait_for_timeout(100)
    scale, x, y = map(float, (board.get("view") or "").split())
    return scale, x, y


@pytest.mark.parametrize("tool", ["point", "brush", "select", "polygon"])
def test_two_fingers_zoom_and_move_the_image_and_prompt_nothing(touched, tool):
    board, fingers = touched, Fingers(touched.page)
    board.page.locator(f"{CV} [data-tool={tool}]").tap()
    place = (100.0, 120.0)
    x, y = board.at(place)
    scale = view(board)[0]
    fingers.drag(((x - 30, y), (x + 30, y)), ((x - 60, y), (x + 60, y)))
    assert view(board)[0] == pytest.approx(2 * scale, rel=0.02)
    np.testing.assert_allclose(board.at(place), (x, y), atol=2)
    before = view(board)
    fingers.drag(((x - 30, y), (x + 30, y)), ((x - 50, y + 40), (x + 10, y + 40)))
    np.testing.assert_allclose(view(board), (before[0], before[1] - 20, before[2] + 40), atol=2)
    fingers.drag(((x - 60, y), (x + 60, y)), ((x - 10, y), (x + 10, y)))
    assert view(board)[0] < before[0]
    assert board.sent == [] and board.get("edits") == "0"


def test_a_pinch_leaves_the_polygon_as_it_was(touched):
    board, fingers = touched, Fingers(touched.page)
    with board.masks():
        board.page.touchscreen.tap(*board.at(inside(SCENE, "tent")))
    board.page.locator(f"{CV} [data-do=accept]").tap()
    board.count(1)
    board.page.locator(f"{CV} [data-tool=polygon]").tap()
    x, y = board.at(inside(SCENE, "tent"))
    board.page.locator(".cv-objects li").first.tap(position={"x": 6, "y": 6})
    board.page.wait_for_function("at => Number(document.querySelector(at).dataset.corners) > 3", arg=CV)
    board.page.locator(STAGE).scroll_into_view_if_needed()
    before = board.found()
    corners = board.get("corners")
    left, top, right, bottom = SCENE.xyxy[SCENE.labels.index("tent")].tolist()
    for step in range(8):  # some of these begin on an edge or a corner
        x, y = board.at((left + (right - left) * step / 7, (top + bottom) / 2))
        fingers.drag(((x, y), (x + 40, y)), ((x, y), (x + 44, y)))
    assert view(board) and board.get("corners") == corners
    assert board.found() == before
    board.page.touchscreen.tap(*board.at((40.0, 200.0)))
    assert board.get("corners") == corners


# --- the window


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768), (1280, 720)], ids=lambda size: f"{size[0]} x {size[1]}")
def test_the_image_and_the_tools_of_a_folder_fit_into_the_window(open_folder, size):
    desk = open_folder(3, width=size[0])
    page = desk.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    desk.run(list(SCENE.labels))
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(200)
    for part in (STAGE, f"{CV} .cv-tools", "#work-run", ".st-images"):
        box = page.locator(part).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= size[1], part
    assert page.locator(STAGE).bounding_box()["height"] >= 280
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
