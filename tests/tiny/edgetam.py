"""A tiny EdgeTAM checkpoint: 64 pixels, a small RepViT of timm."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tiny.sam2 import HEADS, NECK, save

__all__ = ["write"]


def write(folder: Path) -> str:
    """Write an EdgeTamModel with its processor and return the REST of its SPEC."""
    from transformers import EdgeTamConfig, EdgeTamModel

    sizes = {"embed_dim": [8, 16, 32, 64], "depth": [1, 1, 1, 1], "features_only": True, "out_indices": [0, 1, 2, 3]}
    backbone = {"model_type": "timm_wrapper", "architecture": "repvit_m1", "num_classes": 2, "model_args": sizes}
    torch.manual_seed(8)
    return save(EdgeTamModel(EdgeTamConfig(vision_config={"backbone_config": backbone, **NECK}, **HEADS)), folder)
