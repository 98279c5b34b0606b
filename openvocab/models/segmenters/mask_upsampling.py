"""Resize a model's mask logits to the image's size, computed only where a mask can be.

A bilinear value is a mean of its neighbors with weights that sum to 1, so it is over a threshold only if one of them
is: outside the rows and columns that such values reach, the mask is empty, and nothing is computed there. Bilinear
interpolation is linear and works along each axis by itself, so any number of steps, and cuts between them, is one
matrix an axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

__all__ = ["axis_weights", "upsampled"]


def axis_weights(size: int, steps: Sequence[tuple[int, int]], device: torch.device | None = None) -> Tensor:
    """Return the matrix of bilinear interpolation (align_corners=False) along one axis.

    Args:
        size: samples of the axis.
        steps: for each step (to, keep): interpolate to that many samples, then keep the first of them.

    Returns:
        (samples after the last step, size) float32; each row sums to 1 and is zero but for a few neighbors. It is
        what torch's own interpolation makes of the identity, so its weights are torch's to the last bit.
    """
    weights = torch.eye(size, device=device)[None]
    for to, keep in steps:
        weights = interpolate(weights, size=to, mode="linear", align_corners=False)[..., :keep]
    return weights[0].T.contiguous()


def upsampled(maps: Tensor, rows: Tensor, columns: Tensor, threshold: float) -> NDArray[np.bool_]:
    """Return the masks of the upsampled maps over the threshold.

    Args:
        maps: (N, h, w) float32.
        rows: (H, h) weights, of axis_weights.
        columns: (W, w) weights, of axis_weights, on the same device.
        threshold: in the unit of maps.

    Returns:
        (N, H, W) bool.
    """
    masks = np.zeros((len(maps), len(rows), len(columns)), np.bool_)
    over = maps > threshold
    spans_of_rows, spans_of_columns = _spans(over.any(2), rows), _spans(over.any(1), columns)
    for mask, values, tall, wide in zip(masks, maps, spans_of_rows, spans_of_columns, strict=True):
        if tall is not None and wide is not None:
            (out_rows, in_rows), (out_columns, in_columns) = tall, wide
            part = rows[out_rows, in_rows] @ values[in_rows, in_columns] @ columns[out_columns, in_columns].T
            mask[out_rows, out_columns] = (part > threshold).cpu().numpy()
    return masks


def _spans(over: Tensor, weights: Tensor) -> list[tuple[slice, slice] | None]:
    """For each of N maps: the outputs that its samples over the threshold reach, and all samples that those need.

    Args:
        over: (N, size) whether anything along the other axis is over the threshold.
        weights: (outputs, size).
    """
    counts = (weights != 0).cpu().numpy()
    first, last = counts.argmax(1), counts.shape[1] - 1 - counts[:, ::-1].argmax(1)
    found: list[tuple[slice, slice] | None] = []
    for line in over.cpu().numpy():
        samples = np.flatnonzero(line)
        reached = np.flatnonzero((first <= samples[-1]) & (last >= samples[0])) if len(samples) else samples
        if not len(reached):
            found.append(None)
            continue
        start, stop = int(reached[0]), int(reached[-1]) + 1
        found.append((slice(start, stop), slice(int(first[start]), int(last[stop - 1]) + 1)))
    return found
