"""What the tiny OWL-ViT and OWLv2 share."""

from __future__ import annotations

from typing import Any

import torch

from tests.tiny.words import byte_pairs

__all__ = ["CONTEXT", "calm", "sizes", "tokenizer"]

CONTEXT = 16


def tokenizer() -> Any:
    """CLIP's, padded with its token 0 as published ones."""
    from transformers import CLIPTokenizer

    vocab, merges = byte_pairs()
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token="!", model_max_length=CONTEXT)


def sizes() -> dict[str, Any]:
    """Arguments of the configuration, the same for both."""
    words = tokenizer()
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    return {
        "text_config": {**tower, **ends, "vocab_size": len(words), "max_position_embeddings": CONTEXT},
        "vision_config": {**tower, "image_size": 48, "patch_size": 8},
        "projection_dim": 32,
    }


def calm(model: Any) -> Any:
    """Shrink the heads, which start so wide that sigmoids saturate and every box is alike."""
    shares = {model.box_head: 0.3, model.class_head.logit_scale: 0.1, model.class_head.logit_shift: 0.1}
    with torch.no_grad():
        for head, share in shares.items():
            for value in head.parameters():
                value.mul_(share)
    return model.eval()
