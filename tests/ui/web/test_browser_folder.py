"""A served folder in a real browser: an annotator's session, and what must not be lost."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import ndimage

import openvocab
from tests.ui.web.board import CV, Board

pytest.importorskip("gradio")

SCENES = openvocab.example_scenes()
WORDS = list(dict.fromkeys(label for scene in SCENES[:3] for label in scene.labels))


def save_scenes(folder: Path, count: int) -> Path:
    """Write drawn scenes: the examples, and turned by a quarter after the last one."""
    folder.mkdir()
    for number in range(count):
        pixels = openvocab.read_image(SCENES[number % len(SCENES)].path)
        Image.fromarray(np.rot90(pixels, number // len(SCENES)).copy()).save(folder / f"{number:02}.png")
    return folder


class Desk(Board):
    """The workspace over a served folder."""

    def __init__(self, page: Any, url: str) -> None:
        page.goto(url)
        super().__init__(page)
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector('.st[data-ready]:not([data-busy])[data-at]:not([data-at=""])')
        self.page.wait_for_selector(f"{CV}[data-drawn]")

    def at_image(self, number: int, total: int) -> None:
        self.page.locator(".st-at", has_text=f"{number} of {total}:").wait_for()
        self.ready()

    def run(self, words: list[str]) -> None:
        self.page.fill("#work-labels textarea", ", ".join(words))
        self.page.press("#work-labels textarea", "Enter")
        self.page.locator("#work-note", has_text="in 0").wait_for()

    def status(self, number: int) -> str | None:
        found: str | None = self.page.locator(".st-images button").nth(number - 1).get_attribute("data-status")
        return found

    def edits(self, number: int) -> None:
        self.page.wait_for_selector(f'{CV}[data-edits="{number}"]:not([data-busy])')


@pytest.fixture
def open_folder(server: Any, browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A function that serves a folder of scenes and opens it in the browser; no error may be in the console."""
    from contextlib import ExitStack

    from openvocab.ui.web.context import Context
    from openvocab.ui.web.served.folder import serving
    from openvocab.ui.web.server import ServerOptions, run_server

    errors: list[str] = []
    with ExitStack() as stack:

        def opened(count: int, width: int = 1440) -> Desk:
            served = stack.enter_context(serving(save_scenes(tmp_path / "scenes", count), None, 10**7))
            made = stack.enter_context(run_server(Context(server.context.models, served=served), ServerOptions(port=0)))
            session = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True)
            stack.callback(session.close)
            page = session.new_page()
            page.set_default_timeout(60_000)
            page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            hosts = set()
            session.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
            stack.callback(lambda: hosts_are(hosts, made.url))
            return Desk(page, made.url)

        yield opened
    assert errors == []


def hosts_are(hosts: set[str], url: str) -> None:
    assert hosts - {""} == {urlsplit(url).netloc}


def inside(scene: Any, label: str) -> tuple[float, float]:
    """The point of an object that is farthest from its edge."""
    far = ndimage.distance_transform_edt(scene.masks()[scene.labels.index(label)])
    y, x = np.unravel_index(int(far.argmax()), far.shape)
    return float(x) + 0.5, float(y) + 0.5


