"""A tiny SAM 3 checkpoint: images of 64 pixels, 8 places a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.tiny.words import clip_tokenizer

__all__ = ["write", "write_as_published"]

CONTEXT = 32  # Sam3Processor pads to it


def _model(vocabulary: int, lite: bool = False) -> Any:
    import transformers

    kind = "Sam3LiteText" if lite else "Sam3"
    config_class, model_class = (getattr(transformers, f"{kind}{part}") for part in ("Config", "Model"))

    part = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48, "num_layers": 2}
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 32,
    }
    text = {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "projection_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }
    if lite:  # fewer positions than tokens, over which the model stretches them, as S0 has
        text |= {"model_type": "sam3_lite_text_text_model", "num_hidden_layers": 3, "max_position_embeddings": 16}
    config = config_class(
        vision_config={
            "backbone_config": backbone,
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config=text,
        geometry_encoder_config=part,
        detr_encoder_config=part,
        detr_decoder_config={**part, "num_queries": 8},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    torch.manual_seed(9)
    model: Any = model_class(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" not in name:
                value.normal_(std=0.2)
        model.detr_decoder.presence_head.layer3.bias.fill_(1.0)
    return model


def write(folder: Path, lite: bool = False) -> str:
    """Write a Sam3Model, or a Sam3LiteTextModel, with its processor and return the REST of its SPEC."""
    from transformers import Sam3ImageProcessor, Sam3Processor

    tokenizer = clip_tokenizer(CONTEXT)
    _model(len(tokenizer), lite).save_pretrained(folder)
    Sam3Processor(Sam3ImageProcessor(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder)
    return str(folder)


def write_as_published(folder: Path) -> str:
    """Write the same model as a part of a model for videos, which is how the published weights come."""
    from safetensors.torch import load_file, save_file

    write(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    whole = {"model_type": "sam3_video", "architectures": ["Sam3VideoModel"], "detector_config": config}
    (folder / "config.json").write_text(json.dumps(whole), "utf-8")
    weights = {f"detector_model.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    weights["tracker_model.no_memory_embedding"] = torch.zeros(1, 1, 32)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return str(folder)
