"""A tiny segment_anything checkpoint: 64 pixels, two blocks, one windowed and one global."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

__all__ = ["build", "write"]


def build() -> Any:
    """Return a Sam of the upstream classes with random weights; relative positions are large enough to matter."""
    torch.manual_seed(3)
    encoder = ImageEncoderViT(
        img_size=64,
        patch_size=16,
        embed_dim=32,
        depth=2,
        num_heads=2,
        out_chans=32,
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1,),
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )
    for block in encoder.blocks:
        torch.nn.init.normal_(block.attn.rel_pos_h)
        torch.nn.init.normal_(block.attn.rel_pos_w)
    torch.nn.init.normal_(encoder.pos_embed)
    prompts = PromptEncoder(embed_dim=32, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=8)
    mixer = TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=8)
    decoder = MaskDecoder(transformer_dim=32, transformer=mixer, iou_head_hidden_dim=32)
    return Sam(encoder, prompts, decoder).eval()


def write(folder: Path) -> str:
    """Write it as the official checkpoints are written and return the REST of its SPEC."""
    folder.mkdir(parents=True)
    torch.save(build().state_dict(), folder / "sam.pth")
    return f"vit@{folder / 'sam.pth'}"
