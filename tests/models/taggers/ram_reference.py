"""RAM and RAM++ in plain torch, from the papers' equations, on weights by their published names; slow and independent.

Nothing of timm, transformers or openvocab is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tests.tiny.ram import Shape

__all__ = ["logits", "pixels", "tokens"]


def pixels(image: Any, side: int) -> Tensor:
    """Return (3, side, side) of an (H, W, 3) uint8 image, as torchvision transforms it in the authors' code."""
    from PIL import Image
    from torchvision import transforms

    steps = [transforms.Resize((side, side)), transforms.ToTensor()]
    steps.append(transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    made: Tensor = transforms.Compose(steps)(Image.fromarray(image))
    return made


def _linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def _norm(state: Mapping[str, Tensor], name: str, x: Tensor, epsilon: float = 1e-5) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / torch.sqrt(centered.pow(2).mean(-1, keepdim=True) + epsilon)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def _windowed(state: Mapping[str, Tensor], name: str, x: Tensor, window: int, heads: int, shift: int) -> Tensor:
    """Attend within windows of an (H, W, D) map, one window at a time, over the places that belong together."""
    height, width, depth = x.shape
    table = state[f"{name}.relative_position_bias_table"]
    moved, answer = x.roll((-shift, -shift), (0, 1)), torch.zeros_like(x)
    rows, columns = (torch.arange(size).roll(-shift) for size in (height, width))
    for top in range(0, height, window):
        for left in range(0, width, window):
            y, z = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
            y, z = y.flatten(), z.flatten()
            tile = moved[top + y, left + z]
            offset = (y[:, None] - y + window - 1) * (2 * window - 1) + (z[:, None] - z + window - 1)
            row, column = rows[top + y], columns[left + z]
            wrapped = ((row < shift) != (row < shift)[:, None]) | ((column < shift) != (column < shift)[:, None])
            crosses = wrapped & ((top + window == height) | (left + window == width)) if shift else None
            mixed = _linear(state, f"{name}.qkv", tile).view(window**2, 3, heads, depth // heads)
            parts = []
            for head in range(heads):
                query, key, value = mixed[:, 0, head], mixed[:, 1, head], mixed[:, 2, head]
                alike = query @ key.T / math.sqrt(depth // heads) + table[offset, head]
                if crosses is not None:
                    alike = torch.where(crosses, alike - 100, alike)
                parts.append(alike.softmax(-1) @ value)
            answer[top + y, left + z] = _linear(state, f"{name}.proj", torch.cat(parts, -1))
    return answer.roll((shift, shift), (0, 1))


def tokens(state: Mapping[str, Tensor], kind: Shape, image: Tensor) -> Tensor:
    """Return (1 + places, text) of a (3, side, side) image: the mean place, then all places."""
    top = "visual_encoder"
    patches = image.unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).flatten(2)
    x = patches @ state[f"{top}.patch_embed.proj.weight"].flatten(1).T + state[f"{top}.patch_embed.proj.bias"]
    x = _norm(state, f"{top}.patch_embed.norm", x)
    for stage, depth in enumerate(kind.depths):
        for block in range(depth):
            name = f"{top}.layers.{stage}.blocks.{block}"
            shift = kind.window // 2 if block % 2 and x.shape[0] > kind.window else 0
            inside = _norm(state, f"{name}.norm1", x)
            x = x + _windowed(state, f"{name}.attn", inside, kind.window, kind.heads[stage], shift)
            inside = functional.gelu(_linear(state, f"{name}.mlp.fc1", _norm(state, f"{name}.norm2", x)))
            x = x + _linear(state, f"{name}.mlp.fc2", inside)
        if stage < len(kind.depths) - 1:
            name = f"{top}.layers.{stage}.downsample"
            four = torch.cat([x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]], -1)
            x = _linear(state, f"{name}.reduction", _norm(state, f"{name}.norm", four))
    places = _norm(state, f"{top}.norm", x).flatten(0, 1)
    return _linear(state, "image_proj", torch.cat([places.mean(0, keepdim=True), places]))


def _layer(state: Mapping[str, Tensor], name: str, x: Tensor, seen: Tensor, heads: int) -> Tensor:
    query = _linear(state, f"{name}.crossattention.self.query", x)
    key, value = (_linear(state, f"{name}.crossattention.self.{part}", seen) for part in ("key", "value"))
    width = query.shape[-1] // heads
    parts = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        parts.append((query[:, own] @ key[:, own].T / math.sqrt(width)).softmax(-1) @ value[:, own])
    read = _linear(state, f"{name}.crossattention.output.dense", torch.cat(parts, -1))
    x = _norm(state, f"{name}.crossattention.output.LayerNorm", read + x, 1e-12)
    inside = _linear(state, f"{name}.output.dense", functional.gelu(_linear(state, f"{name}.intermediate.dense", x)))
    return _norm(state, f"{name}.output.LayerNorm", inside + x, 1e-12)


def logits(state: Mapping[str, Tensor], seen: Tensor, labels: list[Tensor]) -> Tensor:
    """Return (C,) logits of the tokens of one image, for the (K, text) descriptions of each of C labels."""
    queries = []
    for rows in labels:
        if "reweight_scale" in state:
            cosines = rows @ (seen[0] / seen[0].norm())
            rows = ((state["reweight_scale"].exp() * cosines).softmax(0)[:, None] * rows).sum(0, keepdim=True)
        queries.append(_linear(state, "wordvec_proj", rows[0]).relu())
    x = torch.stack(queries)
    for layer in range(2):
        x = _layer(state, f"tagging_head.encoder.layer.{layer}", x, seen, 4)
    return _linear(state, "fc", x)[:, 0]
