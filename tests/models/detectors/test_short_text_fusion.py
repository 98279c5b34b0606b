"""Fusion on the side of the text is the library's attention in both directions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GroundingDinoConfig
from transformers.models.grounding_dino.modeling_grounding_dino import (
    GroundingDinoBiMultiHeadAttention,
    GroundingDinoEncoderLayer,
)

from openvocab.models.detectors.short_text_fusion import ShortTextFusion, use_short_text_fusion


def _random(module: Any) -> Any:
    torch.manual_seed(0)
    for value in module.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return module.eval()


@pytest.mark.parametrize("masks", ["none", "nothing hidden", "some hidden"])
@pytest.mark.parametrize(
    ("images", "places", "words"),
    [
        pytest.param(1, 60, 5, id="short text"),
        pytest.param(2, 30, 40, id="long text, two images"),
        pytest.param(1, 1, 3, id="one place"),
    ],
)
def test_both_directions_are_the_librarys(images: int, places: int, words: int, masks: str) -> None:
    attention = _random(GroundingDinoBiMultiHeadAttention(GroundingDinoConfig(d_model=32, encoder_ffn_dim=128)))
    vision, text = torch.randn(images, places, 32), torch.randn(images, words, 32)
    share = {"nothing hidden": -1.0, "some hidden": 0.4}.get(masks)
    hidden = [None, None] if share is None else [torch.rand(images, count) < share for count in (places, words)]
    for mask in hidden:
        if mask is not None:
            mask[:, 0] = False
    with torch.no_grad():
        expected = attention(vision, text, *(None if mask is None else mask.clone() for mask in hidden))
        got = ShortTextFusion(attention)(vision, text, *hidden)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one[0], other[0], atol=1e-4, rtol=1e-4)


def test_only_the_layers_that_are_given_change() -> None:
    one, other = (GroundingDinoEncoderLayer(GroundingDinoConfig(d_model=32)) for _ in range(2))
    names = list(one.state_dict())
    use_short_text_fusion([one])
    kinds = [type(layer.fusion_layer.attn) for layer in (one, other)]
    assert kinds == [ShortTextFusion, GroundingDinoBiMultiHeadAttention]
    assert sorted(one.state_dict()) == sorted(names)
