"""Bundles: what is packed on one machine loads on another without a network, and nothing else gets in."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from openvocab.errors import BadInput, BadWeights
from openvocab.models.registry import load_detector
from openvocab.weights import fetch
from openvocab.weights.bundle import pack, unpack
from openvocab.weights.manifest import published
from tests.weights.hub import COMMIT, ENCLOSED, environment, openvocab, python, serving

REPOSITORY = "google/owlv2-large-patch14-ensemble"
INSIDE = f"hub/{REPOSITORY}/{COMMIT}"
WEIGHTS = save({"a": torch.arange(100.0)})
LOAD = """
import openvocab, numpy
detector = openvocab.load_detector("owlv2:google/owlv2-large-patch14-ensemble", "cpu", "float32")
found = detector.detect([numpy.full((40, 60, 3), 90, numpy.uint8)], detector.encode_labels(["cat", "dog"]), 0.0)
print(detector.record.sha256, len(found[0].scores), opened)
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make a machine current, with caches of its own below a folder of that name."""
    from huggingface_hub import constants

    def become(name: str) -> Path:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / name / "hub"))
        monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / name / "own"))
        return tmp_path / name

    return become


def put_repository(home: Path, files: dict[str, bytes]) -> None:
    """Write a repository as the hub's client keeps it: blobs, and links to them."""
    repository = home / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    for folder in ("blobs", "refs", f"snapshots/{COMMIT}", f".no_exist/{COMMIT}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / ".no_exist" / COMMIT / "processor_config.json").touch()
    for name, content in files.items():
        blob = hashlib.sha256(content).hexdigest()
        (repository / "blobs" / blob).write_bytes(content)
        (repository / "snapshots" / COMMIT / name).symlink_to(f"../../blobs/{blob}")


def put_url(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put a file where that of sam-vit-b is kept, and pin its digest."""
    record = published()["sam-vit-b"]
    digest = hashlib.sha256(content).hexdigest()
    for module in ("trust", "bundle"):
        pins = {record.url: digest}
        monkeypatch.setattr(f"openvocab.weights.{module}.pinned_sha256", pins.get)
    path = fetch.url_path(record.url)
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


@pytest.fixture
def packed(machine: Callable[[str], Path], tmp_path: Path) -> Path:
    """A bundle of a small repository; the other machine is current."""
    put_repository(machine("here"), {"model.safetensors": WEIGHTS, "config.json": b"{}", "junk.py": b"1"})
    pack("owlv2-large", tmp_path / "a.tar")
    machine("there")
    return tmp_path / "a.tar"


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar.getmembers()}  # type: ignore[union-attr]


def test_a_bundle_holds_what_belongs_to_the_model_and_says_so(packed):
    held = members(packed)
    assert list(held) == ["bundle.json", f"{INSIDE}/config.json", f"{INSIDE}/model.safetensors"]
    index = json.loads(held.pop("bundle.json"))
    assert {row["member"]: row["sha256"] for row in index["files"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in held.items()
    }
    assert index["snapshots"] == {REPOSITORY: {"commit": COMMIT, "refs": ["main"], "absent": ["processor_config.json"]}}


def test_the_same_files_make_the_same_bytes(machine, tmp_path, monkeypatch):
    for name in ("one", "two"):
        home = machine(name)
        put_repository(home, {"model.safetensors": WEIGHTS, "config.json": b"{}"})
        pack("owlv2-large", tmp_path / f"{name}.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_files_with_a_url_are_carried_too(machine, tmp_path, monkeypatch):
    machine("here")
    put_url(monkeypatch, b"weights")
    pack("sam-vit-b", tmp_path / "a.tar")
    machine("there")
    (path,) = unpack(tmp_path / "a.tar")
    assert path == fetch.url_path(published()["sam-vit-b"].url) and path.read_bytes() == b"weights"


def test_unpacked_files_lie_where_the_hub_looks(packed, tmp_path):
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    unpack(packed)
    assert unpack(packed)
    cache = constants.HF_HUB_CACHE
    found = hf_hub_download(REPOSITORY, "model.safetensors", local_files_only=True, cache_dir=cache)
    assert Path(found).read_bytes() == WEIGHTS
    absent = try_to_load_from_cache(REPOSITORY, "processor_config.json", cache_dir=cache)
    assert absent is not None and not isinstance(absent, str)


def rewritten(source: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]], dict[str, Any]], None]) -> Path:
    """Write a bundle anew after a change of its members, its index or both."""
    pairs = []
    for name, content in members(source).items():
        info = tarfile.TarInfo(name)
        pairs.append((info, content))
    index = json.loads(pairs.pop(0)[1])
    change(pairs, index)
    out = source.with_name("changed.tar")
    with tarfile.open(out, "w") as tar:
        for info, content in [(tarfile.TarInfo("bundle.json"), json.dumps(index).encode()), *pairs]:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return out


def _renamed(name: Any, field: str = "name") -> Callable[..., None]:
    def change(pairs, index):
        index["files"][0][field] = name

    return change


def _by_url(url: str) -> Callable[..., None]:
    def change(pairs, index):
        index["files"][0].update(url=url, repository="", commit="", name="")

    return change


def _moved(name: str) -> Callable[..., None]:
    def change(pairs, index):
        pairs[0][0].name = index["files"][0]["member"] = name

    return change


def _typed(kind: bytes, target: str) -> Callable[..., None]:
    def change(pairs, index):
        pairs[0][0].type, pairs[0][0].linkname = kind, target

    return change


def _more(name: str) -> Callable[..., None]:
    return lambda pairs, index: pairs.append((tarfile.TarInfo(name), b"more"))


def _flipped(pairs, index):
    pairs[1] = (pairs[1][0], pairs[1][1][:-1] + b"\x7f")


def _known(**values: Any) -> Callable[..., None]:
    return lambda pairs, index: index["snapshots"][REPOSITORY].update(values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(_renamed("../../../../canary"), "leads out of the bundle", id="name with .."),
        pytest.param(_renamed("/tmp/canary"), "leads out of the bundle", id="absolute name"),
        pytest.param(_renamed("..\\canary"), "leads out of the bundle", id="backslash"),
        pytest.param(_renamed("C:canary"), "leads out of the bundle", id="drive"),
        pytest.param(_renamed(""), "not of the form", id="no name"),
        pytest.param(_renamed("../x", "repository"), "has no repository '../x'", id="repository with .."),
        pytest.param(_renamed("a/b/c", "repository"), "has no repository 'a/b/c'", id="repository of three parts"),
        pytest.param(
            _renamed("someone/else", "repository"), "has no repository 'someone/else'", id="another repository"
        ),
        pytest.param(_renamed("../../..", "commit"), "not of the form", id="commit with .."),
        pytest.param(_by_url("https://evil.example/x.pth"), "is not a URL of its preset", id="unknown URL"),
        pytest.param(_renamed("pytorch_model.bin"), "is no file of", id="a pickle"),
        pytest.param(_renamed("modeling_owl.py"), "is no file of", id="a program"),
        pytest.param(_renamed(-1, "size"), "not of the form", id="a negative size"),
        pytest.param(_renamed(True, "size"), "not of the form", id="a size that is no number"),
        pytest.param(_renamed("abc", "sha256"), "not of the form", id="a short digest"),
        pytest.param(
            lambda pairs, index: index.update(name="owl"), "knows no preset or checkpoint", id="unknown preset"
        ),
        pytest.param(lambda pairs, index: index.update(name="sam-vit-b"), "has no repository", id="another preset"),
        pytest.param(lambda pairs, index: index.update(name=["x"]), "not of the form", id="a name that is a list"),
        pytest.param(lambda pairs, index: index.update(files=7), "not of the form", id="files that are a number"),
        pytest.param(lambda pairs, index: index.update(files=[[1]]), "not of the form", id="a file that is a list"),
        pytest.param(
            lambda pairs, index: index.update(snapshots=[1]), "not of the form", id="snapshots that are a list"
        ),
        pytest.param(_known(refs=7), "not of the form", id="references that are a number"),
        pytest.param(_known(absent=[7]), "not of the form", id="an absent file that is a number"),
        pytest.param(_known(commit=None), "not of the form", id="no commit"),
        pytest.param(_moved("../canary"), "leads out of the bundle", id="member with .."),
        pytest.param(_typed(tarfile.SYMTYPE, "/etc/passwd"), "not what its index names", id="symbolic link"),
        pytest.param(_typed(tarfile.LNKTYPE, "bundle.json"), "not what its index names", id="hard link"),
        pytest.param(_typed(tarfile.FIFOTYPE, ""), "not what its index names", id="pipe"),
        pytest.param(_typed(tarfile.DIRTYPE, ""), "not what its index names", id="folder"),
        pytest.param(_more("canary"), "not what its index names", id="a file too many"),
        pytest.param(_more(f"{INSIDE}/config.json"), "not what its index names", id="a file twice"),
        pytest.param(lambda pairs, index: pairs.pop(), "is missing in it", id="a file too few"),
        pytest.param(_flipped, "was expected", id="another content"),
        pytest.param(_known(refs=["../../../canary"]), "leads out of the bundle", id="reference with .."),
        pytest.param(_known(absent=["/canary"]), "leads out of the bundle", id="absent file with /"),
        pytest.param(_known(commit="f" * 40), "holds no file of it", id="a commit it does not carry"),
        pytest.param(lambda pairs, index: index.update(format=9), "another format", id="another format"),
        pytest.param(lambda pairs, index: index.pop("files"), "not of the form", id="no files"),
        pytest.param(_renamed("x", "color"), "not of the form", id="unknown field"),
        pytest.param(_renamed(["x"]), "not of the form", id="field of another type"),
    ],
)
def test_a_bundle_that_was_changed_is_refused(packed, tmp_path, change, told):
    with pytest.raises(BadWeights, match=told):
        unpack(rewritten(packed, change))
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert not [path for path in tmp_path.rglob("*") if "canary" in path.name or path.suffix == ".part"]


def with_index(packed: Path, text: bytes) -> Path:
    """Return the bundle with another text for its index."""
    out = packed.with_name("index.tar")
    with tarfile.open(packed) as old, tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old.getmembers():
            content = text if member.name == "bundle.json" else old.extractfile(member).read()  # type: ignore[union-attr]
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return out


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"format": 1' + b"0" * 5000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b'{"format": 1, "format": 1, "files": []}', id="a key twice"),
        pytest.param(b"7", id="a number"),
        pytest.param(b"null", id="nothing"),
        pytest.param(b'{"format": true, "files": []}', id="a format that is true"),
        pytest.param(b'{"format": NaN}', id="not a number"),
    ],
)
def test_an_index_that_makes_no_sense_is_one_sentence(packed, tmp_path, text):
    with pytest.raises(BadWeights, match="its index is no readable JSON|of another format"):
        unpack(with_index(packed, text))
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file()]


def test_a_member_with_holes_is_refused(packed, tmp_path):
    out = packed.with_name("sparse.tar")
    with tarfile.open(packed) as old, tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old.getmembers():
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            if member.name.endswith(".safetensors"):
                holes = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": f"0,{len(content)}"}
                member.pax_headers = {**holes, "GNU.sparse.size": str(len(content))}
            new.addfile(member, io.BytesIO(content))
    with pytest.raises(BadWeights, match="not what its index names"):
        unpack(out)
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file()]


def test_a_bundle_larger_than_the_free_space_is_refused_before_it_is_written(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=len(WEIGHTS)))
    with pytest.raises(BadWeights, match=r"there is no room for it in .*MB are needed .* make room"):
        unpack(packed)
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file()]


def test_a_reference_of_this_machine_stays(packed, tmp_path):
    ref = tmp_path / "there" / "hub" / f"models--{REPOSITORY.replace('/', '--')}" / "refs" / "main"
    ref.parent.mkdir(parents=True)
    ref.write_text("f" * 40)
    unpack(packed)
    assert ref.read_text() == "f" * 40


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda path: None, id="absent"),
        pytest.param(lambda path: path.write_bytes(b"not a tar"), id="no tar"),
        pytest.param(lambda path: tarfile.open(path, "w").close(), id="empty tar"),
        pytest.param(lambda path: path.mkdir(), id="folder"),
    ],
)
def test_what_is_no_bundle_is_refused(machine, tmp_path, write):
    machine("there")
    write(tmp_path / "b.tar")
    with pytest.raises(BadWeights, match="b.tar"):
        unpack(tmp_path / "b.tar")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_bundle_that_was_cut_short_is_refused(packed, share):
    content = packed.read_bytes()
    packed.write_bytes(content[: int(len(content.rstrip(b"\0")) * share)])
    with pytest.raises(BadWeights, match="a.tar"):
        unpack(packed)


@pytest.mark.parametrize(
    ("name", "out", "error", "told"),
    [
        pytest.param("pocket", "a.tar", BadInput, "nothing to pack", id="embedded"),
        pytest.param("owlv2-large", "a.tar", BadWeights, "weights pull owlv2-large", id="not here"),
        pytest.param("sam3", "a.tar", BadWeights, "weights pull sam3", id="preset that is not here"),
    ],
)
def test_pack_refuses(machine, tmp_path, name, out, error, told):
    machine("here")
    with pytest.raises(error, match=told):
        pack(name, tmp_path / out)
    assert not (tmp_path / out).exists()


def test_a_file_that_cannot_be_written_is_said(packed, machine, tmp_path):
    machine("here")
    with pytest.raises(BadInput, match="give another path"):
        pack("owlv2-large", tmp_path / "no" / "folder" / "a.tar")


def test_a_pulled_and_packed_model_loads_on_a_machine_without_a_network(owlv2_folder, tmp_path):
    with serving() as hub:
        hub.repositories[REPOSITORY] = {path.name: path.read_bytes() for path in owlv2_folder.iterdir()}
        given = environment(hub, tmp_path / "here")
        assert openvocab("weights", "pull", "owlv2-large", given=given).returncode == 0
    out = str(tmp_path / "b.tar")
    assert openvocab("--offline", "weights", "pack", "owlv2-large", "-o", out, given=given).returncode == 0
    there = environment(None, tmp_path / "there")
    unpacked = openvocab("weights", "unpack", out, given=there, before=ENCLOSED)
    assert unpacked.returncode == 0 and "model.safetensors" in unpacked.stdout
    run = python(ENCLOSED + LOAD, there)
    digest = hashlib.sha256((owlv2_folder / "model.safetensors").read_bytes()).hexdigest()
    detector = load_detector(f"owlv2:{owlv2_folder}", "cpu", "float32")
    image = np.full((40, 60, 3), 90, np.uint8)
    (boxes,) = detector.detect([image], detector.encode_labels(["cat", "dog"]), 0.0)
    assert run.stdout == f"{digest} {len(boxes.scores)} []\n", run.stderr
