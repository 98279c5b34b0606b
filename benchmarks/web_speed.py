"""How long a person waits on the web page: first paint, first answer, click to mask, slider, a click during a batch.

    python -m benchmarks.web_speed --megapixels 0.0655,12 --batch 200

It starts `openvocab serve` in a process of its own and drives Chromium with Playwright. Times are medians in
milliseconds, measured in the page: a click until the masks are listed, a slider until the next drawn frame.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import openvocab
from benchmarks.web_load import served

SCENE = openvocab.example_scenes()[0]
CHROMIUM = "/usr/bin/chromium"
_SLIDE = """
async () => {
  const field = document.querySelector("#work-box-threshold input[type=range]");
  const start = performance.now();
  field.value = 0.3 + Math.random() * 0.5;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - start;
}
"""
_CLICK = """
async ([x, y]) => {
  const root = document.querySelector(".cv");
  const before = root.dataset.shown;
  const start = performance.now();
  const more = { bubbles: true, clientX: x, clientY: y, pointerId: 1, button: 0 };
  const canvas = root.querySelector(".cv-stage canvas");
  canvas.setPointerCapture = () => undefined;
  for (const name of ["pointerdown", "pointerup"]) canvas.dispatchEvent(new PointerEvent(name, more));
  await new Promise((done) => {
    const look = () => (root.dataset.shown !== before ? done() : setTimeout(look, 2));
    look();
  });
  return performance.now() - start;
}
"""


def image_of(megapixels: float, folder: Path) -> Path:
    """Write the first example scene at a size."""
    side = round((megapixels * 1e6) ** 0.5)
    path = folder / f"scene-{side}.png"
    Image.open(SCENE.path).convert("RGB").resize((side, side)).save(path, compress_level=1)
    return path


def open_image(page: Page, path: Path) -> float:
    """Choose an image, and return the milliseconds until it is drawn."""
    page.evaluate("document.querySelector('.cv').removeAttribute('data-drawn')")
    start = time.perf_counter()
    page.locator("#work-image input[type=file]").first.set_input_files(str(path))
    page.wait_for_selector(".cv[data-drawn]", timeout=60_000)
    return 1000 * (time.perf_counter() - start)


def clicks(page: Page, count: int) -> list[float]:
    """Click objects of the scene, and return the milliseconds of each until its masks are listed."""
    frame: Any = page.locator(".cv-stage canvas").bounding_box()
    found = []
    for row in range(count):
        _, left, top = map(float, (page.locator(".cv").get_attribute("data-view") or "").split())
        size = (frame["height"] - 2 * top) / 256  # the image fits the height
        x, y = ((96, 59), (170, 134), (43, 183))[row % 3]
        found.append(page.evaluate(_CLICK, [frame["x"] + left + x * size, frame["y"] + top + y * size]))
        page.locator(".cv-stage canvas").press("n")
    return found


def measure(url: str, sizes: list[float], batch: int, folder: Path) -> dict[str, Any]:
    """Return the times of the page at a URL."""
    got: dict[str, Any] = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        got["first paint"] = median(_first_paint(browser, url) for _ in range(5))
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        page.wait_for_selector(".cv[data-ready]")
        start = time.perf_counter()
        page.locator("#work-examples button").first.click()
        page.locator("#work-note", has_text="detections in").wait_for()
        got["first answer"] = 1000 * (time.perf_counter() - start)
        for size in sizes:
            got[f"{size} MP: open"] = open_image(page, image_of(size, folder))
            clicks(page, 1)  # encodes the image
            got[f"{size} MP: click to mask"] = median(clicks(page, 9))
            page.fill("#work-labels textarea", ", ".join(SCENE.labels))
            page.click("#work-run")
            page.locator("#work-note", has_text=f"in scene-{round((size * 1e6) ** 0.5)}.png").wait_for(timeout=60_000)
            got[f"{size} MP: slider"] = median(page.evaluate(_SLIDE) for _ in range(15))
        got[f"click during a batch of {batch}"] = median(_during_batch(page, url, batch, folder))
        browser.close()
    return got


def _first_paint(browser: Browser, url: str) -> float:
    """Return the milliseconds until a window without a cache shows something."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(url)
    page.wait_for_selector(".cv[data-ready]")
    found: float = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    page.close()
    return found


def _during_batch(page: Page, url: str, count: int, folder: Path) -> list[float]:
    open_image(page, image_of(0.0655, folder))
    clicks(page, 1)
    paths = [folder / f"{row}.png" for row in range(count)]
    for path in paths:
        path.write_bytes(SCENE.path.read_bytes())
    client = Client(url, verbose=False)
    files = [handle_file(str(path)) for path in paths]
    job = client.submit(files, ", ".join(SCENE.labels), api_name="/batch")
    time.sleep(3)
    found: list[float] = []
    while not job.done() and len(found) < 40:
        found += clicks(page, 1)
    job.result()  # the server must not stop before the batch ends
    client.close()
    return found


def main() -> None:
    """Print the times as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", default="0.0655,12")
    parser.add_argument("--batch", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served([]) as (url, _):
        sizes = [float(each) for each in args.megapixels.split(",")]
        got = measure(url, sizes, args.batch, Path(folder))
    print(json.dumps({name: round(value) for name, value in got.items()}, indent=1))


if __name__ == "__main__":
    main()
