"""A tiny SAM 2 checkpoint: 64 pixels, four stages, one global block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

__all__ = ["HEADS", "NECK", "save", "write"]

NECK: dict[str, Any] = {
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    "fpn_hidden_size": 32,
}
HEADS: dict[str, Any] = {
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 8},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
}


def write(folder: Path) -> str:
    """Write a Sam2Model with its processor and return the REST of its SPEC."""
    from transformers import Sam2Config, Sam2Model

    backbone = {
        "hidden_size": 8,
        "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 2, 4],
        "window_size_per_stage": [4, 4, 4, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = {"backbone_config": {"model_type": "sam2_hiera_det_model", **backbone}, **NECK}
    torch.manual_seed(6)
    return save(Sam2Model(Sam2Config(vision_config=vision, **HEADS)), folder)


def save(model: Any, folder: Path) -> str:
    """Write a model of SAM 2's kind, with weights under which every part counts, and its processor."""
    from transformers import Sam2ImageProcessor, Sam2Processor

    with torch.no_grad():
        for value in model.eval().parameters():
            if value.abs().max() < 0.5:  # norms stay near 1
                value.normal_(std=0.15)
    model.save_pretrained(folder)
    Sam2Processor(Sam2ImageProcessor(size={"height": 64, "width": 64})).save_pretrained(folder)
    return str(folder)
