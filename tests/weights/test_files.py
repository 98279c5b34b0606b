"""Weight files: what is read, what is refused, and that nothing inside is ever run."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from openvocab.errors import BadWeights
from openvocab.weights.files import first_line, read_state, sha256_of, verify

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.float16)}


def _safetensors(path: Path) -> None:
    save_file(STATE, path)


def _pickled(path: Path) -> None:
    torch.save(STATE, path)


def _wrapped(path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": STATE}, path)


def _old_format(path: Path) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=False)


def _cut(write: Callable[[Path], None], path: Path) -> None:
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def _no_state(path: Path) -> None:
    torch.save({"epoch": 3, "rate": 0.1}, path)


def _compressed(path: Path) -> None:
    """Zeros that torch.save wrote, compressed: 4 MB in a few kB."""
    torch.save({"a": torch.zeros(1_000_000)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _nan(path: Path) -> None:
    values = {"a": torch.ones(3), "b": torch.tensor([1.0, float("nan")])}
    save_file(values, path) if path.suffix == ".safetensors" else torch.save(values, path)


class _Canary:
    """Touches a file when it is unpickled by something that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param("w.safetensors", _safetensors, id="safetensors"),
        pytest.param("w.pth", _pickled, id="pth"),
        pytest.param("w.pt", _wrapped, id="wrapped by a training run"),
        pytest.param("w.bin", _old_format, id="format before zip"),
    ],
)
def test_read_state_returns_the_tensors(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    got = read_state(tmp_path / name)
    assert got.keys() == STATE.keys()
    assert all(torch.equal(got[key], STATE[key]) and got[key].dtype == STATE[key].dtype for key in STATE)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        pytest.param("w.pth", lambda path: None, "no such file", id="absent"),
        pytest.param("w.pth", lambda path: path.mkdir(), "no such file", id="folder"),
        pytest.param("w.pth", lambda path: path.touch(), "is empty", id="empty"),
        pytest.param(
            "w.safetensors",
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
            "Git LFS pointer",
            id="LFS pointer",
        ),
        pytest.param("w.pth", lambda path: path.write_text("\n<!DOCTYPE html><p>404"), "web page", id="HTML"),
        *(
            pytest.param("w.pth", lambda path, head=head: path.write_bytes(head + b"<title>404"), "web page", id=name)
            for name, head in {
                "HTML that begins with HEAD": b"<HEAD>",
                "HTML that begins with head": b"\r\n\t <head>",
                "HTML after a byte order mark": b"\xef\xbb\xbf\n<html>",
            }.items()
        ),
        pytest.param("w.pt", _compressed, "unpack to more than the file", id="compressed members"),
        pytest.param("w.pt", lambda path: torch.save({"a": torch.ones(1).expand(9)}, path), "stride 0", id="stride 0"),
        pytest.param("w.pt", _nan, "b holds NaN", id="NaN in pt"),
        pytest.param("w.safetensors", _nan, "b holds NaN", id="NaN in safetensors"),
        pytest.param("w.safetensors", lambda path: _cut(_safetensors, path), "cut short", id="safetensors cut short"),
        pytest.param("w.pth", lambda path: _cut(_pickled, path), "cut short", id="pth cut short"),
        pytest.param("w.safetensors", _pickled, "safetensors format", id="pickle called safetensors"),
        pytest.param("w.pth", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "w.pth", id="something else"),
        pytest.param("w.pth", _no_state, "no dictionary of named tensors", id="no state"),
        pytest.param("w.h5", _pickled, "not '.h5'", id="unknown suffix"),
    ],
)
def test_read_state_refuses(tmp_path: Path, name: str, write: Callable[[Path], None], message: str) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(BadWeights, match=message) as caught:
        read_state(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False], ids=["torch.save", "plain pickle"])
def test_read_state_never_runs_code(tmp_path: Path, zipped: bool) -> None:
    path, canary = tmp_path / "w.pth", tmp_path / "canary"
    if zipped:
        torch.save({"state_dict": _Canary(canary)}, path)
    else:
        path.write_bytes(pickle.dumps(_Canary(canary), protocol=2))
    with pytest.raises(BadWeights, match="refused"):
        read_state(path)
    assert not canary.exists()


def test_digest_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    assert sha256_of(path) == verify(path, expected, "w") == expected
    with pytest.raises(BadWeights, match="w: .* was expected"):
        verify(path, "0" * 64, "w")
    with pytest.raises(BadWeights, match="no such file"):
        sha256_of(tmp_path / "absent")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(ValueError("one\ntwo"), "one", id="first line"),
        pytest.param(RuntimeError("Errors:\n\tMissing a\n\tMissing b"), "Missing a", id="first item of a list"),
        pytest.param(KeyError(), "KeyError", id="nothing said"),
        pytest.param(ValueError("x" * 200), "x" * 157 + "...", id="long"),
    ],
)
def test_first_line(error: Exception, told: str) -> None:
    assert first_line(error) == told
