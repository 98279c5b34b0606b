"""Load a Sam from a checkpoint in the official format; the shapes of the weights give its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn

from openvocab.errors import BadWeights, unknown
from openvocab.weights.files import read_state

__all__ = ["load_sam"]

_KINDS = {"vit_b": 768, "vit_l": 1024, "vit_h": 1280}
"""Width of the image encoder, by which an official checkpoint tells its kind."""

_ANY = "vit"
_DECODER_HEADS = 8
"""No shape tells it; every published checkpoint has 8."""


def load_sam(kind: str, path: Path) -> Any:
    """Return the Sam of a checkpoint, in float32, on the CPU.

    Args:
        kind: "vit_b", "vit_l" or "vit_h"; "vit" for other sizes.
        path: the checkpoint.

    Raises:
        UnknownName: there is no such kind.
        BadWeights: the file is absent, cannot be read, or holds another model.
    """
    if kind not in (*_KINDS, _ANY):
        raise unknown("SAM model", kind, (*_KINDS, _ANY))
    state = {name: value.float() for name, value in read_state(path).items()}
    if "image_encoder.pos_embed" not in state:
        raise BadWeights(f"{path}: these are not the weights of a SAM model")
    width = state["image_encoder.pos_embed"].shape[-1]
    likely = next((name for name, wide in _KINDS.items() if wide == width), _ANY)
    if kind not in (likely, _ANY):
        raise BadWeights(f"{path}: these are {likely} weights, not {kind}; write {likely}@{path}")
    try:
        with torch.device("meta"):
            model = _build(state)
        model.load_state_dict(state, assign=True)
    except (KeyError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise BadWeights(f"{path}: these weights are not a complete {kind} model of the official format") from error
    return model.requires_grad_(False)


def _build(state: Mapping[str, Tensor]) -> Any:
    """Return a Sam whose parameters have the shapes of these."""
    encoder = _encoder(state)
    dense = state["prompt_encoder.mask_downscaling.0.weight"].shape[0] * 4
    width = state["mask_decoder.iou_token.weight"].shape[1]
    grid = encoder.img_size // encoder.patch_embed.proj.kernel_size[0]
    return Sam(
        encoder,
        PromptEncoder(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(encoder.img_size, encoder.img_size),
            mask_in_chans=dense,
        ),
        MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(
                depth=_count(state, "mask_decoder.transformer.layers."),
                embedding_dim=width,
                mlp_dim=state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
                num_heads=_DECODER_HEADS,
            ),
            num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            iou_head_depth=_count(state, "mask_decoder.iou_prediction_head.layers."),
            iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        ),
    )


def _encoder(state: Mapping[str, Tensor]) -> Any:
    """Return the image encoder: a block whose relative positions span the whole grid is global, the rest windowed."""
    _, grid, _, width = state["image_encoder.pos_embed"].shape
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    depth = _count(state, "image_encoder.blocks.")
    tables = [state[f"image_encoder.blocks.{block}.attn.rel_pos_h"] for block in range(depth)]
    spans = [(len(table) + 1) // 2 for table in tables]
    return ImageEncoderViT(
        img_size=grid * patch,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=width // tables[0].shape[1],
        mlp_ratio=state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
        out_chans=state["image_encoder.neck.0.weight"].shape[0],
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=min(spans),
        global_attn_indexes=tuple(block for block, span in enumerate(spans) if span == grid),
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return the number of numbered modules under a prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})
