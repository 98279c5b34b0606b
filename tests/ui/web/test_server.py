"""The real server, asked over HTTP as anyone could."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

import openvocab
from openvocab.ui.web.guard import HEADERS
from tests.ui.web.payloads import ADDRESSES, PATHS, TRAVERSALS

SCENE = openvocab.example_scenes()[0]
LABELS = "apple, guitar, dog"


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def action(http, name):
    """The number and the parameters of a named action."""
    made = http.get("/config").json()
    return next(each for each in made["dependencies"] if each["api_name"] == name)["id"]


def join(http, number, data):
    """Put a call into the queue; the answer to that, and the session that reads on."""
    session = uuid.uuid4().hex
    return http.post(
        "/gradio_api/queue/join", json={"fn_index": number, "data": data, "session_hash": session}
    ), session


def last_message(http, session):
    """Read the queue's messages until the call is done."""
    with http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            if "process_completed" in line:
                return line
    raise AssertionError("the call was not answered")


def chain_data(path):
    image = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return [image, LABELS, "pocket", "", None, None, None, None]


def test_health_lists_the_loaded_presets(http, server):
    answer = http.get("/healthz").json()
    calls = answer.pop("model_calls")
    assert answer == {
        "status": "ok",
        "version": openvocab.__version__,
        "presets": ["pocket"],
        "cached_results": answer["cached_results"],
    }
    assert calls == dict(server.context.models.calls)


@pytest.mark.parametrize("path", ["/", "/config", "/healthz", "/gradio_api/info", "/theme.css", "/nothing"])
def test_every_response_has_the_security_headers(http, path):
    headers = http.get(path).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("path", ["/monitoring", "/gradio_api/runs", "/gradio_api/deep_link?session_hash=a", "/docs"])
def test_unused_routes_are_closed(http, path):
    assert http.get(path).status_code == 404


def test_analytics_and_run_history_are_off(http):
    config = http.get("/config").json()
    assert (config["analytics_enabled"], config.get("run_history", False)) == (False, False)


def test_responses_have_no_cors_headers(http, server):
    answer = http.get("/config", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", [*PATHS, "/etc/hostname", "pyproject.toml"])
def test_server_files_are_not_served(http, path):
    assert http.get(f"/gradio_api/file={path}").status_code in (403, 404)


@pytest.mark.parametrize("path", PATHS)
def test_server_files_are_not_read_as_images(http, path):
    answer, _ = join(http, action(http, "chain"), chain_data(path))
    assert answer.status_code == 403


def test_gradio_also_checks_paths(server, tmp_path, monkeypatch):
    """Behind the guard Gradio's own check refuses; it is off in a mounted page until has_launched is set."""
    from openvocab.ui.web import guard

    image = tmp_path / "private.png"
    image.write_bytes(SCENE.path.read_bytes())
    monkeypatch.setattr(guard.Guard, "_is_upload", lambda self, path: True)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        _, session = join(http, action(http, "chain"), chain_data(str(image)))
        assert '"success":false' in last_message(http, session)


def test_urls_are_not_read_as_images(http):
    number = action(http, "chain")
    for address in ADDRESSES:
        answer, _ = join(http, number, chain_data(address))
        assert answer.status_code == 403, address


def test_uploads_stay_in_their_folder(http, server):
    data = SCENE.path.read_bytes()
    for name in TRAVERSALS:
        try:
            answer = http.post("/gradio_api/upload", files={"files": (name, data)})
        except (ValueError, UnicodeError):
            continue
        for path in answer.json() if answer.status_code == 200 else ():
            assert os.path.realpath(path).startswith(os.path.realpath(server.folder) + os.sep), name
    assert not list(Path(server.folder).parent.glob("evil*"))


def test_large_uploads_are_rejected(http, server):
    size = server.context.limits.upload_bytes
    assert http.post("/gradio_api/upload", files={"files": ("a.png", bytes(size + 1))}).status_code == 413
    assert http.post("/gradio_api/upload", files={"files": ("a.png", bytes(size - 1000))}).status_code == 200


def huge():
    """A PNG of 81 megapixels in about 10 KB."""
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG", optimize=True)
    return file.getvalue()


def test_huge_images_are_rejected_by_their_header(http, server, decoded_sizes):
    data = huge()
    assert len(data) < 20_000
    path = http.post("/gradio_api/upload", files={"files": ("huge.png", data)}).json()[0]
    calls = dict(server.context.models.calls)
    _, session = join(http, action(http, "chain"), chain_data(path))
    said = last_message(http, session)
    assert decoded_sizes == []
    assert "'huge.png' has 9000" in said and str(server.folder) not in said
    assert dict(server.context.models.calls) == calls


def test_a_full_queue_is_reported_at_once(server):
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.server import ServerOptions, run_server

    limits = replace(server.context.limits, waiting=1)
    context = Context(server.context.models, limits)
    with run_server(context, ServerOptions(port=0)) as small, httpx.Client(base_url=small.url, timeout=60) as http:
        path = http.post("/gradio_api/upload", files={"files": ("a.png", SCENE.path.read_bytes())}).json()[0]
        number = action(http, "chain")
        with context.models.using():
            statuses = [join(http, number, chain_data(path))[0].status_code for _ in range(8)]
        assert set(statuses) == {200, 503}
        assert statuses[0] == 200 and statuses[-1] == 503


def test_accounts_protect_every_route(server):
    from gradio_client import Client

    from openvocab.ui.web.server import ServerOptions, run_server

    options = ServerOptions(port=0, accounts=(("user", "word"),))
    with run_server(server.context, options) as closed:
        assert httpx.get(f"{closed.url}/healthz").json() == {"status": "ok"}
        for path in ("/openapi.json", "/gradio_api/openapi.json", "/gradio_api/app_id", "/gradio_api/heartbeat/a"):
            assert httpx.get(f"{closed.url}{path}").status_code in (401, 404), path
        for path in ("/gradio_api/reset", "/gradio_api/cancel"):
            assert httpx.post(f"{closed.url}{path}", json={}).status_code == 401, path
        assert httpx.get(f"{closed.url}/config").status_code == 401
        assert httpx.post(f"{closed.url}/gradio_api/upload", files={"files": b"a"}).status_code == 401
        with pytest.raises(ValueError, match="Could not login"):
            Client(closed.url, auth=("user", "other"), verbose=False)
        client = Client(closed.url, auth=("user", "word"), verbose=False)
        assert client.predict("pocket", api_name="/label_set")[0]
        wrong = {"username": "user", "password": "other"}
        statuses = [httpx.post(f"{closed.url}/login", data=wrong).status_code for _ in range(6)]
        assert (set(statuses[:4]), statuses[-1]) == ({400}, 429)


def raw(server, *pieces):
    """Send bytes as they are, and return what comes back until the server ends the connection or a second passes."""
    address = urlsplit(server.url)
    got = b""
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        for piece in pieces:
            connection.sendall(piece)
        with suppress(TimeoutError, ConnectionError):
            while data := connection.recv(2**16):
                got += data
                connection.settimeout(1)
    return got


def unfinished(server):
    return [each for each in Path(server.folder).iterdir() if each.is_file()]


def test_a_wrong_content_length_does_not_bypass_the_limit(server):
    head = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=cut\r\n"
        b"Transfer-Encoding: chunked\r\nContent-Length: 10\r\n\r\n"
    )
    got = raw(server, head + b"400\r\n" + b"x" * 1024 + b"\r\n")
    assert got.split(b"\r\n")[0].split()[1] == b"400"


