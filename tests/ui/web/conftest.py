"""A real server with the embedded models, a browser that tells what it saw, and a client of the API."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """The page with the embedded models on a free port: .url, .context, .folder."""
    pytest.importorskip("gradio")
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.models import Models
    from openvocab.ui.web.server import ServerOptions, run_server

    context = Context(Models(("pocket",), device="cpu"))
    with context.models.using():
        pass
    with run_server(context, ServerOptions(port=0)) as served:
        yield served


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    if not Path(CHROMIUM).exists() or importlib.util.find_spec("playwright") is None:
        pytest.skip(f"no browser: needs {CHROMIUM} and the package playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def page(server: Any, browser: Any) -> Iterator[Any]:
    """The page in a fresh browser session; at the end: no request to another host, no error in the console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    hosts, errors = set(), []
    context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(server.url)
    opened.locator(".cv[data-ready]").wait_for(state="attached")
    yield opened
    context.close()
    assert hosts - {""} == {urlsplit(server.url).netloc}
    assert errors == []


@pytest.fixture
def board(page: Any) -> Any:
    """The workspace with the first scene and one selected object, the light bulb."""
    from tests.ui.web.board import Board

    return Board(page).bulb()


@pytest.fixture
def open_folder(server: Any, browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A function that serves a folder of scenes and opens it in the browser.

    No error may be in the console, but of a request that a test refuses.
    """
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.served.folder import serving
    from openvocab.ui.web.server import ServerOptions, run_server
    from tests.ui.web.board import Desk, save_scenes

    errors: list[str] = []
    with ExitStack() as stack:

        def opened(count: int, width: int = 1440) -> Any:
            served = stack.enter_context(serving(save_scenes(tmp_path / "scenes", count), None, 10**7))
            made = stack.enter_context(run_server(Context(server.context.models, served=served), ServerOptions(port=0)))
            session = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True)
            stack.callback(session.close)
            page = session.new_page()
            page.set_default_timeout(60_000)
            page.on("console", lambda said: errors.append(said.text) if is_error(said) else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            hosts = set()
            session.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
            stack.callback(lambda: hosts_are(hosts, made.url))
            return Desk(page, made.url)

        yield opened
    assert errors == []


def is_error(said: Any) -> bool:
    return said.type == "error" and "status of 503" not in said.text


def hosts_are(hosts: set[str], url: str) -> None:
    assert hosts - {""} == {urlsplit(url).netloc}


@pytest.fixture
def client(server: Any, tmp_path: Path) -> Iterator[Any]:
    """A gradio_client.Client of the page."""
    from gradio_client import Client

    made = Client(server.url, verbose=False, download_files=str(tmp_path))
    yield made
    made.close()
