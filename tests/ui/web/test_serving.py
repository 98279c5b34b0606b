"""The real server, asked over HTTP as anyone could."""

from __future__ import annotations

import io
import os
import time
import uuid
from dataclasses import replace
from pathlib import Path

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
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return [picture, LABELS, "pocket", "", None, None, None, None]


def test_health_says_what_is_loaded(http, server):
    answer = http.get("/healthz").json()
    calls = answer.pop("model_calls")
    assert answer == {"status": "ok", "version": openvocab.__version__, "presets": ["pocket"], "held": answer["held"]}
    assert calls == dict(server.context.models.calls)


@pytest.mark.parametrize("path", ["/", "/config", "/healthz", "/gradio_api/info", "/theme.css", "/nothing"])
def test_every_answer_has_the_headers(http, path):
    headers = http.get(path).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("path", ["/monitoring", "/gradio_api/runs", "/gradio_api/deep_link?session_hash=a", "/docs"])
def test_what_has_no_use_is_not_there(http, path):
    assert http.get(path).status_code == 404


def test_nothing_is_recorded(http):
    config = http.get("/config").json()
    assert (config["analytics_enabled"], config.get("run_history", False)) == (False, False)


def test_another_site_may_not_read(http, server):
    answer = http.get("/config", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", [*PATHS, "/etc/hostname", "pyproject.toml"])
def test_no_file_of_the_server_is_served(http, path):
    assert http.get(f"/gradio_api/file={path}").status_code in (403, 404)


@pytest.mark.parametrize("path", PATHS)
def test_no_file_of_the_server_is_a_picture(http, path):
    answer, _ = join(http, action(http, "chain"), chain_data(path))
    assert answer.status_code == 403


def test_gradio_looks_at_the_place_too(server, tmp_path, monkeypatch):
    """Behind the guard Gradio's own check refuses; it is off in a mounted page until has_launched is set."""
    from openvocab.ui.web import guard

    picture = tmp_path / "private.png"
    picture.write_bytes(SCENE.path.read_bytes())
    monkeypatch.setattr(guard.Guard, "_uploaded", lambda self, path: True)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        _, session = join(http, action(http, "chain"), chain_data(str(picture)))
        assert '"success":false' in last_message(http, session)


def test_no_address_is_a_picture(http):
    number = action(http, "chain")
    for address in ADDRESSES:
        answer, _ = join(http, number, chain_data(address))
        assert answer.status_code == 403, address


def test_uploads_never_leave_their_folder(http, server):
    data = SCENE.path.read_bytes()
    for name in TRAVERSALS:
        try:
            answer = http.post("/gradio_api/upload", files={"files": (name, data)})
        except (ValueError, UnicodeError):
            continue
        for path in answer.json() if answer.status_code == 200 else ():
            assert os.path.realpath(path).startswith(os.path.realpath(server.folder) + os.sep), name
    assert not list(Path(server.folder).parent.glob("evil*"))


def test_a_large_upload_is_refused(http, server):
    size = server.context.limits.upload_bytes
    assert http.post("/gradio_api/upload", files={"files": ("a.png", bytes(size + 1))}).status_code == 413
    assert http.post("/gradio_api/upload", files={"files": ("a.png", bytes(size - 1000))}).status_code == 200


def huge():
    """A PNG of 81 megapixels in about 10 KB."""
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG", optimize=True)
    return file.getvalue()


def test_a_huge_picture_is_refused_from_its_header(http, server):
    data = huge()
    assert len(data) < 20_000
    path = http.post("/gradio_api/upload", files={"files": ("huge.png", data)}).json()[0]
    calls = dict(server.context.models.calls)
    began = time.monotonic()
    _, session = join(http, action(http, "chain"), chain_data(path))
    said = last_message(http, session)
    assert time.monotonic() - began < 5  # decoding alone takes far longer
    assert "'huge.png' has 9000" in said and str(server.folder) not in said
    assert dict(server.context.models.calls) == calls


def test_a_full_queue_is_told_at_once(server):
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.serving import Serving, running

    limits = replace(server.context.limits, waiting=1)
    context = Context(server.context.models, limits)
    with running(context, Serving(port=0)) as small, httpx.Client(base_url=small.url, timeout=60) as http:
        path = http.post("/gradio_api/upload", files={"files": ("a.png", SCENE.path.read_bytes())}).json()[0]
        number = action(http, "chain")
        with context.models.using():
            statuses = [join(http, number, chain_data(path))[0].status_code for _ in range(8)]
        assert set(statuses) == {200, 503}
        assert statuses[0] == 200 and statuses[-1] == 503


def test_accounts(server):
    from gradio_client import Client

    from openvocab.ui.web.serving import Serving, running

    serving = Serving(port=0, accounts=(("user", "word"),))
    with running(server.context, serving) as closed:
        assert httpx.get(f"{closed.url}/healthz").json()["status"] == "ok"
        assert httpx.get(f"{closed.url}/config").status_code == 401
        assert httpx.post(f"{closed.url}/gradio_api/upload", files={"files": b"a"}).status_code == 401
        with pytest.raises(ValueError, match="Could not login"):
            Client(closed.url, auth=("user", "other"), verbose=False)
        client = Client(closed.url, auth=("user", "word"), verbose=False)
        assert client.predict("pocket", api_name="/label_set")[0]


def test_the_folder_goes_with_the_server(server):
    from openvocab.ui.web.serving import Serving, running

    before = os.environ["GRADIO_TEMP_DIR"]
    with running(server.context, Serving(port=0)) as short:
        httpx.post(f"{short.url}/gradio_api/upload", files={"files": ("a.png", b"a")})
        assert [each for each in short.folder.rglob("*") if each.is_file()]
    assert not short.folder.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == before


def test_two_visitors_get_their_own_answers(client, server):
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
        assert {region["label"] for region in answer["regions"]} <= set(scene.labels)
