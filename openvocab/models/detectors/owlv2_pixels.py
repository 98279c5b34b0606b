"""OWLv2's preprocessing as two matrix products: equal to transformers' Owlv2ImageProcessor, without its 2-D blur.

The library pads an image to a square, blurs it with a Gaussian and samples the result bilinearly. Each step is
linear and works on rows and columns apart, so the whole is left @ image @ right, with one small matrix for each
axis. docs/speed.md says what that saves. Images that need no shrinking are left to the library: nothing to save.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openvocab.pipeline.protocols import ImageArray

__all__ = ["owlv2_pixels", "padded_pixels", "resize_matrix"]


def _gaussian(sigma: float) -> NDArray[np.float64]:
    """The blur's weights: 2 * ceil(3 * sigma) + 1 of them, as the library chooses."""
    reach = math.ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def _reflected(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Fold positions outside 0 to size - 1 back in, without repeating the edge."""
    period = max(2 * (size - 1), 1)
    folded = np.abs(index) % period
    return np.asarray(np.minimum(folded, period - folded))


@lru_cache(maxsize=32)
def resize_matrix(size: int, out: int) -> Tensor:
    """The (out, size) float32 matrix that blurs (where out < size) and samples one axis."""
    place = np.maximum((np.arange(out) + 0.5) * size / out - 0.5, 0)
    low = np.minimum(place.astype(np.int64), size - 1)
    share = place - low
    taps = np.stack([low, np.minimum(low + 1, size - 1)], 1)
    weights = np.stack([1 - share, share], 1)
    sigma = max((size / out - 1) / 2, 0)
    if sigma:
        blur = _gaussian(sigma)
        reach = len(blur) // 2
        taps = _reflected(taps[..., None] + np.arange(-reach, reach + 1), size).reshape(out, -1)
        weights = (weights[..., None] * blur).reshape(out, -1)
    matrix = np.zeros((out, size))
    np.add.at(matrix, (np.arange(out)[:, None], taps), weights)
    return torch.from_numpy(matrix.astype(np.float32))


def owlv2_pixels(image: ImageArray, processor: Any) -> Tensor | None:
    """Return the model's (1, 3, height, width) float32 input, or None: another recipe, or nothing to shrink.

    Args:
        image: (H, W, 3) uint8 RGB.
        processor: an Owlv2ImageProcessor; its size, mean and deviation are read.
    """
    steps = ("do_pad", "do_resize", "do_rescale", "do_normalize")
    if not all(getattr(processor, step, False) for step in steps):
        return None
    if int(processor.resample) != 2 or processor.rescale_factor != 1 / 255:
        return None
    tall, wide = processor.size["height"], processor.size["width"]
    if max(image.shape[:2]) <= max(tall, wide):
        return None
    return padded_pixels(image, (tall, wide), processor.image_mean, processor.image_std)


def padded_pixels(
    image: ImageArray, size: tuple[int, int], mean: Sequence[float], deviation: Sequence[float]
) -> Tensor:
    """Return (1, 3, *size) float32: the image padded to a square at the right or below, resized and normalized.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: Height and width of the model's input.
        mean: Of each color, in 0 to 1.
        deviation: Of each color, in 0 to 1.
    """
    height, width = image.shape[:2]
    side, (tall, wide) = max(height, width), size
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div_(255)
    pixels = resize_matrix(side, tall)[:, :height] @ pixels @ resize_matrix(side, wide)[:, :width].T
    means, deviations = (torch.tensor(values).view(3, 1, 1) for values in (mean, deviation))
    return ((pixels - means) / deviations)[None]
