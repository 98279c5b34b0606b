"""Fetching from a stand-in hub on loopback, by the commands that users give, in processes of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import save

from openvocab import example_scenes
from tests.weights.hub import COMMIT, ENCLOSED, TOKEN, Hub, environment, openvocab, python, serving

LARGE = "google/owlv2-large-patch14-ensemble"
PINNED = "google/owlv2-base-patch16-ensemble"
WEIGHTS = save({"a": torch.arange(4000.0)})
REPOSITORY = {"model.safetensors": WEIGHTS, "config.json": b"{}", "vocab.json": b"[]", "onnx/model.onnx": b"no"}
FAULTS = {
    "cut": "the connection was cut before the end; try again",
    "stall": "the server stopped answering; try again later, or raise HF_HUB_DOWNLOAD_TIMEOUT (seconds)",
    "length": "it arrived with a wrong length; try again",
    "500": "the server answered 500; try again later",
    "gated": "is gated: accept its licence",
}
FULL = """
import errno, huggingface_hub.file_download as download
def full(*arguments, **more):
    raise OSError(errno.ENOSPC, "No space left on device")
download.http_get = full
"""
EIGHT = """
import os
import openvocab.ui.cli, openvocab.weights.store, huggingface_hub.file_download
children = []
for _ in range(8):
    child = os.fork()
    if not child:
        os._exit(openvocab.ui.cli.main(["weights", "pull", "owlv2-large"]))
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A hub with two models; each test names the fault that it wants."""
    with serving() as served:
        served.repositories = {LARGE: REPOSITORY, PINNED: REPOSITORY}
        served.files["/weights.pth"] = WEIGHTS
        yield served


@pytest.fixture(autouse=True)
def sound(hub: Hub) -> None:
    """Begin without a fault and without a history."""
    hub.fault = ""
    hub.asked.clear()
    hub.sent.clear()


def pull(hub: Hub, folder: Path, name: str = "owlv2-large", before: str = "") -> CompletedProcess[str]:
    given = environment(hub, folder, HF_HUB_DOWNLOAD_TIMEOUT="1", HF_HUB_ETAG_TIMEOUT="2")
    return openvocab("weights", "pull", name, given=given, before=before)


def kept(folder: Path) -> list[bytes]:
    """The content of all files that have the name of weights, and of parts of them."""
    found = [*folder.rglob("model.safetensors"), *folder.rglob("*.incomplete"), *folder.rglob("*.part")]
    return [path.read_bytes() for path in found]


def test_pull_fetches_what_belongs_to_the_model_and_a_second_one_no_data(hub, tmp_path):
    first = pull(hub, tmp_path)
    assert first.returncode == 0
    names = {path.rpartition("/")[2] for path in hub.data_requests()}
    assert names == {"model.safetensors", "config.json", "vocab.json"}
    assert kept(tmp_path) == [WEIGHTS]
    assert "is trusted from now on" in first.stderr
    hub.asked.clear()
    second = pull(hub, tmp_path)
    assert (second.returncode, second.stdout, hub.data_requests()) == (0, first.stdout, [])
    assert "is trusted from now on" not in second.stderr


def test_a_connection_that_is_cut_once_is_taken_up_again(hub, tmp_path):
    hub.fault = "cut once"
    assert pull(hub, tmp_path).returncode == 0
    assert kept(tmp_path) == [WEIGHTS]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_is_one_clear_sentence_and_leaves_nothing(hub, tmp_path, fault):
    hub.fault = fault
    run = pull(hub, tmp_path)
    told = [line for line in run.stderr.splitlines() if "fetching" not in line]
    assert (run.returncode, run.stdout, kept(tmp_path)) == (2, "", [])
    assert len(told) == 1 and told[0].startswith(f"openvocab: {LARGE}: ") and FAULTS[fault] in told[0]
    assert TOKEN not in run.stderr
    hub.fault = ""
    assert pull(hub, tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({"absent": True}, "the hub has no such repository, or it is private", id="no such repository"),
        pytest.param({"before": FULL}, "the disk is full; make room", id="full disk"),
        pytest.param({"name": "owlv2-base"}, "is pinned; delete it and", id="not the pinned file"),
    ],
)
def test_other_failures(hub, tmp_path, monkeypatch, given, told):
    if given.pop("absent", False):
        monkeypatch.delitem(hub.repositories, LARGE)
    if "name" in given:
        commit = "cfd3195ba4ea9592eec887ded089f4c08eff231d"
        monkeypatch.setattr("tests.weights.hub.COMMIT", commit)
    run = pull(hub, tmp_path, **given)
    assert run.returncode == 2
    assert told in run.stderr and TOKEN not in run.stderr and "Traceback" not in run.stderr


def test_a_page_saved_as_weights_is_called_what_it_is(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(hub.repositories, LARGE, {**REPOSITORY, "model.safetensors": b"<!doctype html><p>Sign in"})
    run = pull(hub, tmp_path)
    assert run.returncode == 2
    assert "this is a web page, not weights" in run.stderr


def test_eight_processes_pull_one_file(hub, tmp_path):
    run = python(EIGHT, environment(hub, tmp_path))
    assert "[0, 0, 0, 0, 0, 0, 0, 0]" in run.stdout, run.stderr
    assert kept(tmp_path) == [WEIGHTS]
    trusted = json.loads((tmp_path / "own" / "trusted.json").read_text("utf-8"))
    assert trusted == {f"{LARGE}/model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}


def test_weights_that_changed_upstream_are_refused(hub, tmp_path, monkeypatch):
    assert pull(hub, tmp_path).returncode == 0
    monkeypatch.setitem(hub.repositories, LARGE, {**REPOSITORY, "model.safetensors": save({"a": torch.ones(9)})})
    monkeypatch.setattr("tests.weights.hub.COMMIT", COMMIT[::-1])
    run = pull(hub, tmp_path)
    assert run.returncode == 2
    assert "was trusted at its first use" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        pytest.param(["weights", "pull", "owlv2-large"], 2, "openvocab is offline; unpack a bundle", id="pull, absent"),
        pytest.param(["weights", "pull", "sam-vit-b"], 2, "openvocab is offline; unpack a bundle", id="URL, absent"),
        pytest.param(["weights", "list"], 0, "", id="list"),
        pytest.param(["weights", "where", "base"], 2, "run: openvocab weights pull", id="where"),
    ],
)
def test_offline_opens_no_socket(tmp_path, arguments, status, told):
    given = environment(None, tmp_path, HF_HUB_OFFLINE="0")
    after = "import atexit; atexit.register(lambda: print('opened', opened))"
    run = openvocab("--offline", *arguments, given=given, before=ENCLOSED + after)
    assert run.returncode == status, run.stderr
    assert told in run.stderr and "opened []" in run.stdout


def test_offline_a_pulled_model_is_pulled_already(hub, tmp_path):
    online = pull(hub, tmp_path)
    given = environment(None, tmp_path)
    offline = openvocab("weights", "pull", "owlv2-large", given=given, before=ENCLOSED)
    assert (offline.returncode, offline.stdout) == (0, online.stdout)


def url_file(
    hub: Hub, folder: Path, sha256: str = "", size: int | None = None, before: str = ""
) -> CompletedProcess[str]:
    code = f"""{before}
