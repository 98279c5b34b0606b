"""Tiny checkpoints with random weights, written by the upstream libraries in their own formats."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads wait for each other longer than they compute
os.environ["OPENVOCAB_CACHE"] = tempfile.mkdtemp(prefix="openvocab-tests-")

SOFTMAX = "softmax"
SIGMOID = "sigmoid"


def random_image(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a (height, width, 3) image of soft random blobs, so that neighboring pixels are alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])


@pytest.fixture(scope="session")
def make_image() -> Any:
    """The builder of images: make_image(height, width, seed=0)."""
    return random_image


@pytest.fixture
def decoded_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The width and height of each image whose pixels are decoded in this process, in order."""
    from openvocab.images import read

    sizes: list[tuple[int, int]] = []
    pixels: Any = vars(read)["_pixels"]

    def recorded(image: Any, *more: Any) -> Any:
        sizes.append(image.size)
        return pixels(image, *more)

    monkeypatch.setattr(read, "_pixels", recorded)
    return sizes


def _clip_folder(folder: Path, kind: str) -> Path:
    """Write an open_clip folder: configuration and safetensors."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    model_cfg: dict[str, Any] = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    if kind == SIGMOID:
        model_cfg |= {"init_logit_scale": 1.5, "init_logit_bias": -2.0}
    torch.manual_seed(1)
    model = (open_clip.CustomTextCLIP if kind == SIGMOID else open_clip.CLIP)(**model_cfg)
    model_cfg["custom_text"] = kind == SIGMOID
    preprocess = {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    folder.mkdir()
    text = json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text, "utf-8")
    save_file(
        {name: value.clone() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


@pytest.fixture(scope="session")
def clip_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a CLIP trained with a softmax and of one with a sigmoid, by "softmax" and "sigmoid"."""
    root = tmp_path_factory.mktemp("clip")
    return {kind: _clip_folder(root / kind, kind) for kind in (SOFTMAX, SIGMOID)}


@pytest.fixture(scope="session")
def owlv2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an OWLv2 model and its processor, as save_pretrained writes them."""
    from tests.tiny.owlv2 import write

    return Path(write(tmp_path_factory.mktemp("owlv2") / "model"))


@pytest.fixture(scope="session")
def sam_vit_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random vit_b in the format of the official checkpoints: a plain state dictionary."""
    import torch
    from segment_anything import build_sam_vit_b

    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("sam") / "sam_vit_b.pth"
    torch.save(build_sam_vit_b().state_dict(), path)
    return path
