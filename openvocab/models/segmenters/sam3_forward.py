"""SAM 3's forward pass for a few labels on an encoded image, with masks made only for the boxes that are kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from openvocab.models.checked import same_answers

__all__ = ["Candidates", "answers_alike", "candidates", "mask_logits"]


class Candidates(NamedTuple):
    """The answer for C labels on one image, before any threshold; Q queries a label.

    Attributes:
        scores: (C, Q), the presence score multiplied in.
        xyxy: (C, Q, 4) left, top, right, bottom as shares of the image.
        objects: (C, Q, D) query features, from which the mask decoder makes masks.
        mixed: (C, N, D) image features after attention to each label.
        masks: (C, Q, side, side) logits if the library's own forward ran, which makes all masks; else None.
    """

    scores: Tensor
    xyxy: Tensor
    objects: Tensor
    mixed: Tensor
    masks: Tensor | None = None


def candidates(model: Any, image: Any, features: Tensor, valid: Tensor) -> Candidates:
    """Return the candidates of a few labels on one image.

    Args:
        model: A Sam3Model.
        image: Its vision encoder's answer for one image.
        features: (C, T, D) float32 text features.
        valid: (C, T) bool, False for padding.
    """
    run = _candidates if answers_alike(model) else _library
    return run(model, image, features, valid)


def mask_logits(
    model: Any, image: Any, features: Tensor, valid: Tensor, found: Candidates, row: int, queries: Tensor
) -> Tensor:
    """Return the (N, side, side) mask logits of N queries of one label.

    Args:
        model: A Sam3Model.
        image: Its vision encoder's answer for one image.
        features: (C, T, D) float32 text features.
        valid: (C, T) bool, False for padding.
        found: The candidates of the C labels.
        row: Index of the label.
        queries: (Q,) bool or (N,) indices of its queries.
    """
    if found.masks is not None:
        return found.masks[row, queries]
    answer = model.mask_decoder(
        decoder_queries=found.objects[row : row + 1, queries],
        backbone_features=list(image.fpn_hidden_states[:-1]),
        encoder_hidden_states=found.mixed[row : row + 1],
        prompt_features=features[row : row + 1],
        prompt_mask=valid[row : row + 1],
    )
    maps: Tensor = answer.pred_masks[0]
    return maps


def answers_alike(model: Any) -> bool:
    """Compare this file's forward with the library's on a small random image encoding, once a process."""
    width = model.config.vision_config.fpn_hidden_size
    device = model.dot_product_scoring.text_proj.weight.device

    def both() -> tuple[Any, Any]:
        levels = [torch.randn(1, width, side, side, device=device) for side in (16, 8, 4, 2)]
        image = SimpleNamespace(fpn_hidden_states=levels, fpn_position_encoding=[each / 2 for each in levels])
        features = torch.randn(2, 5, model.config.detr_encoder_config.hidden_size, device=device)
        valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2], device=device)
        ours, library = (run(model, image, features, valid) for run in (_candidates, _library))
        every = torch.arange(ours.scores.shape[1], device=device)
        masks = torch.stack([mask_logits(model, image, features, valid, ours, row, every) for row in (0, 1)])
        return (library.scores, library.xyxy, library.masks), (ours.scores, ours.xyxy, masks)

    return same_answers("the forward pass of SAM 3", type(model), both)


def _candidates(model: Any, image: Any, features: Tensor, valid: Tensor) -> Candidates:
    from torchvision.ops import box_convert
    from transformers.models.sam3.modeling_sam3 import inverse_sigmoid

    coarse, positions = (
        maps[-2].expand(len(features), -1, -1, -1) for maps in (image.fpn_hidden_states, image.fpn_position_encoding)
    )
    mixed = model.detr_encoder(
        vision_features=[coarse], text_features=features, vision_pos_embeds=[positions], text_mask=valid
    )
    decoded = model.detr_decoder(
        vision_features=mixed.last_hidden_state,
        text_features=mixed.text_features,
        vision_pos_encoding=mixed.pos_embeds_flattened,
        text_mask=valid,
        spatial_shapes=mixed.spatial_shapes,
    )
    objects = decoded.intermediate_hidden_states[-1:]
    refined = inverse_sigmoid(decoded.reference_boxes[-1]) + model.detr_decoder.box_head(objects[0])
    logits = model.dot_product_scoring(
        decoder_hidden_states=objects, text_features=mixed.text_features, text_mask=valid
    )
    scores = logits[0, ..., 0].sigmoid() * decoded.presence_logits[-1].sigmoid()
    return Candidates(scores, box_convert(refined.sigmoid(), "cxcywh", "xyxy"), objects[0], mixed.last_hidden_state)


def _library(model: Any, image: Any, features: Tensor, valid: Tensor) -> Candidates:
    """Return the answer of the library's own forward, which makes the masks of all queries."""

    def repeated(maps: Any) -> list[Tensor]:
        return [each.expand(len(features), -1, -1, -1) for each in maps]

    whole = SimpleNamespace(
        fpn_hidden_states=repeated(image.fpn_hidden_states),
        fpn_position_encoding=repeated(image.fpn_position_encoding),
        hidden_states=None,
        attentions=None,
    )
    texts = SimpleNamespace(pooler_output=features)
    answer = model(vision_embeds=whole, text_embeds=texts, attention_mask=valid)
    scores = answer.pred_logits.sigmoid() * answer.presence_logits.sigmoid()
    none = features.new_zeros(0)
    return Candidates(scores, answer.pred_boxes, none, none, answer.pred_masks)
