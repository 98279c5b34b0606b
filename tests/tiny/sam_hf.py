"""Tiny SAM and SAM-HQ checkpoints in transformers' layout: 64 pixels, a windowed and a global layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

__all__ = ["write", "write_hq"]

_TOWER = {
    "hidden_size": 32,
    "output_channels": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
    "window_size": 3,
    "global_attn_indexes": [1],
    "num_pos_feats": 16,
    "mlp_dim": 64,
}
_PROMPTS = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 8}
_DECODER = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}


def _save(model: Any, folder: Path, seed: int) -> str:
    """Fill the weights so that every part matters, and write model and processor."""
    from transformers import SamImageProcessor, SamProcessor

    torch.manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.abs().max() < 0.5:  # norms stay near 1
                value.normal_(std=0.15)
        model.shared_image_embedding.positional_embedding.normal_()
        model.mask_decoder.iou_prediction_head.proj_out.bias.fill_(0.5)  # an estimate in 0 to 1
    model.save_pretrained(folder)
    square = {"height": 64, "width": 64}
    SamProcessor(SamImageProcessor(size={"longest_edge": 64}, pad_size=square)).save_pretrained(folder)
    return str(folder)


def write(folder: Path) -> str:
    """Write a SamModel with its processor and return the REST of its SPEC."""
    from transformers import SamConfig, SamModel

    config = SamConfig(vision_config=_TOWER, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    return _save(SamModel(config).eval(), folder, 5)


def write_hq(folder: Path) -> str:
    """Write a SamHQModel with its processor and return the REST of its SPEC."""
    from transformers import SamHQConfig, SamHQModel

    decoder = {**_DECODER, "vit_dim": 32}
    config = SamHQConfig(vision_config=_TOWER, prompt_encoder_config=_PROMPTS, mask_decoder_config=decoder)
    return _save(SamHQModel(config).eval(), folder, 7)
