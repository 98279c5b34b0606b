"""axe-core finds no violation in both themes; the focus is never lost, and arrow keys move in groups."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ui.web.board import CV, SCENES, STAGE, Board, Desk, inside

pytest.importorskip("gradio")
sync_playwright = pytest.importorskip("axe_playwright_python.sync_playwright")

THEMES = [pytest.param("light", id="light"), pytest.param("dark", id="dark")]
ALSO_DARK = [THEMES[0], pytest.param("dark", id="dark", marks=pytest.mark.long)]
"""The same colors as the workspace, so that the dark theme is checked less often."""


SETTLED = """() => !document.querySelector('.pending')
    && document.getAnimations().every(each => !(each instanceof CSSTransition))"""
"""Gradio fades an output while its answer arrives: colors in between are none of the page's."""


def violations(page: Any) -> list[str]:
    """What axe-core finds in the settled page, one line per node."""
    page.wait_for_function(SETTLED)
    found = sync_playwright.Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['target']} {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for each in found
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("theme", THEMES)
def test_the_workspace_with_an_answer(page, server, theme):
    page.goto(f"{server.url}/?__theme={theme}")
    page.wait_for_selector(f"{CV}[data-ready]")
    page.locator("#work-examples button").first.click()
    page.locator("#work-note", has_text="detections in").wait_for()
    board = Board(page).opened()
    board.click(inside(SCENES[0], "tent"))
    assert violations(page) == []
    page.click(f"{CV} [data-do=next]")
    page.locator(".cv-words button").first.click()
    page.click(f"{CV} [data-tool=brush]")
    assert violations(page) == []
    page.click(f"{CV} [data-do=panel]")
    assert violations(page) == []


@pytest.mark.parametrize("theme", ALSO_DARK)
def test_the_list_of_rejected_boxes(page, server, theme):
    page.goto(f"{server.url}/?__theme={theme}")
    board = Board(page).rejecting()
    board.press("j")
    board.says("Rejected: ")
    assert violations(page) == []


@pytest.mark.parametrize("theme", ALSO_DARK)
def test_the_folder_view(open_folder, theme):
    desk: Desk = open_folder(3)
    desk.run(list(SCENES[0].labels))
    desk.press("r")
    desk.at_image(2, 3)
    desk.page.wait_for_timeout(500)  # an answer that still arrives would be an aborted request
    desk.page.goto(f"{desk.page.url}&__theme={theme}")
    desk.ready()
    assert violations(desk.page) == []


@pytest.mark.parametrize("theme", ALSO_DARK)
@pytest.mark.parametrize("tab", ["Tag", "Batch", "About the models"])
def test_the_other_tabs(page, server, tab, theme):
    page.goto(f"{server.url}/?__theme={theme}")
    page.get_by_role("tab", name=tab, exact=True).click()
    page.get_by_role("tab", name=tab, exact=True, selected=True).wait_for()
    if tab == "Tag":
        page.locator("#tag-images input[type=file]").set_input_files([str(SCENES[0].path)])
        page.locator("#tag-labels textarea").fill("crab, tent")
        page.locator("#tag-run").click()
        page.locator(".ov-cards article").wait_for()
    assert violations(page) == []


def test_files_are_added_to_a_list_by_mouse_and_keyboard(page):
    page.get_by_role("tab", name="Tag", exact=True).click()
    page.locator("#tag-images input[type=file]").set_input_files([str(SCENES[0].path)])
    add = page.locator("#tag-images").get_by_role("button", name="Add files")
    for count, key in ((2, ""), (3, "Enter")):
        with page.expect_file_chooser() as chooser:
            add.press(key) if key else add.click()
        chooser.value.set_files(str(SCENES[count].path))
        page.wait_for_function("n => document.querySelectorAll('#tag-images tr.file').length === n", arg=count)


ACTIONS = [
    pytest.param("[data-part=hide]", "[data-part=hide]", id="hide"),
    pytest.param("[data-part=lock]", "[data-part=lock]", id="lock"),
    pytest.param("[data-part=delete]", "[data-part=delete]", id="delete"),
]


@pytest.mark.parametrize(("target", "then"), ACTIONS)
def test_the_focus_stays_in_the_list_after_an_action(page, target, then):
    page.locator("#work-examples button").first.click()
    page.locator("#work-note", has_text="detections in").wait_for()
    before = page.locator(".cv-objects li").count()
    page.locator(f".cv-objects {target}").first.focus()
    page.keyboard.press("Enter")
    if "delete" in target:
        page.wait_for_function("n => document.querySelectorAll('.cv-objects li').length === n", arg=before - 1)
    assert page.evaluate("query => document.activeElement.matches(query)", then)


@pytest.mark.parametrize("button", ["accept", "undo", "clean", "zoomIn", "next"])
def test_the_focus_is_never_lost_by_a_button(page, button):
    board = Board(page).example()
    board.click(inside(SCENES[0], "tent"))
    page.locator(f"{CV} [data-do={button}]").focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(600)
    assert page.evaluate("document.activeElement !== document.body")


def test_the_focus_stays_on_a_label_that_filters_or_names(page):
    page.locator("#work-examples button").first.click()
    page.locator("#work-note", has_text="detections in").wait_for()
    page.locator(".cv-words button", has_text="tent").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".cv-words button[aria-pressed=true]")
    assert page.evaluate("document.activeElement.dataset.label") == "tent"


@pytest.mark.parametrize(
    ("group", "keys", "wanted"),
    [
        pytest.param("[data-tool=point]", ["ArrowDown"], {"tool": "box"}, id="tools"),
        pytest.param("[data-tool=point]", ["ArrowUp", "ArrowUp"], {"tool": "polygon"}, id="tools turn around"),
        pytest.param("[data-inside=yes]", ["ArrowRight"], {"inside": "no"}, id="object or background"),
        pytest.param(".cv-choices [aria-checked=true]", ["ArrowRight"] * 3, {}, id="masks"),
        pytest.param(".cv-words button", ["ArrowRight", "ArrowLeft", "ArrowRight"], {"label": "pad"}, id="labels"),
    ],
)
def test_arrow_keys_move_in_groups(page, group, keys, wanted):
    board = Board(page).example()
    for place, name in ((inside(SCENES[0], "tent"), "tent"), (inside(SCENES[0], "light bulb"), "pad")):
        board.click(place)
        board.accept(name, 1 if name == "tent" else 2)
    board.click(inside(SCENES[0], "tent"))
    page.locator(f"{CV} {group}").first.focus()
    for key in keys:
        page.keyboard.press(key)
    data = page.evaluate("({...document.activeElement.dataset})")
    assert {name: data.get(name) for name in wanted} == wanted
    assert page.evaluate("document.activeElement !== document.body")
    assert page.locator(STAGE).is_visible()
