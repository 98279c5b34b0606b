"""SAM's mask decoder with the prompts' tokens folded into the weights: the same answer with a third of the work.

A prompt has about seven tokens, an image map 4,096 places of 256 channels. The library projects every place to keys,
values and queries for each prompt and layer. A product of three matrices may be bracketed in another way: here the few
tokens are multiplied with the weights first, so that each attention costs two products of the map with a matrix of
heads times tokens columns, and no projected map is stored. Nothing is approximated.

A constant that all places of one softmax share cancels, so the bias of the keys is left out where the tokens look at
the image. The transposed convolutions have a kernel as large as their stride and are linear layers of each place; their
normalization is one over channels. Only the requested masks are drawn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn, unflatten
from torch.nn import functional

from openvocab.models.checked import Example, replace_checked

__all__ = ["Folded", "FoldedDecoder", "answered", "fold_decoder", "places_apart", "two_way"]

_PART = "the mask decoder of SAM"
_SIDE = 3
"""Rows and columns of the map of the check."""


class Folded(nn.Module):
    """Shares the parts of the module that it replaces; parameter names are the same.

    Args:
        replaced: the module to replace.
    """

    def __init__(self, replaced: Any) -> None:
        super().__init__()
        for name, part in replaced.named_children():
            setattr(self, name, part)


class FoldedDecoder(Folded):
    """Replaces segment_anything's MaskDecoder."""

    transformer: Any
    iou_token: Any
    mask_tokens: Any
    output_upscaling: Any
    output_hypernetworks_mlps: Any
    iou_prediction_head: Any

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return (B, M, 4h, 4w) mask logits and (B, M) estimates of their IoU; M is 1, or 3 with multimask_output.

        Args:
            image_embeddings: (1, C, h, w), of one image.
            image_pe: (1, C, h, w) its position encoding.
            sparse_prompt_embeddings: (B, T, C) tokens of B prompts.
            dense_prompt_embeddings: (B, C, h, w); where it is one map for all, as for prompts without masks, expanded.
            multimask_output: whether to return the three masks of an unclear prompt.
        """
        dense = dense_prompt_embeddings
        maps = image_embeddings + (dense[:1] if dense.stride(0) == 0 else dense)
        return answered(self, maps, image_pe, sparse_prompt_embeddings, multimask=multimask_output)


def answered(
    parts: Any, maps: Tensor, position_map: Tensor, prompts: Tensor, *, multimask: bool
) -> tuple[Tensor, Tensor]:
    """Return (B, M, 4h, 4w) mask logits and (B, M) estimates of their IoU.

    Args:
        parts: has the parts of segment_anything's MaskDecoder.
        maps: (1 or B, C, h, w), one for all prompts or one each.
        position_map: (1, C, h, w).
        prompts: (B, T, C) tokens.
        multimask: whether M is 3, the masks of an unclear prompt, or 1.
    """
    places, position = (each.flatten(2).transpose(1, 2).contiguous() for each in (maps, position_map))
    first = torch.cat([parts.iou_token.weight, parts.mask_tokens.weight])
    tokens = torch.cat([first.expand(len(prompts), -1, -1), prompts], 1)
    tokens, places = two_way(parts.transformer, tokens, places, position)
    heads = parts.output_hypernetworks_mlps
    wanted = range(1, len(heads)) if multimask else range(1)
    masks = torch.stack([heads[index](tokens[:, 1 + index]) for index in wanted], 1)
    height, width = maps.shape[-2:]
    logits = _drawn(parts.output_upscaling, places, masks, height, width)
    return logits, parts.iou_prediction_head(tokens[:, 0])[:, wanted.start : wanted.stop]


def fold_decoder(model: Any) -> bool:
    """Replace the mask decoder of one loaded Sam, in place, if the answers agree; return whether they do."""
    return replace_checked(model, "mask_decoder", FoldedDecoder, _example, _PART)


def _example(decoder: Any) -> Example:
    weight = decoder.iou_token.weight

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape).to(weight.device, weight.dtype)

    wide = weight.shape[1]
    image, position, none = (values(1, wide, _SIDE, _SIDE + 1) for _ in range(3))
    return (image, position, values(2, 2, wide), none.expand(2, -1, -1, -1), True), {}


def two_way(transformer: Any, given: Tensor, places: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, T, C) tokens and (B, N, C) places of the two-way transformer.

    Args:
        transformer: the library's.
        given: (B, T, C) tokens, which are their own position encoding too.
        places: (1 or B, N, C).
        position: (1, N, C).
    """
    tokens = given
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            tokens = layer.self_attn(q=tokens, k=tokens, v=tokens)
        else:
            asked = tokens + given
            tokens = tokens + layer.self_attn(q=asked, k=asked, v=tokens)
        tokens = layer.norm1(tokens)
        tokens = layer.norm2(tokens + _tokens_look(layer.cross_attn_token_to_image, tokens + given, places, position))
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        seen = _places_look(layer.cross_attn_image_to_token, tokens + given, tokens, places, position)
        places = layer.norm4(seen)
    last = _tokens_look(transformer.final_attn_token_to_image, tokens + given, places, position)
    return transformer.norm_final_attn(tokens + last), places


