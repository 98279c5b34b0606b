"""The picture tower of OWL-ViT and OWLv2 with its products in bfloat16 and all else in float32.

Weights of the products are stored in bfloat16 once. Under autocast they would be cast again in every call, and casting
the whole tower would keep the sum that runs through its layers in bfloat16 too. Here that sum, the normalisations and
the position embeddings stay in float32, and only what goes into a product is rounded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["fold_quick_gelu", "lower_products", "picture_grid"]

_QUICK = 1.702
"""Hendrycks and Gimpel 2016, "Gaussian Error Linear Units": x * sigmoid(1.702 * x) approximates the unit."""
_ROWS = 512
"""Tokens that go through a layer's perceptron together on a CPU: what lies between its products stays in the cache."""


def lower_products(tower: nn.Module, dtype: torch.dtype) -> None:
    """Store the weights of all linear and convolutional layers of a tower in dtype, in place."""
    for module in tower.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)


@torch.no_grad()
def fold_quick_gelu(tower: Any) -> None:
    """Move the constant of x * sigmoid(1.702 * x) into the weights around it, in place, where a tower uses it.

    With y = 1.702 * x that unit is y * sigmoid(y) / 1.702: one pass over its input, in place, where the library's needs
    three and as many copies. Call it on float32 weights, before they are lowered.
    """
    for layer in tower.encoder.layers:
        if type(layer.mlp.activation_fn).__name__ == "QuickGELUActivation":
            layer.mlp.fc1.weight.mul_(_QUICK)
            layer.mlp.fc1.bias.mul_(_QUICK)
            layer.mlp.fc2.weight.div_(_QUICK)
            layer.mlp.activation_fn = nn.SiLU(inplace=True)


def picture_grid(model: Any, pixels: Tensor) -> Tensor:
    """Return (P, rows, columns, D) float32 features, as image_embedder of the library's model does.

    Args:
        model: an OwlViTForObjectDetection or Owlv2ForObjectDetection.
        pixels: (P, 3, height, width) float32, normalised, on the model's device.
    """
    tower = model.base_model.vision_model
    dtype = tower.embeddings.patch_embedding.weight.dtype
    features = tower.pre_layernorm(tower.embeddings(pixels.to(dtype)))
    for layer in tower.encoder.layers:
        features += layer.self_attn(layer.layer_norm1(features).to(dtype))[0]
        features += _in_blocks(layer.mlp, layer.layer_norm2(features).to(dtype))
    features = tower.post_layernorm(features)
    features = model.layer_norm(features[:, 1:] * features[:, :1])
    side = tower.config.image_size // tower.config.patch_size
    return torch.as_tensor(features.unflatten(1, (side, side)))


def _in_blocks(perceptron: Any, tokens: Tensor) -> Tensor:
    """Return perceptron(tokens) for (P, N, D) tokens, which do not see each other there."""
    if tokens.device.type != "cpu":
        return torch.as_tensor(perceptron(tokens))
    return torch.cat([perceptron(block) for block in torch.split(tokens, _ROWS, 1)], 1)