def test_an_annotators_session(open_folder, tmp_path):
    desk = open_folder(20)
    page = desk.page
    desk.at_image(1, 20)
    desk.run(WORDS)
    accepted = desk.names()
    assert set(accepted) >= {"tent", "light bulb"}
    desk.press("r")  # accept the answer, and go on
    desk.at_image(2, 20)
    page.locator("#work-note", has_text="in 01.png").wait_for()
    assert desk.status(1) == "reviewed"

    found = desk.names()
    assert len(found) >= 2
    field = page.locator(".cv-objects input[type=text]")
    field.nth(0).fill("first name")  # 1: renamed
    field.nth(0).press("Enter")
    desk.edits(1)
    page.locator(".cv-objects [data-part=delete]").nth(1).click()  # 2: deleted
    desk.edits(2)
    desk.click(inside(SCENES[1], SCENES[1].labels[0]))  # 3: added
    desk.accept("added by hand", len(found))
    desk.edits(3)
    second = desk.names()
    assert desk.status(2) == "corrected"

    desk.press("d")
    desk.at_image(3, 20)
    page.locator("#work-note", has_text="in 02.png").wait_for()
    third = desk.names()
    desk.press("]")  # 4: labeled by a key
    desk.press("1")
    desk.edits(1)
    desk.press("]")
    desk.press("v")
    desk.press("2")  # 5: labeled by a key
    desk.edits(2)
    page.click(f"{CV} [data-tool=brush]")
    desk.drag((20, 20), (60, 24))
    page.locator(".cv-status", has_text="Changed the mask").wait_for()
    brushed = desk.found()
    page.reload()
    desk.ready()
    desk.at_image(3, 20)
    assert desk.names() == [each["label"] for each in brushed]
    assert desk.found() == brushed
    assert len(brushed) == len(third) and {WORDS[0], WORDS[1]} <= set(desk.names())

    desk.press("a")
    desk.at_image(2, 20)
    assert desk.names() == second
    page.go_back()
    desk.at_image(3, 20)
    with page.expect_download() as waiting:
        page.click("#folder-export")
    with zipfile.ZipFile(waiting.value.path()) as archive:
        names = yaml.safe_load(archive.read("data.yaml"))["names"]
        lines = {
            Path(each).stem: archive.read(each).decode().splitlines()
            for each in archive.namelist()
            if each.startswith("labels/") and each.endswith(".txt")
        }
    assert list(names.values())[: len(WORDS)] == WORDS
    exported = {stem: [names[int(line.split()[0])] for line in texts] for stem, texts in lines.items()}
    assert exported == {"00": accepted, "01": second, "02": [each["label"] for each in brushed]}
    run = openvocab.read_run(tmp_path / "scenes-run")
    assert [(row.corrected, row.reviewed) for row in run] == [(False, True), (True, False), (True, False)]


def test_prompts_without_an_object_are_not_dropped_without_asking(open_folder):
    desk = open_folder(2)
    said: list[str] = []

    def answer(asked: Any) -> None:
        said.append(asked.message)
        asked.dismiss() if len(said) == 1 else asked.accept()

    desk.page.on("dialog", answer)
    desk.click(inside(SCENES[0], "tent"))
    desk.press("d")
    desk.page.wait_for_timeout(300)
    desk.at_image(1, 2)
    assert desk.page.locator(f"{CV} .cv-choices button").count() == 3
    desk.press("d")
    desk.at_image(2, 2)
    assert len(said) == 2 and all("not added" in each for each in said)


def test_two_windows_edit_the_same_image(open_folder, browser):
    desk = open_folder(2)
    desk.click(inside(SCENES[0], "tent"))
    desk.accept("one")
    other = Desk(desk.page.context.new_page(), desk.page.url)
    assert other.names() == ["one"]
    other.click(inside(SCENES[0], "light bulb"))
    other.accept("two", 2)
    desk.page.locator(".cv-objects [data-part=delete]").first.click()
    desk.edits(2)
    assert desk.names() == ["two"]


def test_phones_show_the_strip_and_scroll_to_the_image(open_folder):
    desk = open_folder(3, width=390)
    desk.page.click("[data-go=next]")
    desk.at_image(2, 3)
    assert desk.page.evaluate("document.documentElement.scrollWidth") == 390
    box = desk.page.locator(f"{CV} .cv-stage").bounding_box()
    assert 0 <= box["y"] < 450


def test_arrow_keys_move_in_the_strip_and_keep_the_focus(open_folder):
    desk = open_folder(3)
    desk.page.locator(".st-images button").first.focus()
    desk.page.keyboard.press("ArrowRight")
    desk.page.keyboard.press("Enter")
    desk.at_image(2, 3)
    focus = "document.activeElement.getAttribute('aria-label')"
    assert desk.page.evaluate(focus) == "01.png, new"
    desk.page.keyboard.press("ArrowLeft")
    assert desk.page.evaluate(focus) == "00.png, new"
