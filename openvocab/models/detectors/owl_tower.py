"""The image tower of OWL-ViT and OWLv2 with its products in bfloat16 and all else in float32.

Weights of the products are stored in bfloat16 once. Under autocast they would be cast again in every call, and casting
the whole tower would keep the sum that runs through its layers in bfloat16 too. Here that sum, the normalizations and
the position embeddings stay in float32, and only what goes into a product is rounded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from openvocab.models.checked import same_answers

__all__ = ["fold_quick_gelu", "image_grid", "lower_products"]

_QUICK = 1.702
"""Hendrycks and Gimpel 2016, "Gaussian Error Linear Units": x * sigmoid(1.702 * x) approximates the unit."""
_WORDS = {"vocab_size": 8, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
_ROWS = 512
"""Tokens that go through a layer's perceptron together on a CPU: what lies between its products stays in the cache."""


def lower_products(tower: nn.Module, dtype: torch.dtype) -> None:
    """Store the weights of all linear and convolutional layers of a tower in dtype, in place."""
    for module in tower.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)


@torch.no_grad()
def fold_quick_gelu(tower: Any) -> None:
    """Move the constant of x * sigmoid(1.702 * x) into the weights around it, in place, if a tower uses it.

    With y = 1.702 * x that unit is y * sigmoid(y) / 1.702: one pass over its input, in place, where the library's needs
    three and as many copies. Call it on float32 weights, before they are lowered.
    """
    for layer in tower.encoder.layers:
        if type(layer.mlp.activation_fn).__name__ == "QuickGELUActivation":
            layer.mlp.fc1.weight.mul_(_QUICK)
            layer.mlp.fc1.bias.mul_(_QUICK)
            layer.mlp.fc2.weight.div_(_QUICK)
            layer.mlp.activation_fn = nn.SiLU(inplace=True)


def image_grid(model: Any, pixels: Tensor) -> Tensor:
    """Return (P, rows, columns, D) float32 features, as image_embedder of the library's model does.

    Where an installed release has another way, that is taken.

    Args:
        model: an OwlViTForObjectDetection or Owlv2ForObjectDetection.
        pixels: (P, 3, height, width) float32, normalized, on the model's device.
    """
    kind = next(each for each in type(model).__mro__ if each.__module__.startswith("transformers."))
    if same_answers("the image tower of OWL", kind, lambda: _tiny_grids(kind, model.config)):
        return _grid(model, pixels)
    dtype = _patch_dtype(model)
    with torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
        return torch.as_tensor(model.image_embedder(pixels)[0]).float()


def _patch_dtype(model: Any) -> torch.dtype:
    dtype: torch.dtype = model.base_model.vision_model.embeddings.patch_embedding.weight.dtype
    return dtype


def _tiny_grids(kind: Any, config: Any) -> tuple[Tensor, Tensor]:
    """Return the features of a tiny model of the library's class, by the library's code and by ours."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision, text = {**sizes, "image_size": 16, "patch_size": 8}, {**sizes, **_WORDS}
    tiny = kind(type(config)(vision_config=vision, text_config=text, projection_dim=16)).eval()
    for weight in tiny.parameters():
        nn.init.normal_(weight, std=0.3)
    pixels = torch.randn(2, 3, 16, 16)
    return tiny.image_embedder(pixels)[0], _grid(tiny, pixels)


def _grid(model: Any, pixels: Tensor) -> Tensor:
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
    """Return perceptron(tokens) for (P, N, D) tokens, block by block."""
    if tokens.device.type != "cpu":
        return torch.as_tensor(perceptron(tokens))
    return torch.cat([perceptron(block) for block in torch.split(tokens, _ROWS, 1)], 1)
