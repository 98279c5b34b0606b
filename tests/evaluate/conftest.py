"""Labeled images in the formats that the loaders read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tiny.open_clip import write


@pytest.fixture(scope="session")
def tiny_tagger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SPEC of a tiny CLIP with random weights."""
    return f"open_clip:{write(tmp_path_factory.mktemp('clip') / 'model')}"


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., Any]) -> Path:
    """200 images of 20 labels, unevenly distributed."""
    root = tmp_path_factory.mktemp("imagefolder")
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([np.arange(20), rng.integers(0, 20, 180)]))
    for row, count in enumerate(counts.tolist()):
        folder = root / f"thing {row:02}"
        folder.mkdir()
        for number in range(count):
            height, width = rng.integers(24, 56, 2)
            Image.fromarray(make_image(int(height), int(width), 1000 * row + number)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def web_dataset(tmp_path_factory: pytest.TempPathFactory, image_folder: Path) -> Path:
    """The same images in CLIP_benchmark's WebDataset layout, over three shards."""
    root = tmp_path_factory.mktemp("webdataset")
    names = sorted(each.name for each in image_folder.iterdir())
    files = [(row, file) for row, name in enumerate(names) for file in sorted((image_folder / name).iterdir())]
    write_shards(root, [[(file.read_bytes(), str(row).encode()) for row, file in files[part::3]] for part in range(3)])
    (root / "classnames.txt").write_text("\n".join(names) + "\n", "utf-8")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of the {c}\n", "utf-8")
    return root


def write_shards(root: Path, shards: list[list[tuple[bytes, bytes]]], suffix: str = "cls") -> None:
    """Write test/0.tar and so on, of samples that are the bytes of an image and of its label."""
    (root / "test").mkdir()
    (root / "test" / "nshards.txt").write_text(str(len(shards)), "utf-8")
    for number, samples in enumerate(shards):
        with tarfile.open(root / "test" / f"{number}.tar", "w") as tar:
            for key, (image, label) in enumerate(samples):
                for end, data in ((suffix, label), ("png", image)):
                    member = tarfile.TarInfo(f"s{key:07}.{end}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
