"""A file that takes another's place between measuring and loading is not loaded under the old digest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import openvocab
from openvocab.errors import BadWeights
from openvocab.models import checkpoints
from openvocab.models.pocket import files
from openvocab.models.segmenters import sam_segmenter
from openvocab.models.taggers import clip_tagger, timm_classifier
from openvocab.weights import manifest
from openvocab.weights.files import verify
from openvocab.weights.trust import trusted_sha256
from tests.tiny import clip, sam
from tests.tiny import timm_classifier as tiny_timm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny CLIP in transformers' layout."""
    return Path(clip.write(tmp_path / "clip"))


def _swap(path: Path) -> None:
    other = path.with_name("other.safetensors")
    save_file({name: value + 1 for name, value in load_file(path).items()}, other, {"format": "pt"})
    other.replace(path)


def _swapping(module: Any, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Put another file in place as soon as this one was measured."""

    def measured(source: str, given: Path) -> str:
        digest = trusted_sha256(source, given)
        _swap(path) if path.suffix == ".safetensors" else path.write_bytes(path.read_bytes() + b"\0")
        return digest

    monkeypatch.setattr(module, "trusted_sha256", measured)


def test_a_model_of_transformers_is_not_loaded_under_the_digest_of_another_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _swapping(checkpoints, monkeypatch, folder / "model.safetensors")
    with pytest.raises(BadWeights, match="changed while it was loaded"):
        openvocab.load_tagger(f"clip:{folder}", "cpu")


def test_a_model_of_open_clip_is_not_loaded_under_the_digest_of_another_file(
    clip_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(clip_folders["softmax"], copy)
    _swapping(clip_tagger, monkeypatch, copy / "open_clip_model.safetensors")
    with pytest.raises(BadWeights, match="changed while it was loaded"):
        openvocab.load_tagger(f"open_clip:local-dir:{copy}", "cpu")


def _sam(folder: Path) -> tuple[Any, Path, Callable[[], Any]]:
    spec = sam.write(folder / "sam")
    return sam_segmenter, folder / "sam/sam.pth", lambda: openvocab.load_segmenter(f"sam:{spec}", "cpu")


def _timm_file(folder: Path) -> tuple[Any, Path, Callable[[], Any]]:
    spec = tiny_timm.write_weights(folder / "weights.pth")
    return timm_classifier, folder / "weights.pth", lambda: openvocab.load_tagger(f"classifier:{spec}", "cpu")


def _timm_folder(folder: Path) -> tuple[Any, Path, Callable[[], Any]]:
    spec = tiny_timm.write(folder / "timm")
    return checkpoints, folder / "timm/model.safetensors", lambda: openvocab.load_tagger(f"classifier:{spec}", "cpu")


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(_sam, id="SAM's file"),
        pytest.param(_timm_file, id="timm's architecture and a file"),
        pytest.param(_timm_folder, id="timm's folder"),
    ],
)
def test_another_file_is_not_loaded_under_the_digest_of_the_first(
    write: Callable[[Path], tuple[Any, Path, Callable[[], Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, path, load = write(tmp_path)
    _swapping(module, monkeypatch, path)
    with pytest.raises(BadWeights, match="changed while it was loaded"):
        load()


@pytest.mark.parametrize(
    ("stage", "load"),
    [
        pytest.param("tagger", openvocab.load_tagger, id="tagger"),
        pytest.param("detector", openvocab.load_detector, id="detector"),
        pytest.param("segmenter", openvocab.load_segmenter, id="segmenter"),
    ],
)
def test_an_embedded_model_is_not_loaded_from_a_file_that_was_swapped_once_verified(
    stage: str, load: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = manifest.checkpoint(f"pocket-{stage}")
    folder = shutil.copytree(kept.path.parent, tmp_path / stage)
    copy = replace(kept, path=folder / kept.path.name)

    def verified(path: Path, digest: str, name: str) -> None:
        verify(path, digest, name)
        _swap(path)

    monkeypatch.setattr(files, "checkpoint", lambda name: copy)
    monkeypatch.setattr(manifest, "verify", verified)
    with pytest.raises(BadWeights, match="changed while it was loaded"):
        load("pocket", "cpu", "float32")


def _shard(folder: Path) -> None:
    """Write the weights as two files of torch.save and their index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    shards = {f"pytorch_model-0000{row + 1}-of-00002.bin": names[row::2] for row in range(2)}
    for file, held in shards.items():
        torch.save({name: state[name] for name in held}, folder / file)
    table = {name: file for file, held in shards.items() for name in held}
    index = {"metadata": {"total_size": 1}, "weight_map": table}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), "utf-8")


def test_shards_of_torch_save_load(folder: Path) -> None:
    whole = openvocab.load_tagger(f"clip:{folder}", "cpu", "float32").encode_labels(["cat", "dog"]).embeddings
    _shard(folder)
    sharded = openvocab.load_tagger(f"clip:{folder}", "cpu", "float32").encode_labels(["cat", "dog"]).embeddings
    assert (whole == sharded).all()


def _unreadable(folder: Path) -> None:
    (folder / "pytorch_model.bin.index.json").write_text("[", "utf-8")


def _outside(folder: Path) -> None:
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "../x.bin"}}', "utf-8")


def _without_one(folder: Path) -> None:
    (folder / "pytorch_model-00002-of-00002.bin").unlink()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(_unreadable, "is no index of weights", id="unreadable"),
        pytest.param(_outside, "names files that are no weights beside it", id="file of another folder"),
        pytest.param(_without_one, "of the index is not there", id="shard missing"),
    ],
)
def test_a_spoiled_index_is_one_sentence(folder: Path, spoil: Callable[[Path], None], told: str) -> None:
    _shard(folder)
    spoil(folder)
    with pytest.raises(BadWeights, match=told):
        openvocab.load_tagger(f"clip:{folder}", "cpu")


def test_a_bad_file_of_the_hub_is_told_with_the_copy_that_it_links_to(tmp_path: Path, monkeypatch: Any) -> None:
    from openvocab.weights import trust

    blob = tmp_path / "blob"
    blob.write_bytes(b"x")
    (tmp_path / "model.safetensors").symlink_to(blob)
    monkeypatch.setattr(trust, "pinned_sha256", lambda source: "0" * 64)
    with pytest.raises(BadWeights, match=f"delete it and {blob}, which it links to"):
        trusted_sha256("org/model/model.safetensors", tmp_path / "model.safetensors")
