"""A tiny EdgeTAM checkpoint: 64 pixels, a small RepViT of timm."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["write"]


def write(folder: Path) -> str:
    """Write an EdgeTamModel with its processor and return the REST of its SPEC."""
    from transformers import EdgeTamConfig, EdgeTamModel, Sam2ImageProcessor, Sam2Processor

    sizes = {"embed_dim": [8, 16, 32, 64], "depth": [1, 1, 1, 1], "features_only": True, "out_indices": [0, 1, 2, 3]}
    backbone = {"model_type": "timm_wrapper", "architecture": "repvit_m1", "num_classes": 2, "model_args": sizes}
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }
    prompts = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 8}
    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    torch.manual_seed(8)
    config = EdgeTamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    model = EdgeTamModel(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.abs().max() < 0.5:  # norms stay near 1
                value.normal_(std=0.15)
    model.save_pretrained(folder)
    Sam2Processor(Sam2ImageProcessor(size={"height": 64, "width": 64})).save_pretrained(folder)
    return str(folder)
