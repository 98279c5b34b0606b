"""A tiny OWLv2 with its processor, in the format that transformers publishes."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tiny.owl import calm, sizes, tokenizer

__all__ = ["write"]


def write(folder: Path) -> str:
    """Write the checkpoint into a folder that does not exist yet; return what a SPEC says after the family."""
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    torch.manual_seed(2)
    calm(Owlv2ForObjectDetection(Owlv2Config(**sizes()))).save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 48, "width": 48}), tokenizer()).save_pretrained(folder)
    return str(folder)
