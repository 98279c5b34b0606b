"""Linear layers with rounded weights: which are replaced, and what they answer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from openvocab.models.detectors.rounded_linear import RoundedLinear, round_products


def _block() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"fc1": nn.Linear(16, 32), "norm": nn.LayerNorm(16), "fc2": nn.Linear(32, 16, bias=False)})


@pytest.mark.parametrize("bias", [True, False], ids=["with a bias", "without"])
@pytest.mark.parametrize("widen", [True, False], ids=["float32 out", "bfloat16 out"])
def test_answer_is_that_of_the_layer_but_for_rounding(widen: bool, bias: bool) -> None:
    torch.manual_seed(1)
    linear, given = nn.Linear(64, 8, bias=bias), torch.randn(5, 64)
    got = RoundedLinear(linear, torch.bfloat16, widen)(given)
    assert got.dtype == (torch.float32 if widen else torch.bfloat16)
    torch.testing.assert_close(got.float(), linear(given), atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("dtype", "keep", "expected"),
    [
        pytest.param(torch.float32, (), [], id="float32"),
        pytest.param(torch.bfloat16, (), ["fc1", "fc2"], id="bfloat16"),
        pytest.param(torch.bfloat16, ("fc1",), ["fc2"], id="one is kept"),
    ],
)
def test_which_layers_are_replaced(dtype: torch.dtype, keep: tuple[str, ...], expected: list[str]) -> None:
    block = _block()
    round_products(nn.ModuleList([block]), dtype, ("fc1",), keep)
    replaced = {name: part for name, part in block.items() if isinstance(part, RoundedLinear)}
    assert sorted(replaced) == expected
    assert all(part.widen == (name == "fc2") for name, part in replaced.items())
    assert sorted(block.state_dict()) == sorted(_block().state_dict())
