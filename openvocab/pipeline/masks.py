"""A mask in other forms: COCO run-length encoding, and the box around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_mask", "encode_mask", "mask_box"]


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return an (H, W) mask as COCO run-length encoding: {"size": [H, W], "counts": bytes}."""
    from pycocotools import mask as coco_mask

    code: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return code


def decode_mask(code: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return the (H, W) mask of a COCO run-length encoding; its counts are bytes or text."""
    from pycocotools import mask as coco_mask

    mask: NDArray[np.bool_] = coco_mask.decode(dict(code)).astype(bool)
    return mask


def mask_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """Return left, top, right, bottom around an (H, W) mask in pixels, half-open; None where it marks nothing."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
