"""A tiny Grounding DINO with its processor, in the format that transformers publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

CONTEXT = 64
"""Tokens of a prompt; published checkpoints have 256."""

WORDS = ("thing", "cat", "dog", "a", "of", "photo", "red", "st", "bernard")


def sizes() -> dict[str, Any]:
    """Arguments of the configuration, the same for both kinds."""
    from transformers import BertConfig, SwinConfig

    maps: dict[str, Any] = {"out_indices": [2, 3, 4]}

    return {
        "backbone_config": SwinConfig(
            image_size=64,
            embed_dim=16,
            depths=[2, 2, 2, 1],
            num_heads=[1, 2, 2, 4],
            window_size=4,
            drop_path_rate=0.0,
            **maps,
        ),
        "text_config": BertConfig(
            vocab_size=1200,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=256,
        ),
        "d_model": 64,  # the library's 32 groups of channels need two each
        "encoder_layers": 2,
        "encoder_ffn_dim": 64,
        "encoder_attention_heads": 4,
        "decoder_layers": 3,
        "decoder_ffn_dim": 64,
        "decoder_attention_heads": 4,
        "num_queries": 20,
        "max_text_len": CONTEXT,
    }


def tokenizer() -> Any:
    """BERT's, with the special tokens at their published places, a few words, and all letters and digits."""
    from transformers import BertTokenizer

    tokens = [f"[unused{row}]" for row in range(1200)]
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    rest = [*letters, *(f"##{letter}" for letter in letters), *(word for word in WORDS if len(word) > 1)]
    for row, token in {**special, **dict(enumerate(rest, 200))}.items():
        tokens[row] = token
    return BertTokenizer(vocab={token: row for row, token in enumerate(tokens)})


def liven(model: Any, spread: float) -> Any:
    """Give a model weights under which every part counts: fresh ones hardly fuse, and all their boxes are alike.

    Args:
        spread: what the last features are scaled by, so that scores differ and none is 0 or 1.
    """
    generator = torch.Generator().manual_seed(6)
    tables = {id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding)}
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if id(value) in tables:
                value.copy_(noise)
            elif value.dim() > 1:
                value.copy_(noise / value[0].numel() ** 0.5)
            elif name.endswith(("vision_param", "text_param")):
                value.copy_(0.5 + 0.1 * noise)
            elif value.dim():
                value.add_(0.1 * noise)
        model.model.decoder.layer_norm.weight.mul_(spread)
    return model.eval()


def save(model: Any, folder: Path, spread: float = 0.3) -> str:
    """Write the model, livened, and its processor; return the folder."""
    from transformers import GroundingDinoImageProcessor, GroundingDinoProcessor

    liven(model, spread).save_pretrained(folder)
    pixels = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(pixels, tokenizer()).save_pretrained(folder)
    return str(folder)


def write(folder: Path) -> str:
    """Write the checkpoint into a folder that does not exist yet; return what a SPEC says after the family."""
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    torch.manual_seed(5)
    return save(GroundingDinoForObjectDetection(GroundingDinoConfig(**sizes())), folder)
