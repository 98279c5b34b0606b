"""Tiny classifiers in transformers' layout: a ViT with a softmax, and a Swin with a sigmoid for each class."""

from __future__ import annotations

from pathlib import Path

__all__ = ["LABELS", "NAMES", "write", "write_multi_label"]

NAMES = (
    "tench, Tinca tinca",
    "goldfish, Carassius auratus",
    "crane",
    "Cardigan, Cardigan Welsh corgi",
    "cardigan",
    "crane",
    "golden_retriever",
)
"""Shaped as ImageNet's: synonyms, two classes of one name, one name that is part of another's, case, underscores."""

LABELS = ("tench", "goldfish", "crane", "golden retriever")
"""What a caller may ask this checkpoint for."""


def write(folder: Path, names: tuple[str, ...] = NAMES) -> str:
    """Write a ViT and its image processor; return the rest of the SPEC."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(names)),
        label2id={name: row for row, name in enumerate(names)},
        initializer_range=0.3,
    )
    torch.manual_seed(15)
    ViTForImageClassification(config).eval().save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def write_multi_label(folder: Path) -> str:
    """Write a Swin for classes that stand alone, and its image processor; return the rest of the SPEC."""
    import torch
    from transformers import SwinConfig, SwinForImageClassification, ViTImageProcessor

    config = SwinConfig(
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
        id2label=dict(enumerate(NAMES)),
        label2id={name: row for row, name in enumerate(NAMES)},
        problem_type="multi_label_classification",
        initializer_range=0.3,
    )
    torch.manual_seed(16)
    SwinForImageClassification(config).eval().save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)
