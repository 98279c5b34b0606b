"""How far a tagger's embedding depends on the number of images in its batch: 8 images at once against one by one.

python -m benchmarks.batch_sizes
"""

from __future__ import annotations

import numpy as np
import open_clip
import torch

import openvocab
from openvocab.models.device import unit


def embedded(dtype: str) -> float:
    """Return the largest difference of a coordinate for the embedded tagger on the example scenes."""
    tagger = openvocab.load_tagger("pocket", "cpu", dtype)
    images = [openvocab.read_image(scene.path) for scene in openvocab.example_scenes()]
    alone = np.concatenate([tagger.encode_images([image]) for image in images])
    return float(np.abs(tagger.encode_images(images) - alone).max())


@torch.inference_mode()
def tower(dtype: torch.dtype) -> float:
    """Return the largest difference of a coordinate for open_clip's ViT-B-32 with random weights."""
    torch.manual_seed(0)
    model, pixels = open_clip.create_model("ViT-B-32").eval().to(dtype), torch.randn(8, 3, 224, 224, dtype=dtype)
    together, alone = model.encode_image(pixels), torch.cat([model.encode_image(one[None]) for one in pixels])
    return float((unit(together) - unit(alone)).abs().max())


if __name__ == "__main__":
    for name in ("float32", "bfloat16"):
        print(f"{name}: embedded tagger {embedded(name):.1e}, ViT-B-32 {tower(getattr(torch, name)):.1e}")
