"""Fetching from the web: public addresses alone, within limits; the server is one of this machine's."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from openvocab.errors import ImageError
from openvocab.images import urls


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the path; /slow is answered when the tests are over."""

    released, answered = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.released.wait(30)
            self.answered.set()
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", "400" if self.path == "/short" else "300")
        self.end_headers()
        self.wfile.write(b"x" * 300)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    Handler.released.set()
    made.shutdown()


@pytest.fixture
def loopback_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "is_public", lambda address: address == "127.0.0.1")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert urls.is_public(address) is public


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:9/a.png", id="loopback"),
        pytest.param("http://2130706433/a.png", id="loopback as a number"),
        pytest.param("http://0x7f000001/a.png", id="loopback in hexadecimal"),
        pytest.param("http://[::1]/a.png", id="loopback, IPv6"),
        pytest.param("http://localhost/a.png", id="a name that means loopback"),
        pytest.param("http://169.254.169.254/latest", id="link-local"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("http:///a.png", id="no host"),
        pytest.param("http://127.0.0.1:99999/", id="no such port"),
    ],
)
def test_addresses_that_are_not_public_are_refused(url: str) -> None:
    with pytest.raises(ImageError) as caught:
        urls.fetch(url)
    assert caught.value.kind == "unreadable"


@pytest.mark.usefixtures("loopback_allowed")
def test_an_image_is_fetched(server: str) -> None:
    assert urls.fetch(f"{server}/a b.png?q=ä") == b"x" * 300
    assert urls.fetch(f"{server}/to//again") == b"x" * 300


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        pytest.param("/none", "missing", "HTTP 404", id="404"),
        pytest.param("/short", "truncated", "ended after", id="short body"),
        pytest.param("/slow", "unreadable", "longer than", id="slow"),
        pytest.param("/to/http://10.0.0.1/", "unreadable", "not on the public internet", id="redirect to private"),
        pytest.param("/to/file:///etc/passwd", "unreadable", "only http and https", id="redirect to a file"),
        pytest.param("/to//to//to//to//to//x", "unreadable", "redirects more than", id="redirects without end"),
    ],
)
@pytest.mark.usefixtures("loopback_allowed")
def test_answers_that_are_no_image(server: str, path: str, kind: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        urls.fetch(server + path, timeout=0.5)
    assert caught.value.kind == kind
    assert not Handler.answered.is_set()


@pytest.mark.usefixtures("loopback_allowed")
def test_what_is_too_large_is_not_read_to_its_end(server: str) -> None:
    with pytest.raises(ImageError) as caught:
        urls.fetch(f"{server}/a.png", max_bytes=299)
    assert caught.value.kind == "too_large"
