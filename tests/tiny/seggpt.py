"""A tiny SegGPT checkpoint: images of 32 pixels, an example above and the image below it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

__all__ = ["write"]


def write(folder: Path) -> str:
    """Write a SegGptForImageSegmentation with its processor and return the REST of its SPEC."""
    from transformers import SegGptConfig, SegGptForImageSegmentation, SegGptImageProcessor

    config = SegGptConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=[64, 32],
        patch_size=8,
        pretrain_image_size=16,
        decoder_hidden_size=8,
        merge_index=0,
        intermediate_hidden_state_indices=[1, 2],
        mlp_dim=48,
    )
    model = SegGptForImageSegmentation(config).eval()
    drawn = np.random.default_rng(12)  # torch's numbers are others in other releases, and masks of some of them empty
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" not in name:
                value.copy_(torch.from_numpy(drawn.normal(0, 0.25, value.shape)))
    model.save_pretrained(folder)
    SegGptImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)
