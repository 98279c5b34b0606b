"""Linear layers whose weights are stored in bfloat16, inside a model that is in float32.

Autocast casts every weight again in every call, and a whole model in bfloat16 also rounds its sums, normalizations and
positions. Here only what goes into a product is rounded, and weights are cast once.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

__all__ = ["RoundedLinear", "round_products"]


class RoundedLinear(nn.Module):
    """Replaces a linear layer; parameter names are the same.

    Args:
        linear: the layer to replace.
        dtype: the precision of the product.
        widen: whether the answer is float32; else it stays in dtype, for the product that follows.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, widen: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().to(dtype), requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(dtype), requires_grad=False)
        self.widen = widen

    def forward(self, features: Tensor) -> Tensor:
        """Return (..., out features) of (..., in features) in any precision."""
        product = nn.functional.linear(features.to(self.weight.dtype), self.weight, self.bias)
        return product.float() if self.widen else product


def round_products(
    module: nn.Module, dtype: torch.dtype, inner: Collection[str] = (), keep: Collection[str] = ()
) -> None:
    """Replace the linear layers of a module, at any depth, in place; with float32 nothing is replaced.

    Args:
        inner: names of layers whose answer stays in dtype, because it is only used in another product.
        keep: names of layers that stay as they are.
    """
    if dtype == torch.float32:
        return
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear) and name not in keep:
                setattr(parent, name, RoundedLinear(child, dtype, name not in inner))
