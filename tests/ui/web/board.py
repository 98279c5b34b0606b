"""The workspace in a browser, as a person uses it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

import openvocab

SCENES = openvocab.example_scenes()

CV = "#work-canvas .cv"
STAGE = f"{CV} .cv-stage canvas"

_STILL = """async ([stage, root]) => {
  const look = () => {
    const { x, y, width, height } = document.querySelector(stage).getBoundingClientRect();
    return [x, y, width, height, document.querySelector(root).dataset.view].join(" ");
  };
  for (let before = look(), frames = 0; frames < 4; ) {
    await new Promise(requestAnimationFrame);
    const now = look();
    frames = now === before ? frames + 1 : 0;
    before = now;
  }
}"""
"""Waits until the image has been at one place, in one view, for four frames."""


class Board:
    """The tab, as a person uses it. Places are pixels of the image."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.size = (256, 256)
        self.sent: list[dict[str, Any]] = []
        page.on("request", self._note)
        page.wait_for_selector(f"{CV}[data-ready]")

    def _note(self, request: Any) -> None:
        if "/queue/join" in request.url:
            event = (request.post_data_json or {}).get("event_data") or {}
            if "do" in event:
                self.sent.append(event)

    def example(self, row: int = 0) -> Board:
        """Open the image of an example, without its words."""
        path = str(openvocab.example_scenes()[row].path)
        self.page.locator("#work-image input[type=file]").first.set_input_files(path)
        return self.opened()

    def bulb(self) -> Board:
        """Open the first scene and add one object, the light bulb, selected with the tool Select."""
        self.example().click(inside(SCENES[0], "light bulb"))
        self.accept("bulb")
        self.press("v")
        self.page.mouse.click(*self.at(inside(SCENES[0], "light bulb")))
        self.page.wait_for_selector(".cv-objects li.cv-selected")
        return self

    def rejecting(self) -> Board:
        """Run a scene with all labels of the models and a threshold that lets in boxes which verification rejects."""
        self.example(3)
        self.slide("box-threshold", 0.3)
        self.page.fill("#work-labels textarea", "pocket")
        self.page.press("#work-labels textarea", "Enter")
        self.page.locator("#work-note", has_text="detections in").wait_for()
        self.page.wait_for_selector(".cv-rejected:not([hidden])")
        return self

    def slide(self, name: str, value: float) -> None:
        """Move a slider, as the mouse does."""
        field = self.page.locator(f"#work-{name} input[type=range]")
        field.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", str(value))

    def upload(self, path: Path, size: tuple[int, int]) -> Board:
        self.page.locator("#work-image input[type=file]").first.set_input_files(str(path))
        self.size = size
        return self.opened()

    def opened(self) -> Board:
        self.page.wait_for_selector(f'{CV}[data-empty="no"][data-drawn="yes"]')
        self.page.locator(STAGE).scroll_into_view_if_needed()
        return self

    def at_rest(self) -> None:
        """Wait until the canvas shows its state: it is drawn with the next frame."""
        self.page.wait_for_timeout(200)

    def at(self, place: tuple[float, float]) -> tuple[float, float]:
        """The place on the screen, once the page no longer moves."""
        self.page.evaluate(_STILL, [STAGE, CV])
        frame = self.page.locator(STAGE).bounding_box()
        scale, x, y = map(float, (self.get("view") or "").split())
        return frame["x"] + x + scale * place[0], frame["y"] + y + scale * place[1]

    def click(self, place: tuple[float, float], **options: Any) -> None:
        with self.masks():
            self.page.mouse.click(*self.at(place), **options)

    def drag(self, *places: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(place), steps=6)
        self.page.mouse.up()

    def masks(self) -> Any:
        """Wait, at the end, until masks came that were not there before."""
        board = self

        class Waiting:
            def __enter__(self) -> None:
                self.before = int(board.get("shown") or 0)

            def __exit__(self, *_: object) -> None:
                board.page.wait_for_function(
                    "([at, before]) => Number(document.querySelector(at).dataset.shown || 0) > before",
                    arg=[CV, self.before],
                )

        return Waiting()

    def get(self, name: str) -> str | None:
        found: str | None = self.page.locator(CV).get_attribute(f"data-{name}")
        return found

    def press(self, keys: str) -> None:
        self.page.locator(STAGE).press(keys)

    def accept(self, name: str, count: int = 1) -> None:
        self.page.fill(f"{CV} [data-name]", name)
        self.page.click(f"{CV} [data-do=accept]")
        self.count(count)

    def count(self, count: int) -> None:
        self.page.wait_for_function(
            "([at, count]) => document.querySelectorAll(at).length === count", arg=[f"{CV} .cv-objects li", count]
        )

    def names(self) -> list[str]:
        found: list[str] = self.page.eval_on_selector_all(
            f"{CV} .cv-objects input[type=text]", "fields => fields.map(each => each.value)"
        )
        return found

    def says(self, text: str) -> None:
        self.page.locator(f"{CV} .cv-status", has_text=re.compile(text)).wait_for()

    def download(self, kind: str) -> Path:
        with self.page.expect_download() as waiting:
            self.page.click(f"#work-get-{kind}")
        return Path(waiting.value.path())

    def found(self) -> list[dict[str, Any]]:
        detections: list[dict[str, Any]] = json.loads(self.download("json").read_text("utf-8"))["detections"]
        return detections


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
        self.page.locator("#work-note", has_text=re.compile(r"in (set/)?0")).wait_for()

    def status(self, number: int) -> str | None:
        found: str | None = self.page.locator(".st-images button").nth(number - 1).get_attribute("data-status")
        return found

    def edits(self, number: int) -> None:
        self.page.wait_for_selector(f'{CV}[data-edits="{number}"]:not([data-busy])')


class Uploaded(Desk):
    """The workspace over uploaded files."""

    def __init__(self, page: Any, *files: Path) -> None:
        Board.__init__(self, page)
        page.wait_for_selector(".st[data-ready]", state="attached")
        with page.expect_file_chooser() as chooser:
            page.click("#work-files")
        chooser.value.set_files([str(each) for each in files])
        self.ready()


def save_scenes(folder: Path, count: int) -> Path:
    """Write drawn scenes: the examples, and turned by a quarter after the last one."""
    folder.mkdir()
    for number in range(count):
        pixels = openvocab.read_image(SCENES[number % len(SCENES)].path)
        Image.fromarray(np.rot90(pixels, number // len(SCENES)).copy()).save(folder / f"{number:02}.png")
    return folder


def inside(scene: Any, label: str) -> tuple[float, float]:
    """The point of an object that is farthest from its edge."""
    far = ndimage.distance_transform_edt(scene.masks()[scene.labels.index(label)])
    y, x = np.unravel_index(int(far.argmax()), far.shape)
    return float(x) + 0.5, float(y) + 0.5
