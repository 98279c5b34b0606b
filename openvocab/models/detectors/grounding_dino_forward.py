"""Grounding DINO's forward pass in two halves: one depends on the image only, the other on the prompt too.

A vocabulary that takes several prompts runs the first half once. The layers are the library's own, some with quicker
parts: the same numbers but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from openvocab.models.checked import same_answers
from openvocab.models.detectors.deformable_attention import use_gathered_attention
from openvocab.models.detectors.grounding_dino_text import (
    Block,
    LabelTokens,
    Prompt,
    encode_blocks,
    prompt,
    special_tokens,
)
from openvocab.models.detectors.rounded_linear import round_products
from openvocab.models.detectors.short_text_fusion import use_short_text_fusion

__all__ = ["ImageFeatures", "answers_alike", "encode_image", "find_objects", "library_objects", "use_faster_parts"]

_SIZES = ("layers", "ffn_dim", "attention_heads")
_INNER = ("q_proj", "k_proj", "v_proj", "fc1")
_EXACT = ("sampling_offsets", "attention_weights")


def use_faster_parts(core: Any, dtype: torch.dtype) -> None:
    """Replace parts of a loaded model by faster ones, in place.

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
class ImageFeatures:
    """The concatenated feature maps of one image, N positions in all.

    Attributes:
        features: (1, N, D).
        positions: (1, N, D).
        shapes: (height, width) of each map.
    """

    features: Tensor
    positions: Tensor
    shapes: list[tuple[int, int]]


@torch.inference_mode()
def encode_image(core: Any, pixels: Tensor) -> ImageFeatures:
    """Run the backbone on one image.

    Args:
        core: the GroundingDinoModel or MMGroundingDinoModel.
        pixels: (1, 3, height, width), normalized, without padding: padding would change what the backbone sees.
    """
    whole = torch.ones(1, *pixels.shape[2:], dtype=torch.int64, device=pixels.device)
    features_of_levels, positions = core.backbone(pixels, whole)
    maps = [
        project(features) for project, (features, _) in zip(core.input_proj_vision, features_of_levels, strict=False)
    ]
    last = features_of_levels[-1][0]
    for project in core.input_proj_vision[len(maps) :]:
        maps.append(project(last))
        last = maps[-1]
        mask = torch.ones(1, *last.shape[2:], dtype=torch.bool, device=last.device)
        positions.append(core.backbone.position_embedding(last, mask))
    levels = [place + level[:, None, None] for place, level in zip(positions, core.level_embed, strict=True)]
    return ImageFeatures(_flat(maps), _flat(levels), [(one.shape[2], one.shape[3]) for one in maps])


def answers_alike(model: Any) -> bool:
    """Compare this package's forward with the library's on a tiny model of the same class, once a process."""
    kind = next(each for each in type(model).__mro__ if each.__module__.startswith("transformers."))

    def both() -> tuple[Any, Any]:
        tiny = kind(_tiny_config(type(model.config))).eval()
        for weight in tiny.parameters():
            nn.init.normal_(weight, std=0.1)
        first, last, stop, _ = special_tokens(tiny)
        blocks = ((7, 8, stop), (9, stop))
        cls, sep, *features = encode_blocks(tiny.model, [(first,), (last,), *blocks])
        whole = prompt(LabelTokens(blocks, tuple(features), torch.cat([cls, sep])), [0, 1])
        pixels = torch.randn(1, 3, 64, 64)
        ours = find_objects(tiny, encode_image(tiny.model, pixels), whole)
        return library_objects(tiny, pixels, blocks), ours

    return _rounds_positions() or same_answers("the forward pass of Grounding DINO", kind, both)


def _rounds_positions() -> bool:
    """Whether the library rounds the embeddings of a prompt's positions: a fault, so its answers are no measure."""
    return tuple(int(part) for part in transformers.__version__.split(".")[:2]) < (5, 23)


def _tiny_config(config: Any) -> Any:
    swin = {"model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2]}
    bert = {"vocab_size": 1200, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {f"{part}_{name}": 16 if name == "ffn_dim" else 2 for part in ("encoder", "decoder") for name in _SIZES}
    return config(
        backbone_config={**swin, "window_size": 4, "drop_path_rate": 0.0, "out_indices": [2, 3, 4]},
        text_config={"model_type": "bert", **bert, "intermediate_size": 16},
        d_model=64,
        num_queries=20,
        max_text_len=64,
        **sizes,
    )


@torch.inference_mode()
def library_objects(model: Any, pixels: Tensor, blocks: Sequence[Block]) -> tuple[Tensor, Tensor]:
    """Run the library's whole forward.

    Args:
        model: the GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection.
        pixels: (1, 3, height, width), normalized.
        blocks: the tokens of each label.

    Returns:
        as find_objects.
    """
    first, last = special_tokens(model)[:2]
    tokens = torch.tensor([[first, *chain.from_iterable(blocks), last]], device=pixels.device)
    answer = model(
        pixel_values=pixels,
        input_ids=tokens,
        token_type_ids=torch.zeros_like(tokens),
        attention_mask=torch.ones_like(tokens),
    )
    return answer.logits[0, :, : tokens.shape[1]], answer.pred_boxes[0]


@torch.inference_mode()
def find_objects(model: Any, image: ImageFeatures, text_prompt: Prompt) -> tuple[Tensor, Tensor]:
    """Run encoder, decoder and heads for one prompt.

    Args:
        model: the GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection.

    Returns:
        (Q, T) logits of each query for each token, and (Q, 4) boxes: center and size as shares of the image.
    """
    core = model.model
    device = image.features.device
    shapes = torch.tensor(image.shapes, device=device)
    maps = {
        "spatial_shapes": shapes,
        "spatial_shapes_list": image.shapes,
        "level_start_index": torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]]),
        "valid_ratios": torch.ones(1, len(shapes), 2, device=device),
    }
    encoded = core.encoder(
        vision_features=image.features,
        vision_attention_mask=torch.zeros(image.features.shape[:2], dtype=torch.bool, device=device),
        vision_position_embedding=image.positions,
        text_features=text_prompt.features,
        text_self_attention_masks=~text_prompt.together,
        text_position_ids=text_prompt.positions.to(text_prompt.features.dtype),  # see _rounds_positions
        **maps,
    )
    vision, text = encoded.last_hidden_state_vision, encoded.last_hidden_state_text
    start = _proposals(core, vision, text, image)
    decoded = core.decoder(
        inputs_embeds=core.query_position_embeddings.weight[None, : start.shape[1]],
        vision_encoder_hidden_states=vision,
        text_encoder_hidden_states=text,
        reference_points=start,
        **maps,
    )
    return _heads(model, decoded, text, start)


def _proposals(core: Any, vision: Tensor, text: Tensor, image: ImageFeatures) -> Tensor:
    """Return (1, Q, 4) boxes, center and size: those of the positions that score best for any token of the prompt."""
    padding = torch.zeros(vision.shape[:2], dtype=torch.bool, device=vision.device)
    places, anchors = core.generate_encoder_output_proposals(vision, padding, image.shapes)
    fit = core.encoder_output_class_embed(places, text, _whole(text)).amax(-1)
    chosen = fit[0].topk(min(core.config.num_queries, fit.shape[1])).indices
    boxes = core.encoder_output_bbox_embed(places[:, chosen]) + anchors[:, chosen]
    return torch.as_tensor(boxes.sigmoid())


def _heads(model: Any, decoded: Any, text: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the last layer's heads."""
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