def test_interrupted_uploads_are_deleted(server):
    body = b'--cut\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + b"x" * 2**16
    head = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=cut\r\n"
        b"Content-Length: 1000000\r\n\r\n"
    )
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(head + body)
        until(lambda: unfinished(server))
    until(lambda: not unfinished(server))


def until(true, tries=500):
    """Wait for something that another thread does."""
    for _ in range(tries):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b""], id="nothing"),
        pytest.param([b"GET / HTTP/1.1\r\nHost: loc"], id="half a head"),
        pytest.param([b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HT"], id="half a second head"),
    ],
)
def test_clients_without_a_request_are_disconnected(server, pieces, monkeypatch):
    from openvocab.ui.web.protection.header_timeout import HeaderTimeoutProtocol

    monkeypatch.setattr(HeaderTimeoutProtocol, "header_seconds", 0.2)
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.1)
        while connection.recv(2**16):
            pass  # ends where the server closes; with a time-out of the test where it does not


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**9,
    1e308,
    "x",
    "",
    [],
    {},
    [[]],
    [None] * 50,
    {"path": "a"},
    {"data": 1},
    "\ud800",
    "../a",
)


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/call/chain", "/gradio_api/run/chain"])
def test_every_malformed_call_gets_a_message(http, path):
    number = action(http, "chain")
    for seed in range(60):
        draw = random.Random(seed)
        data = [draw.choice(ODD) for _ in range(draw.randrange(10))]
        call = {"fn_index": number, "data": data, "session_hash": uuid.uuid4().hex}
        if draw.random() < 0.4:
            call[draw.choice(list(call))] = draw.choice(ODD)
        if draw.random() < 0.2:
            call = draw.choice(ODD)
        answer = http.post(path, content=json.dumps(call), headers={"content-type": "application/json"})
        content = answer.json()
        if answer.status_code == 200 and isinstance(call, dict):
            said = (
                last_message(http, call["session_hash"]) if "join" in path and type(call["session_hash"]) is str else ""
            )
            assert '"error":null' not in said
        elif answer.status_code != 200:
            found = content.get("detail") or content.get("error")
            assert isinstance(found, str) and found, (call, content)


def test_the_upload_folder_is_deleted_on_exit(server):
    from openvocab.ui.web.server import ServerOptions, run_server

    before = os.environ["GRADIO_TEMP_DIR"]
    with run_server(server.context, ServerOptions(port=0)) as short:
        httpx.post(f"{short.url}/gradio_api/upload", files={"files": ("a.png", b"a")})
        assert [each for each in short.folder.rglob("*") if each.is_file()]
    assert not short.folder.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == before


def test_visitors_get_their_own_results(client, server):
    from gradio_client import Client, handle_file

    other = Client(server.url, verbose=False)
    one, two = openvocab.example_scenes()[:2]
    jobs = [
        (who.submit(handle_file(str(scene.path)), ", ".join(scene.labels), api_name="/chain"), scene)
        for who, scene in ((client, one), (other, two)) * 3
    ]
    for job, scene in jobs:
        answer = job.result(timeout=60)
        assert answer["source"] == scene.path.name
        assert {detection["label"] for detection in answer["detections"]} <= set(scene.labels)


def test_a_running_server_gives_freed_memory_back(server):
    assert "openvocab-freed-memory" in {each.name for each in threading.enumerate()}
