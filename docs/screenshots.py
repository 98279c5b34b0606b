"""Make the pictures of the web page again: python -m docs.screenshots, after the page or the embedded models changed.

It serves the page with the embedded models and drives Chromium with Playwright. Times in the pictures are of this run.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import openvocab
from openvocab.ui.web.context import Context
from openvocab.ui.web.models import Models
from openvocab.ui.web.served.folder import ServedFolder, serving
from openvocab.ui.web.server import ServerOptions, run_server

__all__ = ["Studio", "draw"]

CHROMIUM = "/usr/bin/chromium"
COLORS = 255
"""Of a picture: as a palette it takes a third of the bytes."""
SIZES = {"": (1440, 900), "-1024": (1024, 768), "-phone": (390, 844)}
"""End of a picture's name -> width and height of the window."""
THEMES = {"": "light", "-dark": "dark"}
SCENES = openvocab.example_scenes()
FOLDER = 20
"""Number of images of the folder that is worked through."""


class Studio:
    """A browser that takes pictures of the pages of a server."""

    def __init__(self, browser: Browser, url: str, folder: Path) -> None:
        """Write pictures of the server at a URL into a folder."""
        self._browser, self._url, self._folder = browser, url, folder

    @contextmanager
    def page(self, size: tuple[int, int], theme: str = "light", query: str = "") -> Iterator[Page]:
        """Open the page in a window of its own."""
        width, height = size
        phone = width < 500
        window = self._browser.new_context(
            viewport={"width": width, "height": height}, has_touch=phone, is_mobile=phone, reduced_motion="reduce"
        )
        opened = window.new_page()
        opened.goto(f"{self._url}/?__theme={theme}{query}")
        opened.wait_for_selector(".cv[data-ready]", state="attached")
        yield opened
        opened.evaluate("document.querySelectorAll('.cv').forEach(each => { delete each.dataset.unsaved; })")
        window.close()

    def take(self, page: Page, name: str) -> None:
        """Write a picture of what the window shows."""
        page.wait_for_timeout(700)  # thumbnails and fonts
        with Image.open(BytesIO(page.screenshot())) as picture:
            picture.convert("RGB").quantize(COLORS).save(self._folder / f"{name}.png", optimize=True)

    def variants(self, name: str, prepare: Callable[[Page], None], query: str = "") -> None:
        """Write the pictures of one view in every size and theme.

        Args:
            name: Start of their names.
            prepare: Brings an opened page into the view.
            query: End of the URL's query.
        """
        for end, size in SIZES.items():
            for dark, theme in THEMES.items():
                with self.page(size, theme, query) as page:
                    prepare(page)
                    self.take(page, name + end + dark)


def _run_an_example(page: Page) -> None:
    page.locator("#work-examples button").first.click()
    page.locator("#work-note", has_text="detections in").wait_for()
    page.wait_for_selector(".cv[data-drawn]")
    page.mouse.move(2, 2)


def _tag(page: Page, broken: Path) -> None:
    page.get_by_role("tab", name="Tag", exact=True).click()
    files = [str(scene.path) for scene in SCENES[:2]] + [str(broken)]
    page.locator("#tag-images input[type=file]").set_input_files(files)
    page.locator("#tag-labels textarea").fill("tent, umbrella, light bulb, crab, corn, piano")
    page.locator("#tag-run").click()
    page.wait_for_function("document.querySelectorAll('.ov-cards article').length === 3")


def _batch(page: Page, archive: Path) -> None:
    page.get_by_role("tab", name="Batch", exact=True).click()
    page.locator("#batch-files input[type=file]").set_input_files(str(archive))
    page.locator("#batch-labels textarea").fill("tent, umbrella, light bulb, corn, castle, moon")
    page.locator("#batch-run").click()
    page.locator("#batch-view .status", has_text="Done").wait_for()
    page.locator("#batch-get").wait_for()
    page.evaluate("window.scrollTo(0, 0)")


def _about(page: Page) -> None:
    page.get_by_role("tab", name="About the models").click()
    page.locator(".ov-about table").first.wait_for()


def _other_tabs(studio: Studio, folder: Path) -> None:
    broken = folder / "broken.png"
    broken.write_bytes(SCENES[0].path.read_bytes()[:2000])
    archive = folder / "images.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in [*(scene.path for scene in SCENES[:6]), broken]:
            made.write(path, path.name)
    prepared: dict[str, Callable[[Page], None]] = {
        "tag": lambda page: _tag(page, broken),
        "batch": lambda page: _batch(page, archive),
        "about": _about,
    }
    for name, prepare in prepared.items():
        with studio.page(SIZES[""]) as page:
            prepare(page)
            studio.take(page, f"web-demo-{name}")


def _scenes(folder: Path) -> Path:
    """Write the images of the folder: the example scenes, and turned by a quarter after the last one."""
    folder.mkdir()
    for number in range(FOLDER):
        pixels = openvocab.read_image(SCENES[number % len(SCENES)].path)
        turned = np.rot90(pixels, number // len(SCENES)).copy()
        Image.fromarray(turned).save(folder / f"{number:02}.png")
    return folder


def _ready(page: Page) -> None:
    page.wait_for_selector('.st[data-ready]:not([data-busy])[data-at]:not([data-at=""])')
    page.wait_for_selector(".cv[data-drawn]")


def _go(page: Page, button: str, number: int) -> None:
    page.click(f"[data-go={button}]")
    page.locator(".st-at", has_text=f"{number} of {FOLDER}:").wait_for()
    _ready(page)


def _work_through(page: Page) -> str:
    """Answer four images, accept the first, correct the second, and return the key of the fourth."""
    _ready(page)
    words = dict.fromkeys(label for scene in SCENES[:4] for label in scene.labels)
    page.fill("#work-labels textarea", ", ".join(words))
    page.press("#work-labels textarea", "Enter")
    page.locator("#work-note", has_text="in 00.png").wait_for()
    _go(page, "review", 2)
    page.locator(".cv-objects [data-part=delete]").first.click()
    page.wait_for_selector('.cv[data-edits="1"]:not([data-busy])')
    _go(page, "next", 3)
    _go(page, "next", 4)
    return page.locator(".st").get_attribute("data-at") or ""


def _beside(page: Page) -> None:
    """Leave an image of the folder and come back, as a person who goes on."""
    _ready(page)
    _go(page, "previous", 3)
    _go(page, "next", 4)
    page.mouse.move(2, 2)


def draw(folder: Path) -> None:
    """Write all pictures.

    Args:
        folder: Gets the pictures; it exists.
    """
    models = Models(("pocket",), device="cpu")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        files = Path(temporary)
        with _served(Context(models)) as url:
            studio = Studio(browser, url, folder)
            studio.variants("web-demo", _run_an_example)
            _other_tabs(studio, files)
        with serving(_scenes(files / "scenes"), None, 10**7) as images, _served(_context(models, images)) as url:
            studio = Studio(browser, url, folder)
            with studio.page(SIZES[""]) as page:
                key = _work_through(page)
            studio.variants("web-demo-folder", _beside, f"&image={key}")
        browser.close()


def _context(models: Models, served: ServedFolder) -> Context:
    return Context(models, served=served)


@contextmanager
def _served(context: Context) -> Iterator[str]:
    with run_server(context, ServerOptions(port=0)) as made:
        yield made.url


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the pictures")
    draw(parser.parse_args().out)
