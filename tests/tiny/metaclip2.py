"""A tiny MetaCLIP 2 in transformers' layout, with CLIP's processor and an XLM-RoBERTa tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tiny.words import xlm_roberta_tokenizer

__all__ = ["write"]

CONTEXT = 32


def write(folder: Path, letters: str = "") -> str:
    """Write model, tokenizer, which knows those letters too, and image processor; return the rest of the SPEC."""
    import torch
    from transformers import CLIPImageProcessor, CLIPProcessor, MetaClip2Config, MetaClip2Model

    tokenizer = xlm_roberta_tokenizer(CONTEXT, letters)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    config = MetaClip2Config(
        text_config={**tower, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": CONTEXT},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(12)
    MetaClip2Model(config).eval().save_pretrained(folder)
    size: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPProcessor(image_processor=CLIPImageProcessor(**size), tokenizer=tokenizer).save_pretrained(folder)
    return str(folder)
