"""A tiny OmDet-Turbo with its processor, in the format that transformers publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.tiny.detr import liven
from tests.tiny.words import clip_tokenizer

__all__ = ["CONTEXT", "write"]

CONTEXT = 48


def _config() -> Any:
    from transformers import CLIPTextConfig, OmDetTurboConfig

    words = clip_tokenizer(CONTEXT)
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        projection_dim=64,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    swin: dict[str, Any] = {"model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1]}
    swin |= {"num_heads": [1, 1, 2, 2], "window_size": 4, "drop_path_rate": 0.0, "out_indices": [2, 3, 4]}
    # the library's decoder needs class embeddings of another width than its own
    width: dict[str, Any] = {
        "encoder_hidden_dim": 32,
        "decoder_hidden_dim": 32,
        "class_embed_dim": 64,
        "text_projection_in_dim": 64,
    }
    width |= {"text_projection_out_dim": 64, "task_encoder_hidden_dim": 32, "encoder_dim_feedforward": 32}
    return OmDetTurboConfig(
        text_config=text,
        backbone_config=swin,
        image_size=64,
        apply_layernorm_after_vision_backbone=False,  # for timm's Swin, whose features have their channels last
        **width,
        vision_features_channels=[32, 32, 32],
        encoder_in_channels=[16, 32, 64],
        encoder_attention_heads=2,
        decoder_num_heads=2,
        decoder_num_layers=2,
        decoder_dim_feedforward=32,
        num_queries=20,
    )


def write(folder: Path) -> str:
    """Write the checkpoint into a folder that does not exist yet; return what a SPEC says after the family."""
    from transformers import DetrImageProcessor, OmDetTurboForObjectDetection, OmDetTurboProcessor

    torch.manual_seed(8)
    liven(OmDetTurboForObjectDetection(_config())).save_pretrained(folder)
    pixels = DetrImageProcessor(size={"height": 64, "width": 64})
    OmDetTurboProcessor(pixels, clip_tokenizer(CONTEXT)).save_pretrained(folder)
    return str(folder)
