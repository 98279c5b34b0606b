"""Images that are in memory already: arrays and tensors, checked and copied."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, ImageError

__all__ = ["MAX_PIXELS", "array_of_tensor", "gray", "refuse_large", "rgb_of_array"]

MAX_PIXELS = 178_956_970
"""The largest accepted width times height: Pillow's own limit, doubled."""

ImageArray = NDArray[np.uint8]


def rgb_of_array(array: NDArray[Any], max_pixels: int) -> ImageArray:
    """Return a copy of an (H, W, 3) or (H, W) uint8 array as (H, W, 3).

    Raises:
        BadInput: The array has another shape or dtype.
        ImageError: The array is too large.
    """
    if array.dtype != np.uint8:
        raise BadInput(f"an image array must be uint8, got {array.dtype}; {_dtype_remedy(array.dtype)}")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or not array.size:
        raise BadInput(f"an image array must have shape (H, W, 3), got {array.shape}; {_shape_remedy(array)}")
    refuse_large(array.shape[1], array.shape[0], "the array given", max_pixels)
    return gray(array) if array.ndim == 2 else np.array(array, order="C")


def array_of_tensor(tensor: Any) -> NDArray[Any]:
    """Return a (3, H, W) or (1, H, W) tensor, uint8 or float in 0 to 1, as an (H, W, 3) or (H, W) uint8 array.

    Raises:
        BadInput: The tensor has another shape or dtype, or values outside 0 to 1.
    """
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        last = tensor.ndim == 3 and tensor.shape[2] == 3
        remedy = "put the channels first: tensor.permute(2, 0, 1)" if last else "give images one by one"
        raise BadInput(f"an image tensor must have shape (3, H, W), got {tuple(tensor.shape)}; {remedy}")
    values = tensor.detach().cpu()
    if values.is_floating_point():
        if values.numel() and not (float(values.min()) >= 0 and float(values.max()) <= 1):  # also refuses NaN
            raise BadInput("a float image tensor must lie in 0 to 1; undo its normalization, or give uint8")
        values = (values.float() * 255).round().byte()
    elif str(values.dtype) != "torch.uint8":
        raise BadInput(f"an image tensor must be uint8 or float in 0 to 1, got {values.dtype}")
    plain: NDArray[Any] = values.permute(1, 2, 0).numpy()
    return plain[:, :, 0] if plain.shape[2] == 1 else plain


def _dtype_remedy(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "fb":
        return "write (array * 255).astype('uint8') if its values are in 0 to 1"
    if dtype.kind == "u":
        return "write (array // 257).astype('uint8') if its values are 16-bit"
    return "write array.astype('uint8') if its values are in 0 to 255"


def _shape_remedy(array: NDArray[Any]) -> str:
    if not array.size:
        return "it holds no pixels"
    if array.ndim == 4:
        return "give the images of a batch one by one"
    if array.ndim == 3 and array.shape[2] == 4:
        return "drop the alpha channel: array[:, :, :3]"
    if array.ndim == 3 and array.shape[2] == 1:
        return "drop the last axis: array[:, :, 0]"
    if array.ndim == 3 and array.shape[0] == 3:
        return "put the channels last: array.transpose(1, 2, 0)"
    return "the axes are height, width and the three colors"


def refuse_large(width: int, height: int, name: str, max_pixels: int) -> None:
    """Raise ImageError for an image with more pixels than the limit."""
    if width * height > max_pixels:
        size = f"{width} x {height} pixels"
        raise ImageError("too_large", f"{name} has {size}, more than the limit of {max_pixels}; make it smaller")


def gray(values: ImageArray) -> ImageArray:
    """Return an (H, W) array as (H, W, 3)."""
    return np.repeat(values[:, :, None], 3, axis=2)
