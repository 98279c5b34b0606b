"""Grounding DINO's attention between image and text, computed on the side of the text, which is short.

Both directions share their scores (Liu et al. 2023, "Grounding DINO", after the fusion of Li et al. 2022, "GLIP").
With V the image's features (places, D), Q and K the projections to queries and keys, a head's scores are

    (V Q) (text K)'  =  V (text K Q')'

and the second form never widens the image's features: its products cost as much as the text is long. The same holds
for what each direction reads: weights @ (V W) = (weights @ V) W, and (weights @ text values) O = weights @ (values O).
The result is the same but for rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from openvocab.models.checked import Example, replace_checked

__all__ = ["ShortTextFusion", "use_short_text_fusion"]


class ShortTextFusion(nn.Module):
    """Replaces transformers' bi-directional attention; parameter names are the same.

    The library also cuts scores that differ by over 50,000; such a score has no weight in float32 anyway.

    Args:
        attention: the module to replace.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.vision_proj, self.text_proj = attention.vision_proj, attention.text_proj
        self.values_vision_proj, self.values_text_proj = attention.values_vision_proj, attention.values_text_proj
        self.out_vision_proj, self.out_text_proj = attention.out_vision_proj, attention.out_text_proj
        self.heads, self.scale = attention.num_heads, float(attention.scale)

    def forward(
        self,
        vision_features: Tensor,
        text_features: Tensor,
        vision_attention_mask: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
    ) -> tuple[tuple[Tensor, None], tuple[Tensor, None]]:
        """Return what the image reads from the text, (B, places, D), and the text from the image, (B, words, D).

        Args:
            vision_features: (B, places, D).
            text_features: (B, words, D).
            vision_attention_mask: (B, places) bool, True for padding.
            text_attention_mask: (B, words) bool, True for padding.
        """
        keys = self._split(self.text_proj(text_features)) * self.scale
        scores = torch.einsum("bpd,bhwd->bphw", vision_features, keys @ self._by_head(self.vision_proj.weight))
        scores = scores + (keys @ self._by_head(self.vision_proj.bias[:, None])).squeeze(3)[:, None]
        to_text = _hide(scores, vision_attention_mask, 1).softmax(1)
        context = torch.einsum("bphw,bpd->bhwd", to_text, vision_features)
        read = context @ self._by_head(self.values_vision_proj.weight).mT
        read = read.transpose(1, 2).flatten(2) + self.values_vision_proj.bias
        to_image = _hide(scores, text_attention_mask, 3).softmax(3)
        values = self._split(self.values_text_proj(text_features)) @ self._by_head(self.out_vision_proj.weight.mT)
        image = torch.einsum("bphw,bhwd->bpd", to_image, values) + self.out_vision_proj.bias
        return (image, None), (self.out_text_proj(read), None)

    def _split(self, features: Tensor) -> Tensor:
        """Return (B, heads, words, length) of (B, words, heads * length)."""
        return features.reshape(*features.shape[:2], self.heads, -1).transpose(1, 2)

    def _by_head(self, weight: Tensor) -> Tensor:
        """Return (heads, length, n) of (heads * length, n)."""
        return weight.reshape(self.heads, -1, weight.shape[1])


def use_short_text_fusion(layers: Any) -> None:
    """Replace the fusion attention of each layer of a loaded encoder, in place, if the answers agree."""
    for layer in layers:
        part = "the attention between image and text of Grounding DINO"
        replace_checked(layer.fusion_layer, "attn", ShortTextFusion, _few_words, part, _both_ways)


def _both_ways(made: Any) -> tuple[Tensor, Tensor]:
    """Return the features of image and text; the library also returns attention weights."""
    return made[0][0], made[1][0]


def _few_words(old: Any) -> Example:
    """Return the arguments for five positions and three words, one of each padding."""
    weight = old.vision_proj.weight

    def values(count: int, width: int) -> Tensor:
        return torch.randn(1, count, width).to(weight.device, weight.dtype)

    return (), {
        "vision_features": values(5, weight.shape[1]),
        "text_features": values(3, old.text_proj.weight.shape[1]),
        "vision_attention_mask": (torch.arange(5) == 4)[None].to(weight.device),
        "text_attention_mask": (torch.arange(3) == 2)[None].to(weight.device),
    }


def _hide(scores: Tensor, mask: Tensor | None, axis: int) -> Tensor:
    """Return (B, places, heads, words) scores without those that a (B, n) mask hides along an axis of length n."""
    if mask is None or not bool(mask.any()):
        return scores
    shape = [mask.shape[0], 1, 1, 1]
    shape[axis] = mask.shape[1]
    return scores.masked_fill(mask.view(shape), float("-inf"))
