"""A tiny OWL-ViT with its processor, in the format that transformers publishes."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tiny.owl import calm, sizes, tokenizer

__all__ = ["write"]


def write(folder: Path) -> str:
    """Write the checkpoint into a folder that does not exist yet; return what a SPEC says after the family."""
    from transformers import OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessor, OwlViTProcessor

    torch.manual_seed(2)
    calm(OwlViTForObjectDetection(OwlViTConfig(**sizes()))).save_pretrained(folder)
    OwlViTProcessor(OwlViTImageProcessor(size={"height": 48, "width": 48}), tokenizer()).save_pretrained(folder)
    return str(folder)
