"""Does the memory of the web demo stay flat? Visitors open the page, run an example and leave, one after the other.

    python -m benchmarks.web_visits --visits 40

It starts `openvocab serve` in a process of its own and drives Chromium with Playwright. Prints the resident memory of
the server in MB after the first visits and at the end. The server holds what visitors saw, so that they can go on,
within a limit (Limits.cache_bytes).
"""

from __future__ import annotations

import argparse
import json
import time

from playwright.sync_api import Browser, sync_playwright

from benchmarks.web_load import resident, served
from benchmarks.web_speed import CHROMIUM

_FIRST = 5
"""Visits after which the models' own buffers have their size."""

_QUIET = 12.0
"""Seconds after which the server has given back what is free."""


def visit(browser: Browser, url: str) -> None:
    """Run an example in a session of its own."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as session:
        page = session.new_page()
        page.goto(url)
        page.wait_for_selector(".cv[data-ready]")
        page.locator("#work-examples button").first.click()
        page.locator("#work-note", has_text="detections in").wait_for(timeout=60_000)


def main() -> None:
    """Print the memory as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=40)
    args = parser.parse_args()
    held = []
    with sync_playwright() as play, served([]) as (url, process):
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for count in (min(_FIRST, args.visits), max(args.visits - _FIRST, 0)):
            for _ in range(count):
                visit(browser, url)
            time.sleep(_QUIET)
            held.append(round(resident(process), 1))
        browser.close()
    print(json.dumps({"visits": args.visits, "mb_after_first_visits": held[0], "mb_at_the_end": held[1]}))


if __name__ == "__main__":
    main()