from openvocab.errors import BadWeights
from openvocab.weights.fetch import url_file
try:
    print(url_file({hub.url + "/weights.pth"!r}, {sha256 or None!r}, {size}))
except BadWeights as error:
    print(error)
"""
    return python(code, environment(hub, folder, HF_HUB_DOWNLOAD_TIMEOUT="1"))


def test_a_url_is_fetched_once(hub, tmp_path):
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: url_file(hub, tmp_path, digest, len(WEIGHTS)), range(3)))
    assert len({run.stdout for run in runs}) == 1
    path = Path(runs[0].stdout.strip())
    assert path.read_bytes() == WEIGHTS and path.name == "weights.pth"
    assert len(hub.data_requests()) == 1
    assert TOKEN not in "".join(run.stdout + run.stderr for run in runs)


@pytest.mark.parametrize(
    ("fault", "given", "told"),
    [
        pytest.param("cut", {}, "the connection was cut before the end", id="cut"),
        pytest.param("503", {}, "the server answered 503", id="server error"),
        pytest.param("", {"size": 9}, "wrong length", id="another length"),
        pytest.param("", {"sha256": "0" * 64}, "but 000000000000 was expected", id="another digest"),
        pytest.param("", {"before": FULL}, "the disk is full", id="full disk"),
    ],
)
def test_a_url_that_fails_leaves_nothing(hub, tmp_path, monkeypatch, fault, given, told):
    hub.fault = fault
    monkeypatch.setitem(hub.files, "/weights.pth", WEIGHTS)
    run = url_file(hub, tmp_path, **given)
    assert told in run.stdout, run.stderr
    assert [path.name for path in (tmp_path / "own").rglob("*") if path.is_file()] in ([], ["weights.pth.lock"])


SMALL = "import huggingface_hub.constants\nhuggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1000"
"""The hub's client passes on whole pieces of 10 MB; here of 1,000 bytes."""