def _heads(attention: Any, tokens: Tensor) -> Tensor:
    """Return (B, heads, T, length) of (B, T, heads * length)."""
    return unflatten(tokens, -1, (attention.num_heads, -1)).transpose(1, 2)


def _scores(columns: Tensor, places: Tensor, position: Tensor) -> Tensor:
    """Return (B, K, N) products of (B, K, C) columns with (1 or B, N, C) places and their (1, N, C) position."""
    if len(places) == 1:
        return columns @ (places + position).transpose(1, 2)
    return torch.baddbmm(columns @ position.transpose(1, 2), columns, places.transpose(1, 2))


def _tokens_look(attention: Any, asked: Tensor, places: Tensor, position: Tensor) -> Tensor:
    """Return (B, T, C): what the tokens take from the image."""
    query = _heads(attention, attention.q_proj(asked))
    query = query * query.shape[-1] ** -0.5
    columns = query @ unflatten(attention.k_proj.weight, 0, (attention.num_heads, -1))
    weights = _scores(columns.flatten(1, 2), places, position).softmax(-1)
    taken = unflatten(weights @ places, 1, (attention.num_heads, -1))
    value = taken @ unflatten(attention.v_proj.weight, 0, (attention.num_heads, -1)).transpose(1, 2)
    return torch.as_tensor(attention.out_proj(value.transpose(1, 2).flatten(2) + attention.v_proj.bias))


def _places_look(attention: Any, asked: Tensor, tokens: Tensor, places: Tensor, position: Tensor) -> Tensor:
    """Return (B, N, C): the places, with what they take from the tokens added."""
    heads = attention.num_heads
    key, value = (_heads(attention, each) for each in (attention.k_proj(asked), attention.v_proj(tokens)))
    key = key * key.shape[-1] ** -0.5
    columns = key @ unflatten(attention.q_proj.weight, 0, (heads, -1))
    constant = key @ attention.q_proj.bias.view(heads, -1, 1)
    scores = unflatten(_scores(columns.flatten(1, 2), places, position), 1, (heads, -1)) + constant
    weights = scores.softmax(2).flatten(1, 2)
    rows = (value @ unflatten(attention.out_proj.weight, 1, (heads, -1)).permute(1, 2, 0)).flatten(1, 2)
    return torch.baddbmm((places + attention.out_proj.bias).expand(len(rows), -1, -1), weights.transpose(1, 2), rows)


def _drawn(upscaling: Any, places: Tensor, masks: Tensor, height: int, width: int) -> Tensor:
    """Return (B, M, 4h, 4w) logits of (B, h * w, C) places and (B, M, c) vectors of masks."""
    first, norm, act, second, last_act = upscaling
    finer = places_apart(first, places)
    finer = act(functional.layer_norm(finer, finer.shape[-1:], norm.weight, norm.bias, norm.eps))
    finest = last_act(places_apart(second, finer)).flatten(1, -2)
    logits: Tensor = masks @ finest.transpose(1, 2)
    logits = logits.view(*masks.shape[:2], height, width, 2, 2, 2, 2)
    return logits.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*masks.shape[:2], 4 * height, 4 * width)


def places_apart(convolution: Any, places: Tensor) -> Tensor:
    """Return (..., 4, c) of (..., C): the 2 x 2 places that a transposed convolution of stride 2 makes of each."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return unflatten(functional.linear(places, weight, convolution.bias.repeat(4)), -1, (4, -1))
