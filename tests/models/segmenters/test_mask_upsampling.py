"""Masks computed where they can be are those of upsampling everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from openvocab.models.segmenters.mask_upsampling import axis_weights, upsampled


def _whole(maps: Tensor, steps: list[tuple[tuple[int, int], tuple[int, int]]]) -> Tensor:
    for to, keep in steps:
        maps = interpolate(maps[None], to, mode="bilinear", align_corners=False)[0, :, : keep[0], : keep[1]]
    return maps


def _blob(top: int, left: int, height: int, width: int) -> Tensor:
    """A (16, 16) map that is over 0 in one rectangle, with noise so that no value is on the threshold."""
    noise = torch.rand(16, 16, generator=torch.Generator().manual_seed(top * 16 + left))
    values = -1 - noise
    values[top : top + height, left : left + width] = 1 + noise[top : top + height, left : left + width]
    return values


MAPS = torch.stack(
    [
        _blob(3, 4, 2, 6),
        _blob(0, 0, 1, 1),
        _blob(15, 15, 1, 1),
        _blob(0, 0, 16, 16),
        _blob(0, 0, 0, 0),
        _blob(7, 0, 1, 16),
        torch.randn(16, 16, generator=torch.Generator().manual_seed(1)),
    ]
)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([((64, 64), (64, 64)), ((200, 200), (200, 200))], id="square"),
        pytest.param([((64, 64), (27, 64)), ((50, 120), (50, 120))], id="wide"),
        pytest.param([((64, 64), (64, 2)), ((300, 9), (300, 9))], id="strip"),
        pytest.param([((64, 64), (64, 64)), ((1, 1), (1, 1))], id="one pixel"),
        pytest.param([((64, 64), (64, 48)), ((7, 5), (7, 5))], id="smaller than the map"),
        pytest.param([((33, 71), (33, 71))], id="one step"),
    ],
)
@pytest.mark.parametrize("threshold", [0.0, 0.7, -0.4])
def test_masks_are_those_of_the_whole(steps: list[tuple[tuple[int, int], tuple[int, int]]], threshold: float) -> None:
    rows, columns = (axis_weights(16, [(to[axis], keep[axis]) for to, keep in steps]) for axis in (0, 1))
    masks = upsampled(MAPS, rows, columns, threshold)
    whole = _whole(MAPS, steps)
    assert (masks.shape, masks.dtype.name) == (tuple(whole.shape), "bool")
    np.testing.assert_array_equal(masks, (whole > threshold).numpy())


def test_weights_are_those_of_torch() -> None:
    weights, values = axis_weights(16, [(64, 27), (50, 50)]), torch.randn(16, 3)
    first = interpolate(values.T[None], size=64, mode="linear", align_corners=False)[..., :27]
    expected = interpolate(first, size=50, mode="linear", align_corners=False)[0].T
    torch.testing.assert_close(weights @ values, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights.sum(1), torch.ones(50))


def test_no_map_is_no_mask() -> None:
    weights = axis_weights(16, [(20, 20)])
    assert upsampled(MAPS[:0], weights, weights, 0.0).shape == (0, 20, 20)
