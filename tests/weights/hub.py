"""A hub on loopback that speaks what huggingface_hub asks for, and that can go wrong on purpose."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_" + "canarytoken" * 3
ROOT = Path(__file__).parents[2]

ENCLOSED = """
import sys, time
opened = []
def watch(event, arguments):
    if event.startswith("socket."):
        opened.append(event)
        raise ConnectionRefusedError(f"{event}: the network is closed")
sys.addaudithook(watch)
"""
"""Lines that close the network to a process; `opened` holds what was tried."""

_RESOLVE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)")
_INFO = re.compile(r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/([\w.-]+))?")


class Hub:
    """Repositories by name, each a mapping of file names to bytes; `fault` says what goes wrong with weights."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.files: dict[str, bytes] = {}
        self.fault = ""
        self.asked: list[tuple[str, str]] = []
        self.sent: list[int] = []
        self.closing = Event()
        hub = self

        class Handler(_Handler):
            home = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def data_requests(self) -> list[str]:
        """The paths whose content was asked for."""
        return [path for method, path in self.asked if method == "GET" and "/api/" not in path]


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub in a thread until the block ends."""
    hub = Hub()
    Thread(target=hub.server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.closing.set()
        hub.server.shutdown()
        hub.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    home: Hub

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(whole=False)

    def do_GET(self) -> None:
        self._answer(whole=True)

    def _answer(self, *, whole: bool) -> None:
        path = self.path.partition("?")[0]
        self.home.asked.append((self.command, path))
        if plain := self.home.files.get(path):
            self._send(plain, whole=whole, weights=True)
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(match[1], match[3], whole=whole)
        elif match := _INFO.fullmatch(path):
            self._info(match[1])
        else:
            self._refuse(404, "EntryNotFound")

    def _info(self, repository: str) -> None:
        if repository not in self.home.repositories:
            self._refuse(401, "RepoNotFound")
            return
        names = [{"rfilename": name} for name in self.home.repositories[repository]]
        self._send(json.dumps({"id": repository, "sha": COMMIT, "siblings": names}).encode(), whole=True, weights=False)

    def _resolve(self, repository: str, name: str, *, whole: bool) -> None:
        if repository not in self.home.repositories:
            self._refuse(401, "RepoNotFound")
        elif self.home.fault == "gated":
            self._refuse(403, "GatedRepo")
        elif name not in self.home.repositories[repository]:
            self._refuse(404, "EntryNotFound")
        else:
            weights = name.endswith(".safetensors")
            self._send(self.home.repositories[repository][name], whole=whole, weights=weights)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, *, whole: bool, weights: bool) -> None:
        fault = self.home.fault if weights and whole else ""
        if fault.isdecimal():
            self._refuse(int(fault), "")
            return
        again = self.home.asked.count(("GET", self.path.partition("?")[0])) > 1
        content = content[:-7] if fault == "length" else content
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        rest = content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(rest)))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if whole:
            self.home.sent.append(len(rest))
            self._body(rest, fault, again=again)

    def _body(self, content: bytes, fault: str, *, again: bool) -> None:
        """Send the content, or what the fault lets through; where it lasts, a second try gets nothing."""
        half = b"" if again else content[: len(content) // 2]
        if fault in ("cut", "stall"):
            self.wfile.write(half)
            self.wfile.flush()
            if fault == "stall":
                self.home.closing.wait()
            self.close_connection = True
        elif fault == "cut once" and not again:
            self.wfile.write(half)
            self.close_connection = True
        else:
            self.wfile.write(content)


def environment(hub: Hub | None, folder: Path, **more: str) -> dict[str, str]:
    """Return an environment in which everything is kept below a folder and the hub is the one given, or none."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    own = {
        "HF_HOME": str(folder / "hf"),
        "OPENVOCAB_CACHE": str(folder / "own"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1",
    }
    return kept | own | ({"HF_ENDPOINT": hub.url} if hub else {"HF_HUB_OFFLINE": "1"}) | more


def python(code: str, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run lines of Python in a process of their own; waiting between tries is left out."""
    lines = "import time\ntime.sleep = lambda seconds: None\n" + code
    return subprocess.run([sys.executable, "-c", lines], env=given, capture_output=True, text=True, timeout=300)


def openvocab(*arguments: str, given: dict[str, str], before: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return python(
        f"{before}\nfrom openvocab.ui.cli.main import main\nraise SystemExit(main({list(arguments)!r}))", given
    )
