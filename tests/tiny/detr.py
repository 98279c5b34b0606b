"""Tiny DETR and relatives with their image processors, in the format that transformers publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

__all__ = ["KINDS", "LABELS", "liven", "write", "write_kind"]

LABELS = ("cat", "Red dog", "a thing", "bird", "kite")
KINDS = ("detr", "conditional_detr", "deformable_detr", "rt_detr", "rt_detr_v2", "d_fine", "rf_detr")
SQUARE = frozenset({"rt_detr", "rt_detr_v2", "d_fine", "rf_detr"})


def _settings(kind: str) -> dict[str, Any]:
    labels: dict[str, Any] = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    stages: dict[str, Any] = {
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
    }
    common: dict[str, Any] = {"d_model": 32, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    common |= {"decoder_layers": 2, "decoder_attention_heads": 2, "num_queries": 12, **labels}
    if kind == "rf_detr":
        dino = {"model_type": "rf_detr_dinov2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        dino |= {"image_size": 64, "patch_size": 8, "num_windows": 2, "out_features": ["stage1", "stage2"]}
        heads = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2}
        sizes = {"d_model": 32, "decoder_ffn_dim": 32, "decoder_layers": 2, "decoder_n_points": 2, "num_queries": 12}
        return {**labels, **heads, **sizes, "backbone_config": dino, "c2f_num_blocks": 1, "group_detr": 2}
    if kind == "d_fine":
        channels = {f"stage_{part}_channels": [8, 8, 16, 16] for part in ("in", "mid")}
        channels |= {"stem_channels": [3, 8, 8], "stage_out_channels": [8, 16, 16, 16], "stage_num_blocks": [1] * 4}
        backbone = {"model_type": "hgnet_v2", **channels, "out_features": ["stage2", "stage3", "stage4"]}
        backbone |= {"stage_numb_of_layers": [2] * 4, "hidden_sizes": [8, 16, 16, 16], "depths": [1] * 4}
        rest = {"encoder_in_channels": [16, 16, 16], "encoder_hidden_dim": 32, "decoder_in_channels": [32, 32, 32]}
        rest |= {"decoder_n_points": [2, 2, 2], "num_denoising": 0, "lqe_hidden_dim": 8, "encoder_layers": 1}
        return {**common, **rest, "backbone_config": backbone}
    if kind in ("rt_detr", "rt_detr_v2"):
        backbone = {"model_type": "rt_detr_resnet", **stages, "out_features": ["stage2", "stage3", "stage4"]}
        rest = {"encoder_in_channels": [8, 16, 16], "feat_strides": [8, 16, 32], "encoder_hidden_dim": 32}
        rest |= {"decoder_in_channels": [32, 32, 32], "decoder_n_points": 2, "num_denoising": 0}
        return {**common, **rest, "backbone_config": backbone, "encoder_layers": 1}
    out = ["stage2", "stage3", "stage4"] if kind == "deformable_detr" else ["stage4"]
    return {**common, "backbone_config": {"model_type": "resnet", **stages, "out_features": out}, "encoder_layers": 2}


def _processor(kind: str) -> Any:
    from transformers import (
        ConditionalDetrImageProcessor,
        DeformableDetrImageProcessor,
        DetrImageProcessor,
        RfDetrImageProcessor,
        RTDetrImageProcessor,
    )

    made = {
        "detr": DetrImageProcessor,
        "conditional_detr": ConditionalDetrImageProcessor,
        "deformable_detr": DeformableDetrImageProcessor,
        "rf_detr": RfDetrImageProcessor,
    }
    size = {"height": 64, "width": 64} if kind in SQUARE else {"shortest_edge": 96, "longest_edge": 160}
    return made.get(kind, RTDetrImageProcessor)(size=size)


def liven(model: Any) -> Any:
    """Give a model weights under which every part counts: fresh ones answer nearly the same for every image."""
    generator = torch.Generator().manual_seed(6)
    tables = {id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding)}
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if id(value) in tables:
                value.copy_(2 * noise)
            elif value.dim() > 1:
                value.copy_(1.5 * noise / value[0].numel() ** 0.5)
            elif "norm" not in name:
                value.add_(0.1 * noise)
    return model.eval()


def write_kind(folder: Path, kind: str, timm: str | None = None) -> str:
    """Write one of KINDS, with a backbone of timm as DETR's published ones if it is named; return the SPEC's rest."""
    from transformers import AutoConfig, AutoModelForObjectDetection

    torch.manual_seed(7)
    settings = _settings(kind)
    if timm:
        settings |= {"backbone_config": None, "backbone": timm, "use_timm_backbone": True}
    config = AutoConfig.for_model(kind, **settings)
    model = liven(AutoModelForObjectDetection.from_config(config))
    if kind == "rf_detr":  # its classes begin at a probability of 0.01, and its boxes have no bounds
        torch.nn.init.zeros_(model.class_embed.bias)
        with torch.no_grad():
            for part in (value for name, value in model.named_parameters() if "bbox_embed" in name):
                part.mul_(0.1)
    model.save_pretrained(folder)
    _processor(kind).save_pretrained(folder)
    return str(folder)


def write(folder: Path) -> str:
    """Write the checkpoint into a folder that does not exist yet; return what a SPEC says after the family."""
    return write_kind(folder, "detr")
