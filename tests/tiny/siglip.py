"""Tiny SigLIP checkpoints in transformers' layout: of a fixed resolution, and NaFlex, which keeps the aspect ratio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tiny.words import gemma_tokenizer, siglip2_tokenizer

__all__ = ["write", "write_naflex"]

CONTEXT = 64
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def _text(tokens: int) -> dict[str, Any]:
    ends = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    return {**TOWER, **ends, "vocab_size": tokens, "max_position_embeddings": CONTEXT, "projection_size": 32}


def _spread(model: Any) -> Any:
    """Give a fresh model a scale and a bias at which scores differ and lie well inside 0 to 1."""
    import torch

    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-1.5)
    return model.eval()


def write(folder: Path, letters: str = "") -> str:
    """Write a SigLIP 2 of a fixed resolution, which is published as a SiglipModel; return the rest of the SPEC."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    tokenizer = gemma_tokenizer(CONTEXT, letters)
    config = SiglipConfig(text_config=_text(len(tokenizer)), vision_config={**TOWER, "image_size": 32, "patch_size": 8})
    torch.manual_seed(13)
    _spread(SiglipModel(config)).save_pretrained(folder)
    images = SiglipImageProcessor(size={"height": 32, "width": 32})
    SiglipProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return str(folder)


def write_naflex(folder: Path, letters: str = "") -> str:
    """Write a SigLIP 2 of the NaFlex kind, of up to 16 patches of 8 pixels; return the rest of the SPEC."""
    import torch
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model, Siglip2Processor

    tokenizer = siglip2_tokenizer(CONTEXT, letters)
    config = Siglip2Config(
        text_config=_text(len(tokenizer)), vision_config={**TOWER, "num_patches": 16, "patch_size": 8}
    )
    torch.manual_seed(14)
    _spread(Siglip2Model(config)).save_pretrained(folder)
    images = Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    Siglip2Processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return str(folder)
