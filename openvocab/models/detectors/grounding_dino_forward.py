"""Grounding DINO's forward pass in two halves: what depends on the image alone, and what depends on the prompt too.

A vocabulary that takes several prompts runs the first half once. The layers are the library's own, some with quicker
parts: the same numbers but for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openvocab.models.detectors.deformable_attention import use_gathered_attention
from openvocab.models.detectors.grounding_dino_text import Prompt
from openvocab.models.detectors.rounded_linear import round_products
from openvocab.models.detectors.short_text_fusion import use_short_text_fusion

__all__ = ["Sight", "find_objects", "look", "quicken"]

_INNER = ("q_proj", "k_proj", "v_proj", "fc1")
_EXACT = ("sampling_offsets", "attention_weights")


def quicken(core: Any, dtype: torch.dtype) -> None:
    """Give one loaded model its quicker parts, in place.

    In bfloat16 are then the products of the backbone, of the encoder's feed-forward layers, and those that its
    deformable attention reads from and writes to. The text tower, the fusion, where attention looks, the decoder with
    its box refinement, scores, and all sums and normalizations stay in float32.

    Args:
        core: the GroundingDinoModel or MMGroundingDinoModel, in float32.
        dtype: of those products; with float32 none is rounded.
    """
    use_short_text_fusion(core.encoder.layers)
    if core.device.type == "cpu":
        use_gathered_attention([layer.deformable_layer for layer in core.encoder.layers], "self_attn")
        use_gathered_attention(core.decoder.layers, "encoder_attn")
    round_products(core.backbone, dtype, _INNER)
    for layer in core.encoder.layers:
        round_products(layer.deformable_layer, dtype, _INNER, _EXACT)


@dataclass(frozen=True, eq=False, slots=True)
class Sight:
    """The feature maps of one image, one after the other, N places in all.

    features   (1, N, D).
    positions  (1, N, D).
    shapes     (height, width) of each map.
    """

    features: Tensor
    positions: Tensor
    shapes: list[tuple[int, int]]


@torch.inference_mode()
def look(core: Any, pixels: Tensor) -> Sight:
    """Run the image's backbone.

    Args:
        core: the GroundingDinoModel or MMGroundingDinoModel.
        pixels: (1, 3, height, width), normalized, without padding: padding would change what the backbone sees.
    """
    whole = torch.ones(1, *pixels.shape[2:], dtype=torch.int64, device=pixels.device)
    seen, positions = core.backbone(pixels, whole)
    maps = [project(features) for project, (features, _) in zip(core.input_proj_vision, seen, strict=False)]
    last = seen[-1][0]
    for project in core.input_proj_vision[len(maps) :]:
        maps.append(project(last))
        last = maps[-1]
        mask = torch.ones(1, *last.shape[2:], dtype=torch.bool, device=last.device)
        positions.append(core.backbone.position_embedding(last, mask))
    levels = [place + level[:, None, None] for place, level in zip(positions, core.level_embed, strict=True)]
    return Sight(_flat(maps), _flat(levels), [(one.shape[2], one.shape[3]) for one in maps])


@torch.inference_mode()
def find_objects(model: Any, sight: Sight, asked: Prompt) -> tuple[Tensor, Tensor]:
    """Run the rest of the model.

    Args:
        model: the GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection.

    Returns:
        (Q, T) logits of each query for each token, and (Q, 4) boxes: center and size as shares of the image.
    """
    core = model.model
    device = sight.features.device
    shapes = torch.tensor(sight.shapes, device=device)
    maps = {
        "spatial_shapes": shapes,
        "spatial_shapes_list": sight.shapes,
        "level_start_index": torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]]),
        "valid_ratios": torch.ones(1, len(shapes), 2, device=device),
    }
    encoded = core.encoder(
        vision_features=sight.features,
        vision_attention_mask=torch.zeros(sight.features.shape[:2], dtype=torch.bool, device=device),
        vision_position_embedding=sight.positions,
        text_features=asked.features,
        text_self_attention_masks=~asked.together,
        text_position_ids=asked.positions.to(asked.features.dtype),  # transformers before 5.23 rounds to the ids' dtype
        **maps,
    )
    vision, text = encoded.last_hidden_state_vision, encoded.last_hidden_state_text
    start = _proposals(core, vision, text, sight)
    decoded = core.decoder(
        inputs_embeds=core.query_position_embeddings.weight[None, : start.shape[1]],
        vision_encoder_hidden_states=vision,
        text_encoder_hidden_states=text,
        reference_points=start,
        **maps,
    )
    return _heads(model, decoded, text, start)


def _proposals(core: Any, vision: Tensor, text: Tensor, sight: Sight) -> Tensor:
    """Return (1, Q, 4) boxes, center and size: those of the places that fit any token of the prompt best."""
    padding = torch.zeros(vision.shape[:2], dtype=torch.bool, device=vision.device)
    places, anchors = core.generate_encoder_output_proposals(vision, padding, sight.shapes)
    fit = core.encoder_output_class_embed(places, text, _whole(text)).amax(-1)
    chosen = fit[0].topk(min(core.config.num_queries, fit.shape[1])).indices
    boxes = core.encoder_output_bbox_embed(places[:, chosen]) + anchors[:, chosen]
    return torch.as_tensor(boxes.sigmoid())


def _heads(model: Any, decoded: Any, text: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the last layer's heads, the only ones whose answer counts."""
    hidden = decoded.intermediate_hidden_states[:, -1]
    before = torch.cat([start[:, None], decoded.intermediate_reference_points], 1)[:, -2]
    logits = model.class_embed[-1](hidden, text, _whole(text))[0, :, : text.shape[1]]
    boxes = (model.bbox_embed[-1](hidden) + torch.special.logit(before, eps=1e-5)).sigmoid()
    return logits, boxes[0]


def _whole(text: Tensor) -> Tensor:
    """Return (1, T) True: no token of a prompt is padding."""
    return torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)


def _flat(maps: list[Tensor]) -> Tensor:
    """Return (1, N, D) of maps of (1, D, height, width)."""
    return torch.cat([one.flatten(2) for one in maps], 2).mT.contiguous()
