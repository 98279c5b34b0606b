from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from openvocab.ui.web.context import Limits
from openvocab.ui.web.guard import HEADERS, Guard
from tests.ui.web.payloads import ADDRESSES, PATHS

CALL = "/gradio_api/queue/join"
WEB = "images are not downloaded from URLs; download the image and upload the file"


async def echo(request):
    return JSONResponse({"length": len(await request.body())})


def guarded(hosts=None, folder="/tmp/gradio", logged_in=None, tools=False, answer=echo, **limits):
    """A client of an application that says how long a request's body is, behind the guard."""
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    guard = Guard(app, Limits(**limits), folder, hosts, logged_in, tools)
    return TestClient(guard, base_url="http://localhost:7860")


def upload(path):
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda each: {"data": [upload(each)]}, id="an image"),
        pytest.param(lambda each: {"data": [[{"path": each}]]}, id="in a list, without type"),
        pytest.param(lambda each: {"data": [{"value": {"deep": [upload(each)]}}]}, id="deep"),
    ],
)
def test_calls_with_urls_are_rejected(address, wrap):
    answer = guarded().post(CALL, json=wrap(address))
    assert (answer.status_code, answer.json()) == (403, {"detail": WEB})


@pytest.mark.parametrize("tools", [True, False])
def test_tool_calls_are_allowed_with_tools_only(tools):
    call = {"jsonrpc": "2.0", "method": "tools/call", "params": {"arguments": {"image": "http://127.0.0.1/"}}}
    assert guarded(tools=tools).post("/mcp", json=call).status_code == (200 if tools else 404)
    assert guarded(tools=tools).post("/gradio_api/mcp/", json=call).status_code == 404


@pytest.mark.parametrize("address", ["http://127.0.0.1/", "https://10.0.0.1/a.png", "//127.0.0.1/", "ftp://10.0.0.1/a"])
@pytest.mark.parametrize("encode", [str, lambda each: each.replace(":", "%3A").replace("/", "%2F")], ids=["", "coded"])
def test_the_server_does_not_proxy_urls(address, encode):
    assert guarded().get("/gradio_api/file=" + encode(address)).status_code == 403


def test_there_are_at_least_twenty_addresses():
    assert len(set(ADDRESSES)) >= 20


@pytest.mark.parametrize(
    "path", [*PATHS, "/tmp/gradio", "/tmp/gradio/../a.png", "/tmp/gradio-2/a.png", "a.png", "", "\0"]
)
def test_calls_with_paths_outside_the_upload_folder_are_rejected(path):
    answer = guarded().post(CALL, json={"data": [upload(path)]})
    said = "this is not an uploaded file; upload it and send the path in the response"
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
def test_valid_calls_pass_unchanged(content):
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
def test_unused_routes_are_closed(path):
    assert guarded().get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        pytest.param(CALL, {}, b"[" + b" " * 2**25 + b"]", 413, id="a long call"),
        pytest.param(CALL, {"content-length": "99999999999"}, b"[]", 413, id="a call that says it is long"),
        pytest.param(CALL, {"content-length": "-1"}, b"[]", 413, id="a negative length"),
        pytest.param(CALL, {}, (b"[" + b" " * 2**20 for _ in range(40)), 413, id="a long call in pieces"),
        pytest.param(CALL, {}, b"{", 400, id="no JSON"),
        pytest.param(CALL, {}, b"[" * 20_000, 400, id="deep JSON"),
        pytest.param(CALL, {}, b'{"data": [' + b"{}," * 100_000 + b"{}]}", 413, id="a hundred thousand objects"),
        pytest.param(CALL, {}, b'{"data": [' + b"1," * 2_000_000 + b"1]}", 413, id="two million numbers"),
        pytest.param("/gradio_api/upload", {"content-length": str(2**20 + 1)}, b"", 413, id="a long upload"),
        pytest.param("/gradio_api/upload", {}, (b"x" for _ in range(2)), 411, id="an upload of unknown length"),
        pytest.param("/login", {}, b"x" * 2**17, 413, id="a long log-in"),
    ],
)
def test_request_sizes_are_limited(path, headers, body, status):
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
def test_only_allowed_hosts_are_answered(host, status):
    hosts = frozenset({"localhost", "127.0.0.1", "::1"})
    assert guarded(hosts).get("/", headers={"host": host}).status_code == status
    assert guarded().get("/", headers={"host": host}).status_code == 200


