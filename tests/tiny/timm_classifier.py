"""Tiny classifiers in timm's own layout, and their weights alone, as timm writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["ARCHITECTURE", "DESCRIPTIONS", "LABELS", "build", "write", "write_weights"]

ARCHITECTURE = "test_efficientnet"
"""timm's own architecture for tests: 160 x 160 pixels, 0.4 M parameters."""

LABELS = ("n01440764", "n01443537", "crane")
DESCRIPTIONS = {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish, Carassius auratus"}
"""Of three classes two are described: the third keeps its name."""


def build(classes: int = len(LABELS), seed: int = 21, **options: Any) -> Any:
    """Return timm's model whose answers depend on the image."""
    import timm
    import torch

    torch.manual_seed(seed)
    model: Any = timm.create_model(ARCHITECTURE, num_classes=classes, **options)
    torch.nn.init.normal_(model.classifier.weight, std=2.0)
    return model.eval()


def write(folder: Path, *, classes: int = len(LABELS), safe: bool = True, **config: Any) -> str:
    """Write a folder in timm's layout, with its preprocessing in pretrained_cfg; return the rest of the SPEC."""
    from timm.models import save_for_hf

    unlike = {"mean": (0.4, 0.5, 0.6), "std": (0.3, 0.2, 0.25), "crop_pct": 0.8, "interpolation": "bilinear"}
    named = {"label_names": list(LABELS), "label_descriptions": DESCRIPTIONS} if classes == len(LABELS) else {}
    save_for_hf(
        build(classes),
        str(folder),
        model_config={"pretrained_cfg": unlike, **named, **config},
        safe_serialization=safe,
    )
    return str(folder)


def write_weights(path: Path, classes: int = 1000) -> str:
    """Write weights alone; return the rest of the SPEC."""
    import torch

    torch.save(build(classes).state_dict(), path)
    return f"{ARCHITECTURE}@{path}"
