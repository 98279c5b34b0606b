"""Tiny RAM++ and RAM checkpoints in the authors' layout: weights, list of tags, thresholds, CLIP for other labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PUBLISHED", "TAGS", "THRESHOLDS", "Shape", "shapes", "state", "write", "write_ram"]

TAGS = ("cat", "red dog", "3D CG rendering", "bird", "kite")
THRESHOLDS = (0.65, 0.8, 0.5, 1.0, 0.9)


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the shapes of a checkpoint; the defaults are tiny.

    Attributes:
        width, depths, heads, window: Of Swin.
        text: Width of the label embeddings.
        hidden, inner: Widths of the decoder.
        tags, descriptions: Rows of the label embeddings; 0 descriptions for RAM.
    """

    width: int = 8
    depths: tuple[int, ...] = (2, 1, 2)
    heads: tuple[int, ...] = (2, 2, 4)
    window: int = 4
    text: int = 16
    hidden: int = 32
    inner: int = 64
    tags: int = len(TAGS)
    descriptions: int = 3


PUBLISHED = Shape(192, (2, 2, 18, 2), (6, 12, 24, 48), 12, 512, 768, 3072, 4585, 51)
"""ram_plus_swin_large_14m.pth."""


def _linear(name: str, outputs: int, inputs: int, *, bias: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _swin(kind: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    top = "visual_encoder"
    yield f"{top}.patch_embed.proj.weight", (kind.width, 3, 4, 4)
    yield f"{top}.patch_embed.proj.bias", (kind.width,)
    yield from _norm(f"{top}.patch_embed.norm", kind.width)
    for stage, depth in enumerate(kind.depths):
        wide = kind.width * 2**stage
        for block in range(depth):
            name = f"{top}.layers.{stage}.blocks.{block}"
            yield from _norm(f"{name}.norm1", wide)
            yield f"{name}.attn.relative_position_bias_table", ((2 * kind.window - 1) ** 2, kind.heads[stage])
            yield from _linear(f"{name}.attn.qkv", 3 * wide, wide)
            yield from _linear(f"{name}.attn.proj", wide, wide)
            yield from _norm(f"{name}.norm2", wide)
            yield from _linear(f"{name}.mlp.fc1", 4 * wide, wide)
            yield from _linear(f"{name}.mlp.fc2", wide, 4 * wide)
        if stage < len(kind.depths) - 1:
            yield from _linear(f"{top}.layers.{stage}.downsample.reduction", 2 * wide, 4 * wide, bias=False)
            yield from _norm(f"{top}.layers.{stage}.downsample.norm", 4 * wide)
    yield from _norm(f"{top}.norm", kind.width * 2 ** (len(kind.depths) - 1))


def _head(kind: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    for layer in range(2):
        name = f"tagging_head.encoder.layer.{layer}"
        yield from _linear(f"{name}.crossattention.self.query", kind.hidden, kind.hidden)
        yield from _linear(f"{name}.crossattention.self.key", kind.hidden, kind.text)
        yield from _linear(f"{name}.crossattention.self.value", kind.hidden, kind.text)
        yield from _linear(f"{name}.crossattention.output.dense", kind.hidden, kind.hidden)
        yield from _norm(f"{name}.crossattention.output.LayerNorm", kind.hidden)
        yield from _linear(f"{name}.intermediate.dense", kind.inner, kind.hidden)
        yield from _linear(f"{name}.output.dense", kind.hidden, kind.inner)
        yield from _norm(f"{name}.output.LayerNorm", kind.hidden)


def shapes(kind: Shape) -> dict[str, tuple[int, ...]]:
    """Return the shape of each published tensor by its published name."""
    found = dict(_swin(kind)) | dict(_head(kind))
    found |= dict(_linear("image_proj", kind.text, kind.width * 2 ** (len(kind.depths) - 1)))
    found |= dict(_linear("wordvec_proj", kind.hidden, kind.text)) | dict(_linear("fc", 1, kind.hidden))
    found["label_embed"] = (kind.tags * max(1, kind.descriptions), kind.text)
    return found | ({"reweight_scale": ()} if kind.descriptions else {})


def state(kind: Shape, seed: int = 33) -> dict[str, Any]:
    """Return a random state whose answers depend on image and label."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes(kind).items():
        noise = torch.randn(shape, generator=generator)
        around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
        made[name] = around + noise * (0.1 if len(shape) < 2 else 1.2 / shape[-1] ** 0.5)
    made["visual_encoder.patch_embed.proj.weight"] *= 2
    made["label_embed"] = torch.nn.functional.normalize(made["label_embed"], dim=-1)
    made["fc.weight"] *= 3
    if "reweight_scale" in made:
        made["reweight_scale"] = torch.tensor(2.6)
    return made


def _extra(kind: Shape) -> Mapping[str, Any]:
    """Return what the authors' files hold besides: Swin's buffers, and for RAM the parts that write captions."""
    import torch

    found = {
        "visual_encoder.layers.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16, dtype=torch.long),
        "visual_encoder.layers.0.blocks.1.attn_mask": torch.zeros(4, 16, 16),
    }
    return found | ({} if kind.descriptions else {"text_decoder.bert.embeddings.word_embeddings.weight": torch.ones(2)})


def _save(folder: Path, kind: Shape, name: str) -> str:
    import torch

    from tests.tiny.open_clip import write_kind

    folder.mkdir(parents=True)
    torch.save({"model": state(kind) | dict(_extra(kind)), "epoch": 4, "config": {"image_size": 384}}, folder / name)
    (folder / "ram_tag_list.txt").write_text("\n".join(TAGS), "utf-8")
    (folder / "ram_tag_list_threshold.txt").write_text("\n".join(map(str, THRESHOLDS)) + "\n", "utf-8")
    return f"{folder / name}@{write_kind(folder / 'clip', 'clip')}"


def write(folder: Path) -> str:
    """Write a RAM++; return the rest of the SPEC."""
    return _save(folder, Shape(), "ram_plus_tiny.pth")


def write_ram(folder: Path) -> str:
    """Write a RAM; return the rest of the SPEC."""
    return _save(folder, Shape(descriptions=0), "ram_tiny.pth")
