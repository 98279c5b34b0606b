"""open_clip's preprocessing on uint8 tensors: about nine times as fast as through Pillow, within two gray levels of it.

torch resizes uint8 images along the width first, then along the height, with weights of 16 bits and a rounding after
each. Pillow does the same with weights of 22 bits, but some releases take the height first where they find that
cheaper, and the rounding between the two passes then moves many pixels. Which order the installed release takes is
measured once. With such a release only images whose width shrinks at least as much as their height, or whose height
does not shrink, are resized here: landscape images, mostly. Others are left to the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from openvocab.pipeline.protocols import ImageArray

__all__ = ["clip_pixels"]

_MEAN_DIFFERENCE = 0.05
"""In gray levels, of random pixels: 0.01 or less where both resize in the same order, 0.07 or more where not."""


def clip_pixels(image: ImageArray, recipe: Mapping[str, Any]) -> Tensor | None:
    """Return the model's (3, height, width) float32 input, or None: another recipe, or another order of passes.

    Args:
        image: (H, W, 3) uint8 RGB.
        recipe: open_clip's preprocessing configuration: size, mean, std, interpolation, resize_mode, fill_color.
    """
    tall, wide = _pair(recipe["size"])
    mode, fill = recipe["resize_mode"], recipe["fill_color"]
    known = recipe["interpolation"] in ("bicubic", "bilinear") and fill == 0 and recipe["mode"] == "RGB"
    if not known or (mode == "shortest" and tall != wide):
        return None
    size = _resized(image.shape[:2], (tall, wide), mode)
    if min(size) < 1 or not (_width_first(image.shape[:2], size) or _always_width_first()):
        return None
    pixels = _planes(image)
    if tuple(image.shape[:2]) != size:
        pixels = functional.interpolate(pixels, size, mode=recipe["interpolation"], antialias=True)
    return _normalized(_centered(pixels[0], (tall, wide)), recipe["mean"], recipe["std"])


def _pair(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[-1]))


def _resized(given: tuple[int, ...], target: tuple[int, int], mode: str) -> tuple[int, int]:
    """Return (height, width) to which a (height, width) image is resized."""
    height, width = given
    if mode == "squash":
        return target
    if mode == "longest":
        ratio = max(height / target[0], width / target[1])
        return round(height / ratio), round(width / ratio)
    side = target[0]
    if height <= width:
        return side, int(side * width / height)
    return int(side * height / width), side


def _width_first(given: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether every Pillow resizes the width before the height, or only one of them, into something."""
    height, width = given
    return size[0] >= height or size[1] * height <= size[0] * width


@cache
def _always_width_first() -> bool:
    """Whether the installed Pillow resizes the width first of a portrait too, as torch does."""
    image = np.random.default_rng(0).integers(0, 256, (96, 48, 3), np.uint8)
    pillow = np.array(Image.fromarray(image).resize((22, 44), Image.Resampling.BICUBIC))
    ours = functional.interpolate(_planes(image), (44, 22), mode="bicubic", antialias=True)
    difference = ours[0].permute(1, 2, 0).float() - torch.from_numpy(pillow).float()
    return float(difference.abs().mean()) < _MEAN_DIFFERENCE


def _planes(image: ImageArray) -> Tensor:
    """Return an (H, W, 3) image as (1, 3, H, W)."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None]


def _centered(pixels: Tensor, target: tuple[int, int]) -> Tensor:
    """Crop (3, H, W) to target around its center; pad it with zeros if it is smaller."""
    for axis, wanted in zip((1, 2), target, strict=True):
        spare = pixels.shape[axis] - wanted
        if spare > 0:
            pixels = pixels.narrow(axis, round(spare / 2), wanted)
        elif spare < 0:
            sides = (-spare // 2, (1 - spare) // 2)
            pixels = functional.pad(pixels, (0, 0, *sides) if axis == 1 else sides)
    return pixels


def _normalized(pixels: Tensor, mean: Any, deviation: Any) -> Tensor:
    """Return (pixels / 255 - mean) / deviation in float32, as one product and one sum."""
    factor, added = _terms(_three(mean), _three(deviation))
    return pixels.float().mul_(factor).add_(added)


def _three(values: Any) -> tuple[float, ...]:
    given = (values,) if isinstance(values, int | float) else tuple(values)
    return given * 3 if len(given) == 1 else given


@cache
def _terms(mean: tuple[float, ...], deviation: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Return the factor and the offset of gray levels, (3, 1, 1) each."""
    means, deviations = (torch.tensor(values).reshape(3, 1, 1) for values in (mean, deviation))
    return 1 / (255 * deviations), -means / deviations
