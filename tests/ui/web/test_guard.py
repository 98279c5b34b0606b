from __future__ import annotations

import json

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from openvocab.ui.web.context import Limits
from openvocab.ui.web.guard import HEADERS, Guard
from tests.ui.web.payloads import ADDRESSES, PATHS

CALL = "/gradio_api/queue/join"
WEB = "pictures are not fetched from the web; download it and upload the file"


async def echo(request):
    return JSONResponse({"length": len(await request.body())})


def guarded(hosts=None, **limits):
    """A client of an application that says how long a request's body is, behind the guard."""
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    return TestClient(Guard(app, Limits(**limits), "/tmp/gradio", hosts), base_url="http://localhost:7860")


def upload(path):
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda each: {"data": [upload(each)]}, id="a picture"),
        pytest.param(lambda each: {"data": [[{"path": each}]]}, id="in a list, with no mark"),
        pytest.param(lambda each: {"data": [{"value": {"deep": [upload(each)]}}]}, id="deep"),
    ],
)
def test_no_call_names_a_file_of_the_web(address, wrap):
    answer = guarded().post(CALL, json=wrap(address))
    assert (answer.status_code, answer.json()) == (403, {"detail": WEB})


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_tool_names_an_address_at_all(address):
    call = {"jsonrpc": "2.0", "method": "tools/call", "params": {"arguments": {"picture": address}}}
    assert guarded().post("/gradio_api/mcp/", json=call).status_code == 403


@pytest.mark.parametrize("address", ["http://127.0.0.1/", "https://10.0.0.1/a.png", "//127.0.0.1/", "ftp://10.0.0.1/a"])
@pytest.mark.parametrize("encode", [str, lambda each: each.replace(":", "%3A").replace("/", "%2F")], ids=["", "coded"])
def test_the_server_is_no_proxy(address, encode):
    assert guarded().get("/gradio_api/file=" + encode(address)).status_code == 403


def test_there_are_twenty_addresses_and_more():
    assert len(set(ADDRESSES)) >= 20


@pytest.mark.parametrize(
    "path", [*PATHS, "/tmp/gradio", "/tmp/gradio/../a.png", "/tmp/gradio-2/a.png", "a.png", "", "\0"]
)
def test_no_call_names_a_file_of_the_server(path):
    answer = guarded().post(CALL, json={"data": [upload(path)]})
    said = "this is no uploaded file; upload it and send the path in the answer"
    assert (answer.status_code, answer.json()) == (403, {"detail": said})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"data": [upload("/tmp/gradio/abc/a.png"), "apple, dog", 0.5, None, True]}, id="an upload"),
        pytest.param({"data": ["http://127.0.0.1/ is a label", "//"]}, id="addresses as words"),
        pytest.param(
            {"data": [{**upload("/tmp/gradio/a.png"), "url": "http://localhost:7860/a.png"}]}, id="its own address"
        ),
        pytest.param([], id="nothing"),
    ],
)
def test_other_calls_pass_whole(content):
    body = json.dumps(content)
    assert guarded().post(CALL, content=body).json() == {"length": len(body)}


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/proxy=http://a.hf.space/",
        "/gradio_api/run-history/buckets",
        "/gradio_api/runs",
        "/gradio_api/deep_link",
        "/gradio_api/vibe-edit",
        "/gradio_api/process_recording",
        "/gradio_api/dev/reload",
        "/gradio_api/%64ev/reload",
    ],
)
def test_routes_without_a_use_are_closed(path):
    assert guarded().get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        pytest.param(CALL, {}, b"[" + b" " * 2**25 + b"]", 413, id="a long call"),
        pytest.param(CALL, {"content-length": "99999999999"}, b"[]", 413, id="a call that says it is long"),
        pytest.param(CALL, {"content-length": "-1"}, b"[]", 413, id="a negative length"),
        pytest.param(CALL, {}, (b"[" + b" " * 2**20 for _ in range(40)), 413, id="a long call in pieces"),
        pytest.param(CALL, {}, b"{", 400, id="no JSON"),
        pytest.param(CALL, {}, b"[" * 200_000, 400, id="deep JSON"),
        pytest.param("/gradio_api/upload", {"content-length": str(2**20 + 1)}, b"", 413, id="a long upload"),
        pytest.param("/gradio_api/upload", {}, (b"x" for _ in range(2)), 411, id="an upload of unknown length"),
        pytest.param("/gradio_api/upload", {}, b"x" * 2**20, 200, id="an upload that fits"),
    ],
)
def test_sizes(path, headers, body, status):
    answer = guarded(unpacked_bytes=2**20).post(path, headers=headers, content=body)
    assert answer.status_code == status
    assert status == 200 or isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("localhost:7860", 200, id="name"),
        pytest.param("LOCALHOST", 200, id="capitals"),
        pytest.param("127.0.0.1:7860", 200, id="address"),
        pytest.param("[::1]:7860", 200, id="address of version 6"),
        pytest.param("evil.example:7860", 421, id="another site's name"),
        pytest.param("127.0.0.1.evil.example", 421, id="a name that begins like the address"),
        pytest.param("", 421, id="none"),
    ],
)
def test_only_its_own_names_are_answered(host, status):
    hosts = frozenset({"localhost", "127.0.0.1", "::1"})
    assert guarded(hosts).get("/", headers={"host": host}).status_code == status
    assert guarded().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/monitoring"], ids=["an answer", "a refusal"])
def test_every_answer_has_the_headers(path):
    headers = guarded().get(path).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