def multipart(*parts, end=True) -> dict[str, Any]:
    """The body of an upload whose parts have these heads and contents, and its headers."""
    body = b"".join(b"--cut\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return {"content": body + b"--cut--\r\n" * end, "headers": {"content-type": "multipart/form-data; boundary=cut"}}


FILE = 'Content-Disposition: form-data; name="files"; filename="a.png"'
NOT_FILES = "an upload must be multipart/form-data whose parts are files named 'files'"


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [
        pytest.param(multipart((FILE, b"x")), 200, None, id="a file"),
        pytest.param(multipart((FILE, b"x"), (FILE.lower(), b"y")), 200, None, id="two files"),
        pytest.param(
            multipart(('Content-Disposition: form-data; name="files"', b"x" * 5000)), 400, NOT_FILES, id="a field"
        ),
        pytest.param(multipart((FILE.replace("files", "other"), b"x")), 400, NOT_FILES, id="another name"),
        pytest.param(multipart(("X-Nothing: 1", b"x")), 400, NOT_FILES, id="a part without a name"),
        pytest.param({"content": b"x", "headers": {"content-type": "image/png"}}, 400, NOT_FILES, id="no parts"),
        pytest.param({"content": b"x"}, 400, NOT_FILES, id="no type"),
        pytest.param({**multipart((FILE, b"x")), "content": b"rubbish"}, 400, NOT_FILES, id="no boundary in the body"),
        pytest.param(
            multipart(*[(FILE, b"x")] * 9), 413, "there are too many files in one upload; send fewer at once", id="nine"
        ),
    ],
)
def test_uploads_contain_only_files(given, status, says, tmp_path):
    answer = guarded(folder=tmp_path, files=8).post("/gradio_api/upload", **given)
    assert answer.status_code == status
    assert says is None or answer.json() == {"detail": says}


def test_two_lengths_are_rejected(tmp_path):
    given = multipart((FILE, b"x"))
    headers = {**given["headers"], "transfer-encoding": "chunked", "content-length": "10"}
    answer = guarded(folder=tmp_path).post("/gradio_api/upload", content=given["content"], headers=headers)
    assert (answer.status_code, answer.json()["detail"][:37]) == (400, "the request has two lengths; send Con")


def test_bytes_are_counted_on_arrival(tmp_path):
    """Whatever the server in front makes of a length, no more than that reaches the page."""
    given = multipart((FILE, b"x" * 2**20))
    headers = {**given["headers"], "content-length": "1000"}
    answer = guarded(folder=tmp_path).post("/gradio_api/upload", content=given["content"], headers=headers)
    assert answer.status_code == 413


def test_the_total_size_of_uploads_is_limited(tmp_path):
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / "a.png").write_bytes(bytes(3000))
    small = multipart((FILE, b"x"))
    assert guarded(folder=tmp_path, stored_bytes=4000).post("/gradio_api/upload", **small).status_code == 200
    answer = guarded(folder=tmp_path, stored_bytes=3050).post("/gradio_api/upload", **small)
    assert (answer.status_code, answer.json()["detail"][:36]) == (507, "the server has no disk space for mor")


@pytest.mark.parametrize("path", [CALL, "/gradio_api/upload", "/login"])
@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        pytest.param({}, False, id="a program"),
        pytest.param({"origin": "http://localhost:7860"}, False, id="the page itself"),
        pytest.param({"origin": "http://localhost:7860", "sec-fetch-site": "same-origin"}, False, id="and says so"),
        pytest.param({"origin": "https://demo.example", "x-forwarded-host": "demo.example"}, False, id="by a proxy"),
        pytest.param({"origin": "https://evil.example"}, True, id="another site"),
        pytest.param({"origin": "http://localhost:9999"}, True, id="another port"),
        pytest.param({"origin": "null"}, True, id="a page without an origin"),
        pytest.param({"sec-fetch-site": "cross-site"}, True, id="a browser that says only so much"),
    ],
)
def test_cross_site_requests_are_rejected(path, headers, foreign, tmp_path):
    given: dict[str, Any] = multipart((FILE, b"x")) if path.endswith("upload") else {"content": b"{}", "headers": {}}
    answer = guarded(folder=tmp_path).post(path, content=given["content"], headers={**given["headers"], **headers})
    assert answer.status_code == (403 if foreign else 200)


