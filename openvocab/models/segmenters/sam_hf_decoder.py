"""The mask decoders of SAM and SAM-HQ in transformers, with the prompts' tokens folded into the weights.

Their two-way transformer is segment_anything's under other names; see sam_decoder. SAM-HQ draws on more maps than SAM,
so of its decoder only the transformer is replaced.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from openvocab.models.checked import Example, replace_checked
from openvocab.models.segmenters.sam2_decoder import as_sam
from openvocab.models.segmenters.sam_decoder import Folded, answered, two_way

__all__ = ["FoldedSamHfDecoder", "FoldedTransformer", "fold_sam_hf_decoder", "fold_sam_hq_transformer"]

_ROWS, _COLUMNS = 3, 4
"""The map of the check."""


class FoldedSamHfDecoder(Folded):
    """Replaces SamMaskDecoder for one image."""

    def forward(
        self,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        **unused: None,
    ) -> tuple[Tensor, Tensor]:
        """Return (1, P, M, 4h, 4w) mask logits and (1, P, M) estimates of their IoU; M is 1 or 3.

        Args:
            image_embeddings: (1, C, h, w).
            image_positional_embeddings: (1, C, h, w).
            sparse_prompt_embeddings: (1, P, T, C).
            dense_prompt_embeddings: (1, C, h, w).
            multimask_output: whether to return the three masks of an unclear prompt.
            unused: arguments of the library that are None.
        """
        own: Any = self
        names = ("iou_token", "mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head")
        steps = (own.upscale_conv1, own.upscale_layer_norm, own.activation, own.upscale_conv2, own.activation)
        parts = SimpleNamespace(
            transformer=as_sam(own.transformer),
            output_upscaling=steps,
            **{name: getattr(own, name) for name in names},
        )
        maps, prompts = image_embeddings + dense_prompt_embeddings, sparse_prompt_embeddings[0]
        logits, quality = answered(parts, maps, image_positional_embeddings, prompts, multimask=multimask_output)
        return logits[None], quality[None]


class FoldedTransformer(Folded):
    """Replaces SamHQTwoWayTransformer for one image."""

    def forward(
        self, point_embeddings: Tensor, image_embeddings: Tensor, image_positional_embeddings: Tensor, **unused: None
    ) -> tuple[Tensor, Tensor]:
        """Return (1, P, T, C) tokens and (P, 1, h * w, C) places.

        Args:
            point_embeddings: (1, P, T, C).
            image_embeddings: (P, C, h, w).
            image_positional_embeddings: (P, C, h, w), P times the same.
            unused: arguments of the library that are None.
        """
        places, position = (
            each.flatten(2).transpose(1, 2).contiguous() for each in (image_embeddings, image_positional_embeddings[:1])
        )
        tokens, mixed = two_way(as_sam(self), point_embeddings[0], places, position)
        return tokens[None], mixed[:, None]


def fold_sam_hf_decoder(model: Any) -> bool:
    """Replace the mask decoder of a loaded SamModel, in place, if the answers agree; return whether they do."""
    return replace_checked(model, "mask_decoder", FoldedSamHfDecoder, _decoder_example, "the mask decoder of sam_hf")


def fold_sam_hq_transformer(decoder: Any) -> bool:
    """Replace the transformer of a loaded SamHQMaskDecoder, in place, if the answers agree; return whether they do."""
    return replace_checked(
        decoder, "transformer", FoldedTransformer, _transformer_example, "the mask decoder's transformer of sam_hq"
    )


def _decoder_example(decoder: Any) -> Example:
    image, position, dense = (_values(decoder, 1, _ROWS, _COLUMNS) for _ in range(3))
    given = (image, position, _values(decoder, 1, 2, 2, last=True), dense, True)
    return given, {"attention_similarity": None, "target_embedding": None}


def _transformer_example(transformer: Any) -> Example:
    image, position = _values(transformer, 2, _ROWS, _COLUMNS), _values(transformer, 1, _ROWS, _COLUMNS)
    maps = {"image_embeddings": image, "image_positional_embeddings": position.repeat(2, 1, 1, 1)}
    named = {"point_embeddings": _values(transformer, 1, 2, 3, last=True), **maps}
    return (), {**named, "attention_similarity": None, "target_embedding": None}


def _values(part: Any, first: int, *rest: int, last: bool = False) -> Tensor:
    """Return random (first, C, *rest) or, with last, (first, *rest, C) values on a part's device."""
    weight = next(part.parameters())
    wide = part.config.hidden_size
    shape = (first, *rest, wide) if last else (first, wide, *rest)
    return torch.randn(*shape).to(weight.device, weight.dtype)
