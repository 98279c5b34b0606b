"""A tiny CLIP in transformers' layout, as the published ones: its end token is found as the highest number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tiny.words import clip_tokenizer

__all__ = ["write"]

CONTEXT = 32


def write(folder: Path) -> str:
    """Write model, tokenizer and image processor; return the rest of the SPEC."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    tokenizer = clip_tokenizer(CONTEXT)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": 2, "pad_token_id": 1}
    config = CLIPConfig(
        text_config={**tower, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": CONTEXT},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(11)
    CLIPModel(config).eval().save_pretrained(folder)
    size: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPProcessor(image_processor=CLIPImageProcessor(**size), tokenizer=tokenizer).save_pretrained(folder)
    return str(folder)