@pytest.mark.parametrize(
    ("method", "path", "opened"),
    [
        pytest.param("GET", "/", True, id="the log-in form"),
        pytest.param("POST", "/login", True, id="log-in"),
        pytest.param("GET", "/assets/index-abc.js", True, id="its scripts"),
        pytest.param("GET", "/healthz", True, id="health"),
        pytest.param("GET", "/config", False, id="config"),
        pytest.param("GET", "/gradio_api/app_id", False, id="app_id"),
        pytest.param("GET", "/gradio_api/openapi.json", False, id="openapi"),
        pytest.param("POST", "/gradio_api/cancel", False, id="cancel"),
        pytest.param("POST", "/gradio_api/reset", False, id="reset"),
        pytest.param("GET", "/gradio_api/heartbeat/abc", False, id="heartbeat"),
        pytest.param("POST", "/gradio_api/upload", False, id="upload"),
    ],
)
def test_without_a_login_only_the_login_is_served(method, path, opened, tmp_path):
    closed = guarded(folder=tmp_path, logged_in=lambda headers: headers.get("cookie") == "right")
    assert closed.request(method, path).status_code == (200 if opened else 401)
    given: dict[str, Any] = multipart((FILE, b"x")) if path.endswith("upload") else {"headers": {}}
    given["headers"] = {**given["headers"], "cookie": "right"}
    assert closed.request(method, path, **given).status_code == 200


def test_wrong_passwords_are_delayed():
    async def wrong(request):
        return JSONResponse({"detail": "Incorrect credentials."}, 400)

    client = guarded(answer=wrong)
    statuses = [client.post("/login", data={"username": "a", "password": str(row)}).status_code for row in range(7)]
    assert statuses == [400] * 5 + [429] * 2
    answer = client.post("/login", data={"username": "a", "password": "b"})
    assert answer.json()["detail"].startswith("too many wrong passwords; try again in ")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("OPTIONS", "/config"),
        ("PUT", "/"),
        ("DELETE", "/gradio_api/cancel"),
        ("GET", "/openapi.json"),
        ("GET", "/gradio_api/token"),
        ("GET", "/gradio_api/mcp/"),
        ("POST", "/gradio_api/stream/abc"),
        ("GET", "/gradio_api/a-route-that-does-not-exist-yet"),
        ("GET", "/assets/../../etc/passwd"),
    ],
)
def test_unlisted_routes_are_closed(method, path):
    answer = guarded().request(method, path)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        pytest.param({"error": None}, 500, "the server could not answer this call", id="no reason"),
        pytest.param({"detail": [{"loc": ["body"], "msg": "x"}]}, 422, "this is not a valid call", id="list of fields"),
        pytest.param("Internal Server Error", 500, "the server could not answer", id="no object"),
        pytest.param({"detail": "The queue is full."}, 503, "The queue is full.", id="a reason stays"),
        pytest.param({"error": "a label is empty; write a word"}, 500, "a label is empty", id="Gradio's own stays"),
    ],
)
def test_every_invalid_call_gets_a_message(body, status, said):
    async def failing(request):
        return JSONResponse(body, status)

    answer = guarded(answer=failing).post(CALL, json={})
    content = answer.json()
    assert answer.status_code == status
    assert (content.get("detail") or content["error"]).startswith(said)


def test_a_failed_event_gets_a_message():
    async def stream(request):
        return Response(b'data: {"msg":"process_completed","output":{"error":null},"success":false}\n\n')

    text = guarded(answer=stream).get("/gradio_api/queue/data?session_hash=a").text
    event = json.loads(text.removeprefix("data: "))
    assert event["output"]["error"].startswith("this is not a valid call")


def test_an_error_that_is_null_inside_an_answer_stays_null():
    row: dict[str, Any] = {"name": "a.png", "scores": [], "error": None}
    sent = {"msg": "process_completed", "output": {"data": [{"images": [row]}]}, "success": True}

    async def stream(request):
        return Response(f"data: {json.dumps(sent)}\n\n")

    text = guarded(answer=stream).get("/gradio_api/queue/data?session_hash=a").text
    assert json.loads(text.removeprefix("data: ")) == sent


def test_responses_have_no_cors_headers():
    async def allowing(request):
        return JSONResponse(
            {}, headers={"access-control-allow-origin": "*", "access-control-allow-credentials": "true"}
        )

    headers = guarded(answer=allowing).get("/config", headers={"origin": "http://192.168.0.7"}).headers
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/monitoring"], ids=["an answer", "a rejection"])
def test_every_response_has_the_security_headers(path):
    headers = guarded().get(path).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