def parts(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*.part")]


def test_a_broken_download_of_a_url_goes_on_where_it_stopped(hub, tmp_path):
    digest, half = hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS) // 2 // 1000 * 1000
    hub.fault = "cut"
    assert "the connection was cut" in url_file(hub, tmp_path, digest, len(WEIGHTS), SMALL).stdout
    assert parts(tmp_path) == [WEIGHTS[:half]]
    hub.fault = ""
    hub.asked.clear()
    hub.sent.clear()
    path = Path(url_file(hub, tmp_path, digest, len(WEIGHTS)).stdout.strip())
    assert (path.read_bytes(), parts(tmp_path), hub.sent) == (WEIGHTS, [], [len(WEIGHTS) - half])


@pytest.mark.parametrize(
    "left", [pytest.param(b"x" * 100, id="other bytes"), pytest.param(b"x" * 2 * len(WEIGHTS), id="too many bytes")]
)
def test_what_is_left_of_another_file_is_not_gone_on_with(hub, tmp_path, left):
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    path = Path(url_file(hub, tmp_path, digest, len(WEIGHTS)).stdout.strip())
    path.replace(path.with_name(f".{path.name}.part"))
    path.with_name(f".{path.name}.part").write_bytes(left)
    assert url_file(hub, tmp_path, digest, len(WEIGHTS)).stdout.strip() != str(path)
    assert parts(tmp_path) == []
    assert url_file(hub, tmp_path, digest, len(WEIGHTS)).stdout.strip() == str(path)


OUT_OF_REACH = """
import socket
tries = []
def refuse(*arguments, **more):
    tries.append(arguments)
    raise ConnectionRefusedError("closed")
socket.create_connection = socket.socket.connect = refuse
import openvocab
try:
    openvocab.load_detector("owlv2:google/owlv2-base-patch16-ensemble")
except openvocab.BadWeights as error:
    print(len(tries), error)
"""


def test_a_hub_out_of_reach_is_told_at_once(hub, tmp_path):
    """A download tries again five times, with pauses; what asks first whether the hub is there does not."""
    run = python(OUT_OF_REACH, given=environment(hub, tmp_path))
    tries, _, told = run.stdout.strip().partition(" ")
    assert int(tries) <= 2, run.stderr  # a host may have two addresses
    assert told.endswith("the server cannot be reached; check the network, the proxy and HF_ENDPOINT")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        pytest.param(
            ["annotate", "--preset", "base", "--out", "out"],
            "preset 'base' needs open_clip-siglip2-b-16, owlv2-base, sam-vit-b, not on this machine",
            id="all stages",
        ),
        pytest.param(["tag", "--preset", "base"], "preset 'base' needs open_clip-siglip2-b-16, not", id="tagger alone"),
        pytest.param(
            ["annotate", "--preset", "base", "--tagger", "pocket", "--segmenter", "pocket", "--out", "out"],
            "preset 'base' needs owlv2-base, not",
            id="other stages replaced",
        ),
    ],
)
def test_offline_a_preset_says_all_that_it_lacks_before_a_model_is_loaded(tmp_path, command, told):
    path = str(tmp_path / "out")
    arguments = [path if each == "out" else each for each in command]
    scene = str(next(Path(example.path) for example in example_scenes()))
    after = "import atexit; atexit.register(lambda: print('opened', opened, 'open_clip' in sys.modules))"
    given = environment(None, tmp_path, HF_HUB_OFFLINE="0")
    run = openvocab(
        "--offline", arguments[0], scene, "--labels", "a, b", *arguments[1:], given=given, before=ENCLOSED + after
    )
    assert run.returncode == 2 and "opened [] False" in run.stdout
    assert run.stderr.count("\n") == 1 and told in run.stderr
    assert "openvocab is offline; with a network, run: openvocab weights pull base" in run.stderr


def test_a_preset_whose_hub_lacks_one_model_is_refused_before_the_others_are_loaded(hub, tmp_path):
    scene = str(next(Path(example.path) for example in example_scenes()))
    arguments = ["annotate", scene, "--labels", "a", "--preset", "small", "--out", str(tmp_path / "out")]
    after = "import atexit; atexit.register(lambda: print('loaded', 'open_clip' in sys.modules))"
    run = openvocab(*arguments, given=environment(hub, tmp_path), before="import sys\n" + after)
    assert run.returncode == 2 and "loaded False" in run.stdout
    assert run.stderr.count("\n") == 1 and "the hub has no such repository" in run.stderr
