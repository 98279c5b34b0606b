"""Tiny open_clip folders: open_clip_config.json and safetensors, with every kind of text tower that is read here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["KINDS", "write", "write_kind", "write_xlm_roberta"]

END = 49407
"""CLIP's end token."""

_VISION = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16}
_TEXT = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
_PIXELS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic"}
_SIGMOID = {"init_logit_scale": 1.5, "init_logit_bias": -2.0}
_TIMM = {"timm_model_pretrained": False, "timm_pool": "map", "timm_proj": None}
_CUSTOM = {"custom_text": True}

_CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {"text_cfg": _TEXT},
    "custom text": {"text_cfg": {**_TEXT, "proj_bias": True}, "custom_text": True, **_SIGMOID},
    "eos pool": {"text_cfg": {**_TEXT, "pool_type": "eos", "eos_id": 49407}, "custom_text": True},
    "siglip": {"text_cfg": {**_TEXT, "no_causal_mask": True, "pool_type": "last"}, "custom_text": True, **_SIGMOID},
    "pe": {
        "vision_cfg": {**_TIMM, "timm_model_name": "vit_pe_core_tiny_patch16_384", "image_size": 384},
        "text_cfg": _TEXT,
        **_CUSTOM,
    },
    "mobileclip": {
        "vision_cfg": {**_TIMM, "timm_model_name": "fastvit_mci0", "timm_pool": "avg", "image_size": 64},
        "text_cfg": {**_TEXT, "no_causal_mask": True},
        **_CUSTOM,
    },
    "coca": {
        "embed_dim": 32,
        "vision_cfg": {**_VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {**_TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**_TEXT, "attn_pooler_heads": 2},
        "custom_text": True,
    },
}
KINDS = tuple(_CONFIGS)
"""CLIP's causal tower twice, one pooled at a named token, SigLIP's that sees padding, CoCa's with a class token;
PE-Core and MobileCLIP 2, whose image towers are timm's."""


def write(folder: Path) -> str:
    """Write a CLIP; return the rest of the SPEC."""
    return write_kind(folder, "clip")


def write_kind(folder: Path, kind: str, resize_mode: str = "shortest") -> str:
    """Write a model of one of KINDS with random weights; return the rest of the SPEC."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = {"embed_dim": 16, "vision_cfg": _VISION, **_CONFIGS[kind]}
    architecture = {name: value for name, value in config.items() if name != "custom_text"}
    build = (
        open_clip.CoCa if kind == "coca" else open_clip.CustomTextCLIP if "custom_text" in config else open_clip.CLIP
    )
    torch.manual_seed(21)
    model = build(**architecture)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and "text" in name:
                value.normal_(std=0.15)
        if kind == "coca":
            _varied(model)
    folder.mkdir(parents=True)
    text = json.dumps({"model_cfg": config, "preprocess_cfg": {**_PIXELS, "resize_mode": resize_mode}})
    (folder / "open_clip_config.json").write_text(text, "utf-8")
    weights = {name: value.clone().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def write_xlm_roberta(folder: Path, letters: str = "") -> str:
    """Write a model with a text tower of transformers, its configuration and tokenizer; return the rest of the SPEC.

    open_clip's own configuration names them on the hub, as that of xlm-roberta-base-ViT-B-32 does.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import XLMRobertaConfig

    from tests.tiny.words import xlm_roberta_tokenizer

    tokenizer = xlm_roberta_tokenizer(32, letters)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2}
    XLMRobertaConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=36).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    hub = {"hf_model_name": "xlm-roberta-base", "hf_tokenizer_name": "xlm-roberta-base"}
    text = {**hub, "hf_pooler_type": "mean_pooler", "hf_proj_type": "mlp", "context_length": 32}
    torch.manual_seed(22)
    own = {**text, "hf_model_name": str(folder), "hf_model_pretrained": False}
    model = open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=_VISION, text_cfg=own)
    config = {"embed_dim": 16, "vision_cfg": _VISION, "text_cfg": text}
    written = json.dumps({"model_cfg": config, "preprocess_cfg": {**_PIXELS, "resize_mode": "shortest"}})
    (folder / "open_clip_config.json").write_text(written, "utf-8")
    weights = {name: value.clone().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def _varied(model: Any) -> None:
    """Let captions differ from image to image, in their words and in their length."""
    import torch

    torch.nn.init.normal_(model.text.cls_emb)
    torch.nn.init.normal_(model.text_decoder.text_projection, std=0.5)
    model.text_decoder.text_projection[:, END] = torch.randn(32, generator=torch.Generator().manual_seed(0)) * 1.5
