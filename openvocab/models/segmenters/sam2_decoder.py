"""The mask decoder of SAM 2 and EdgeTAM in transformers, with the prompts' tokens folded into the weights.

Its two-way transformer is SAM's under other names; see sam_decoder. Of a prompt's four masks only those are drawn that
may be returned: the single one, and for prompts where it is not stable the one of the best estimate.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from openvocab.models.checked import Example, replace_checked
from openvocab.models.segmenters.sam_decoder import Folded, places_apart, two_way

__all__ = ["FoldedSam2Decoder", "as_sam", "fold_sam2_decoder"]

_FIRST_MASK = 2
"""The first mask token; the tokens before it are for the object's presence and for the estimates."""
_ROWS, _COLUMNS = 3, 4
"""The map of the check."""


class FoldedSam2Decoder(Folded):
    """Replaces Sam2MaskDecoder for one image.

    Args:
        decoder: the module to replace.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__(decoder)
        dynamic = decoder.dynamic_multimask_via_stability
        self._limits = (decoder.dynamic_multimask_stability_delta, decoder.dynamic_multimask_stability_thresh)
        self._dynamic = bool(dynamic)

    def forward(
        self,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        high_resolution_features: list[Tensor],
        **unused: None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the masks of P prompts on one image.

        Args:
            image_embeddings: (1, C, h, w).
            image_positional_embeddings: (1, C, h, w).
            sparse_prompt_embeddings: (1, P, T, C).
            dense_prompt_embeddings: (1, C, h, w).
            multimask_output: whether to return the three masks of an unclear prompt.
            high_resolution_features: (1, C/8, 4h, 4w) and (1, C/4, 2h, 2w).
            unused: arguments of the library that are None.

        Returns:
            (1, P, M, 4h, 4w) mask logits, (1, P, M) estimates of their IoU, (1, P, M, C) tokens of the masks, and
            (1, P, 1) logits of the object's presence; M is 1, or 3 with multimask_output.
        """
        parts: Any = self
        maps = image_embeddings + dense_prompt_embeddings
        places, position = (
            each.flatten(2).transpose(1, 2).contiguous() for each in (maps, image_positional_embeddings)
        )
        first = torch.cat([parts.obj_score_token.weight, parts.iou_token.weight, parts.mask_tokens.weight])
        prompts = sparse_prompt_embeddings[0]
        tokens = torch.cat([first.expand(len(prompts), -1, -1), prompts], 1)
        tokens, places = two_way(as_sam(parts.transformer), tokens, places, position)
        finest = self._finest(places, high_resolution_features, maps.shape[-2:])
        logits, quality, shown = self._answer(finest, tokens, maps, multimask=multimask_output)
        return logits[None], quality[None], shown[None], parts.pred_obj_score_head(tokens[:, 0])[None]

    def _answer(
        self, finest: Tensor, tokens: Tensor, maps: Tensor, *, multimask: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (P, M, 4h, 4w) logits, (P, M) estimates and (P, M, C) tokens of (P, T, C) tokens of all kinds."""
        parts: Any = self
        heads = parts.output_hypernetworks_mlps
        own = tokens[:, _FIRST_MASK : _FIRST_MASK + len(heads)]
        vectors = torch.stack([head(own[:, row]) for row, head in enumerate(heads)], 1)
        quality = parts.iou_prediction_head(tokens[:, 1])
        if multimask:
            return self._drawn(finest, vectors[:, 1:], maps), quality[:, 1:], own[:, 1:]
        return (*self._single(finest, vectors, quality, maps), own[:, :1])

    def _finest(self, places: Tensor, finer_maps: list[Tensor], size: torch.Size) -> Tensor:
        """Return (P, 16 * h * w, C/8) of the (P, h * w, C) places: each place's 4 x 4 places, one after the other."""
        parts: Any = self
        height, width = size
        fine, finer = finer_maps
        norm = parts.upscale_layer_norm
        twice = finer.view(-1, height, 2, width, 2).permute(1, 3, 2, 4, 0).flatten(2, 3).flatten(0, 1)
        made = places_apart(parts.upscale_conv1, places) + twice
        made = parts.activation(functional.layer_norm(made, made.shape[-1:], norm.weight, norm.bias, norm.eps))
        again = fine.view(-1, height, 2, 2, width, 2, 2).permute(1, 4, 2, 5, 3, 6, 0).flatten(4, 5).flatten(2, 3)
        drawn: Tensor = parts.activation(places_apart(parts.upscale_conv2, made) + again.flatten(0, 1))
        return drawn.flatten(1, -2)

    def _drawn(self, finest: Tensor, vectors: Tensor, maps: Tensor) -> Tensor:
        """Return (P, M, 4h, 4w) logits of (P, M, C/8) vectors."""
        height, width = maps.shape[-2:]
        logits = (vectors @ finest.transpose(1, 2)).view(*vectors.shape[:2], height, width, 2, 2, 2, 2)
        return logits.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*vectors.shape[:2], 4 * height, 4 * width)

    def _single(self, finest: Tensor, vectors: Tensor, quality: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (P, 1, 4h, 4w) single masks, those of the best estimate where they are not stable, and theirs."""
        logits, estimate = self._drawn(finest, vectors[:, :1], maps), quality[:, :1]
        if not self._dynamic:
            return logits, estimate
        delta, threshold = self._limits
        inner, outer = ((logits > edge).flatten(1).sum(1).float() for edge in (delta, -delta))
        unstable = (torch.where(outer > 0, inner / outer, 1.0) < threshold).nonzero()[:, 0]
        best = quality[unstable, 1:].argmax(1) + 1
        chosen = vectors[unstable, best][:, None]
        logits[unstable] = self._drawn(finest[unstable], chosen, maps)
        return logits, estimate.index_copy(0, unstable, quality[unstable, best][:, None])


def fold_sam2_decoder(model: Any, part: str) -> bool:
    """Replace the mask decoder of a loaded model, in place, if the answers agree; return whether they do.

    Args:
        model: Sam2Model or EdgeTamModel.
        part: its name in the warning.
    """
    return replace_checked(model, "mask_decoder", FoldedSam2Decoder, _example, part)


def _example(decoder: Any) -> Example:
    weight = decoder.iou_token.weight
    wide = weight.shape[1]

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape).to(weight.device, weight.dtype)

    image, position, dense = (values(1, wide, _ROWS, _COLUMNS) for _ in range(3))
    fine, finer = values(1, wide // 8, 4 * _ROWS, 4 * _COLUMNS), values(1, wide // 4, 2 * _ROWS, 2 * _COLUMNS)
    given = (image, position, values(1, 2, 2, wide), dense, False, [fine, finer])
    return given, {"attention_similarity": None, "target_embedding": None}


def as_sam(transformer: Any) -> SimpleNamespace:
    """Return the two-way transformer under the names of segment_anything."""
    last = transformer.final_attn_token_to_image
    layers = list(map(_layer, transformer.layers))
    return SimpleNamespace(
        layers=layers, final_attn_token_to_image=_attention(last), norm_final_attn=transformer.layer_norm_final_attn
    )


def _layer(layer: Any) -> SimpleNamespace:
    norms = {f"norm{number}": getattr(layer, f"layer_norm{number}") for number in range(1, 5)}
    return SimpleNamespace(
        skip_first_layer_pe=layer.skip_first_layer_pe,
        self_attn=lambda q, k, v: layer.self_attn(query=q[None], key=k[None], value=v[None])[0][0],
        cross_attn_token_to_image=_attention(layer.cross_attn_token_to_image),
        cross_attn_image_to_token=_attention(layer.cross_attn_image_to_token),
        mlp=layer.mlp,
        **norms,
    )


def _attention(attention: Any) -> SimpleNamespace:
    projections = {name: getattr(attention, name) for name in ("q_proj", "k_proj", "v_proj")}
    last = attention.o_proj if hasattr(attention, "o_proj") else attention.out_proj  # SAM 2's name, or SAM's
    return SimpleNamespace(num_heads=attention.num_attention_heads, out_proj=last, **projections)
