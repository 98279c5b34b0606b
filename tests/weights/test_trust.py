"""Digests: pinned, trusted at the first use, remembered, and never let through when a bit has changed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from openvocab.errors import BadWeights
from openvocab.weights import files, manifest, trust
from openvocab.weights.fetch import url_path
from openvocab.weights.trust import source_of, trusted_sha256

SOURCE = "org/model/model.safetensors"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own."""
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every file seem old enough to be remembered."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small file of weights."""
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(256.0), "b": torch.ones(3, dtype=torch.int64)}, path)
    return path


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read to be measured."""
    seen: list[Path] = []

    def counted(path: Path) -> str:
        seen.append(path)
        return files.sha256_of(path)

    monkeypatch.setattr(trust, "sha256_of", counted)
    return seen


def flipped(path: Path, count: int) -> list[bytes]:
    """Return that many copies of a file with one bit of each changed, at places spread over all of it."""
    content = path.read_bytes()
    places = np.random.default_rng(0).choice(len(content) * 8, count, replace=False)
    copies = []
    for place in places:
        copy = bytearray(content)
        copy[place // 8] ^= 1 << (place % 8)
        copies.append(bytes(copy))
    return copies


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "trusted at first use, remembered"])
def test_a_thousand_flipped_bits_are_refused(cache, weights, monkeypatch, request, pinned):
    if not pinned:
        request.getfixturevalue("later")
    digest = files.sha256_of(weights)
    monkeypatch.setattr(trust, "pinned_sha256", lambda source: digest if pinned else None)
    assert trusted_sha256(SOURCE, weights) == digest
    good, refused = weights.read_bytes(), 0
    for copy in flipped(weights, 1000):
        weights.write_bytes(copy)
        try:
            trusted_sha256(SOURCE, weights)
        except BadWeights:
            refused += 1
    assert refused == 1000
    weights.write_bytes(good)
    assert trusted_sha256(SOURCE, weights) == digest


def test_a_flip_whose_time_was_set_back_is_seen(cache, later, weights):
    trusted_sha256(SOURCE, weights)
    before = weights.stat()
    weights.write_bytes(flipped(weights, 1)[0])
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BadWeights, match="was trusted at its first use"):
        trusted_sha256(SOURCE, weights)


def test_a_second_load_reads_nothing(cache, later, weights, readings):
    assert trusted_sha256(SOURCE, weights) == trusted_sha256(SOURCE, weights)
    assert len(readings) == 1
    trusted_sha256(SOURCE, weights, anew=True)
    assert len(readings) == 2


def test_a_file_that_just_changed_is_not_remembered(cache, weights, readings):
    trusted_sha256(SOURCE, weights)
    trusted_sha256(SOURCE, weights)
    assert len(readings) == 2


def test_first_use_says_so_once_and_writes_it_down(cache, weights, caplog):
    with caplog.at_level("INFO", "openvocab"):
        digest = trusted_sha256(SOURCE, weights)
        trusted_sha256(SOURCE, weights)
    assert [record.message for record in caplog.records] == [
        f"{SOURCE} is used for the first time; sha256 {digest[:12]} is trusted from now on"
    ]
    assert json.loads((cache / "trusted.json").read_text("utf-8")) == {SOURCE: digest}


def test_files_of_the_users_own_disk_may_change(cache, weights):
    first = trusted_sha256(str(weights), weights)
    weights.write_bytes(flipped(weights, 1)[0])
    assert trusted_sha256(str(weights), weights) != first
    assert not (cache / "trusted.json").exists()


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        pytest.param("google/owlv2-base-patch16-ensemble/model.safetensors", True, id="newest revision"),
        pytest.param(
            f"google/owlv2-base-patch16-ensemble@{manifest.published()['owlv2-base'].revision}/model.safetensors",
            True,
            id="pinned revision",
        ),
        pytest.param(
            "google/owlv2-base-patch16-ensemble@other/model.safetensors", False, id="another revision, on purpose"
        ),
        pytest.param(manifest.published()["sam-vit-b"].url, True, id="URL"),
    ],
)
def test_what_the_manifest_pins_must_match(cache, weights, source, refused):
    if not refused:
        trusted_sha256(source, weights)
        return
    with pytest.raises(BadWeights, match="is pinned; delete the file and fetch it again"):
        trusted_sha256(source, weights)


def test_a_damaged_memory_of_trust_is_not_taken_for_none(cache, weights):
    cache.mkdir()
    (cache / "trusted.json").write_text('{"org/mod', "utf-8")
    with pytest.raises(BadWeights, match="delete this file to begin anew"):
        trusted_sha256(SOURCE, weights)


@pytest.mark.parametrize("where", ["file", "no home"])
def test_without_a_cache_weights_load_and_nothing_is_remembered(tmp_path, monkeypatch, weights, where, caplog):
    if where == "file":
        (tmp_path / "taken").touch()
        monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "taken"))
    else:
        for name in ("OPENVOCAB_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(Path, "home", _no_home)
    assert trusted_sha256(SOURCE, weights) == trusted_sha256(SOURCE, weights) == files.sha256_of(weights)


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param(
            "/c/hub/models--org--name/snapshots/abc/model.safetensors", "org/name/model.safetensors", id="hub"
        ),
        pytest.param("/c/hub/models--org--name/snapshots/abc/x/w.bin", "org/name/x/w.bin", id="folder in a repository"),
        pytest.param("/c/hub/models--gpt2/snapshots/abc/w.bin", "gpt2/w.bin", id="repository without an organization"),
        pytest.param("/data/snapshots/w.pth", "/data/snapshots/w.pth", id="own folder"),
    ],
)
def test_where_a_file_lies_says_where_it_came_from(path, source):
    assert source_of(Path(path)) == source


def test_a_fetched_url_is_known_by_where_it_lies(cache):
    url = manifest.published()["sam-vit-b"].url
    path = url_path(url)
    assert path is not None and source_of(path) == url


def test_a_loader_refuses_a_flipped_file_of_the_hub(cache, weights, tmp_path, monkeypatch):
    from huggingface_hub import constants

    from openvocab.models.checkpoints import find

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = "a" * 40
    folder = tmp_path / "hub" / "models--org--model" / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "owlv2"}', "utf-8")
    (folder / "model.safetensors").write_bytes(weights.read_bytes())
    found = find("owlv2", f"org/model@{commit}", "OWLv2 model", ["owlv2"])
    assert found.sha256 == files.sha256_of(weights)
    for copy in flipped(weights, 5):
        (folder / "model.safetensors").write_bytes(copy)
        with pytest.raises(BadWeights):
            find("owlv2", f"org/model@{commit}", "OWLv2 model", ["owlv2"])
