"""torchvision's classification sets, read by its own classes from fixtures in their own formats."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from openvocab.errors import BadInput, UnknownName
from openvocab.evaluate.data import TORCHVISION, load_labeled
from openvocab.images.read import read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)


def cifar(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write five images in the pickles of CIFAR, and let torchvision know their digests instead of the real ones."""
    upstream = getattr(datasets, name)
    key, labels = upstream.meta["key"], ["aquarium_fish", "bear", "cloud"]
    parts: dict[str, dict[str, Any]] = {upstream.meta["filename"]: {key: labels}}
    for file, _ in upstream.train_list + upstream.test_list:
        kind = "labels" if name == "CIFAR10" else "fine_labels"
        parts[file] = {"data": PIXELS.reshape(5, -1), kind: [0, 1, 2, 1, 0]}
    digests = {}
    (root / upstream.base_folder).mkdir()
    for file, content in parts.items():
        data = pickle.dumps(content)
        (root / upstream.base_folder / file).write_bytes(data)
        digests[file] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    for each in ("train_list", "test_list"):
        monkeypatch.setattr(upstream, each, [[file, digests[file]] for file, _ in getattr(upstream, each)])
    meta = upstream.meta | {"md5": digests[upstream.meta["filename"]]}
    monkeypatch.setattr(upstream, "meta", meta)


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_cifar(name, tmp_path, monkeypatch):
    cifar(tmp_path, name, monkeypatch)
    data = load_labeled(f"{name}:{tmp_path}", "torchvision")
    images = list(data.images())
    assert data.labels == ("aquarium_fish", "bear", "cloud")
    assert [one.labels for one in images] == [(0,), (1,), (2,), (1,), (0,)]
    assert len({one.item.id for one in images}) == 5
    for one, pixels in zip(images, PIXELS, strict=True):
        np.testing.assert_array_equal(read_image(one.item.data or b""), pixels.transpose(1, 2, 0))
    assert [one.item for one in data.images()] == [one.item for one in images]


def test_mnist(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = struct.pack(">IIII", 2051, 2, 28, 28) + bytes(2 * 28 * 28)
        labels = struct.pack(">II", 2049, 2) + bytes([7, 0])
        for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
            (raw / f"{part}-{kind}-ubyte").write_bytes(content)
            (raw / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    data = load_labeled(f"MNIST:{tmp_path}", "torchvision")
    assert (data.labels[7], [one.labels for one in data.images()]) == ("7 - seven", [(7,), (0,)])


def test_a_data_set_of_files(tmp_path):
    """EuroSAT has one folder per class, as torchvision unpacks it."""
    for name in ("AnnualCrop", "Forest"):
        folder = tmp_path / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 4), (name == "Forest" and "green") or "brown").save(folder / "1.png")
    data = load_labeled(f"EuroSAT:{tmp_path}", "torchvision")
    first = next(iter(data.images())).item.data
    assert (data.labels, Image.open(io.BytesIO(first or b"")).getpixel((0, 0))) == (
        ("AnnualCrop", "Forest"),
        (165, 42, 42),
    )


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_a_missing_data_set_lists_the_files_it_needs(name, tmp_path):
    with pytest.raises(BadInput, match=f"torchvision's {name} cannot read") as caught:
        load_labeled(f"{name}:{tmp_path}", "torchvision")
    assert TORCHVISION[name].files in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_digest_is_refused_by_torchvision(tmp_path, monkeypatch):
    cifar(tmp_path, "CIFAR10", monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"other")
    with pytest.raises(BadInput, match="Dataset not found or corrupted"):
        load_labeled(f"CIFAR10:{tmp_path}", "torchvision")


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        pytest.param("CIFAR10", BadInput, "names no folder; write NAME:ROOT", id="no root"),
        pytest.param("CIFAR10:", BadInput, "names no folder", id="an empty root"),
        pytest.param("CIFAR11:x", UnknownName, "did you mean 'CIFAR10'", id="another name"),
    ],
)
def test_bad_names(path, error, says):
    with pytest.raises(error, match=says):
        load_labeled(path, "torchvision")
