"""The three embedded models as they are trained: classes of the libraries with small widths and one stem.

openvocab.models.pocket runs the same weights without the libraries; tests compare both.

The detector is transformers' Owlv2ForObjectDetection and the segmenter segment_anything's Sam, each with the single
convolution that cuts the image into patches replaced by a stem of stride-2 convolutions (Xiao et al. 2021,
"Early convolutions help transformers see better"): trained from nothing in an hour on a CPU, the stem is what makes
them learn. The tagger is an open_clip CustomTextCLIP over a timm VisionTransformer with the same stem and a gated pool,
registered with timm as MODEL_NAME, so that open_clip's own factory builds it. Detector and tagger are trained as one
tower.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import Owlv2Config, Owlv2ForObjectDetection

from openvocab.models.pocket.files import CONTEXT, SIDE
from openvocab.models.pocket.layers import HEADS, LAYERS, PATCH, TEXT_WIDTH, WIDTH, ConvStem, GatedPool

__all__ = [
    "CONTEXT",
    "MODEL_NAME",
    "FineDecoder",
    "FineEncoder",
    "PocketOwlv2",
    "build_sam",
    "detector_config",
    "register",
    "tagger_config",
]

MODEL_NAME = "openvocab_pocket_vit"


def _tower_stem() -> ConvStem:
    return ConvStem((24, 48, 96, WIDTH), (0, 0, 1, 1))


class PocketOwlv2(Owlv2ForObjectDetection):  # type: ignore[no-untyped-call]
    """Owlv2ForObjectDetection with a convolutional stem; saved and loaded by the library as it stands."""

    def __init__(self, config: Owlv2Config) -> None:
        super().__init__(config)
        embeddings: Any = self.owlv2.vision_model.embeddings
        embeddings.patch_embedding = _tower_stem()


def detector_config(tokens: int) -> Owlv2Config:
    """The detector's configuration for a tokenizer of that many tokens; the last two are begin and end of text."""
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "image_size": SIDE,
        "patch_size": PATCH,
        "hidden_act": "gelu",
    }
    text = {
        "vocab_size": tokens,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "hidden_act": "gelu",
        "bos_token_id": tokens - 2,
        "eos_token_id": tokens - 1,
        "pad_token_id": 0,
    }
    config = Owlv2Config(vision_config=vision, text_config=text, projection_dim=TEXT_WIDTH)
    config._attn_implementation = "eager"  # a third faster than sdpa at 256 tokens on a CPU
    return config


def tagger_config(tokens: int) -> dict[str, Any]:
    """The tagger's open_clip_config.json."""
    vision = {"image_size": SIDE, "timm_model_name": MODEL_NAME, "timm_pool": "map", "timm_proj": ""}
    text = {
        "context_length": CONTEXT,
        "vocab_size": tokens,
        "width": TEXT_WIDTH,
        "heads": 4,
        "layers": 2,
        "hf_tokenizer_name": "pocket",
    }
    model = {"embed_dim": TEXT_WIDTH, "vision_cfg": vision, "text_cfg": text, "custom_text": True}
    return {
        "model_cfg": {**model, "init_logit_scale": 2.7, "init_logit_bias": -5.0},
        "preprocess_cfg": {"resize_mode": "squash", "interpolation": "bicubic"},
    }


class _StemEmbed(nn.Module):
    """timm's patch embedding, over the stem."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.backbone = _tower_stem()
        self.grid_size = (SIDE // PATCH, SIDE // PATCH)
        self.num_patches = self.grid_size[0] * self.grid_size[1]

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone(images)
        return features.flatten(2).transpose(1, 2)


class PocketVit(VisionTransformer):
    """timm's VisionTransformer with the stem and the gated pool."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(embed_layer=_StemEmbed, pool_include_prefix=True, **kwargs)
        self.attn_pool = GatedPool(self.embed_dim)  # type: ignore[assignment]


def openvocab_pocket_vit(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """The tower as timm knows it; called by timm's factory."""
    kwargs.pop("pretrained_cfg", None), kwargs.pop("pretrained_cfg_overlay", None), kwargs.pop("cache_dir", None)
    return PocketVit(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=LAYERS,
        num_heads=HEADS,
        pre_norm=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        **kwargs,
    )


@cache
def register() -> None:
    """Tell timm of the tower, so that open_clip builds it by name."""
    register_model(openvocab_pocket_vit)


def _start_at_nothing(last: nn.Module) -> None:
    """Let a convolution answer 0 until it is trained."""
    for weight in last.parameters():
        nn.init.zeros_(weight)


class FineEncoder(ImageEncoderViT):  # type: ignore[misc]
    """Sam's image encoder whose embedding also carries what the stem saw at a half and a quarter of the size.

    The embedding of (B, 3, 256, 256) images is (B, C + C + 2 C, 32, 32): C channels of the transformer, C / 4
    channels at a quarter of the size folded 2 x 2, and C / 8 at half the size folded 4 x 4. SAM 2 (Ravi et al. 2024)
    hands fine features to its mask decoder likewise.
    """

    def __init__(self, out_chans: int, widths: Sequence[int], **kwargs: Any) -> None:
        super().__init__(out_chans=out_chans, **kwargs)
        self.patch_embed.proj = ConvStem(widths, (0, 1, 1))
        half, quarter, _ = widths
        self.fine_quarter = nn.Conv2d(quarter, out_chans // 4, 1)
        self.fine_half = nn.Sequential(
            nn.Conv2d(half, half, 3, 1, 1), nn.ReLU(inplace=True), nn.Conv2d(half, out_chans // 8, 1)
        )
        _start_at_nothing(self.fine_quarter)
        _start_at_nothing(self.fine_half[-1])

    def forward(self, images: Tensor) -> Tensor:
        sizes: list[Tensor] = []
        features = images
        for layer in self.patch_embed.proj:
            if isinstance(layer, nn.Conv2d):
                sizes.append(features)  # what the next convolution reads: the end of a size
            features = layer(features)
        _, half, quarter, _ = sizes
        tokens = features.permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        coarse = self.neck(tokens.permute(0, 3, 1, 2))
        fine = F.pixel_unshuffle(self.fine_quarter(quarter), 2), F.pixel_unshuffle(self.fine_half(half), 4)
        return torch.cat([coarse, *fine], 1)


class FineDecoder(MaskDecoder):  # type: ignore[misc]
    """Sam's mask decoder, adding the fine channels of FineEncoder where it upscales, and refining the last size."""

    def __init__(self, transformer_dim: int, **kwargs: Any) -> None:
        super().__init__(transformer_dim=transformer_dim, **kwargs)
        width = transformer_dim // 8
        self.refine = nn.Sequential(nn.Conv2d(width, 16, 3, 1, 1), nn.GELU(), nn.Conv2d(16, width, 3, 1, 1))
        _start_at_nothing(self.refine[-1])

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (N, 4, 128, 128) and estimates of their IoU (N, 4).

        Args:
            image_embeddings: (B, 4 C, 32, 32) with N a multiple of B; the prompts of a image follow each other.
            image_pe: (1, C, 32, 32).
            sparse_prompt_embeddings: (N, T, C).
            dense_prompt_embeddings: (N, C, 32, 32) or broadcastable.
        """
        count, width = len(sparse_prompt_embeddings), self.transformer_dim
        coarse, quarter, half = torch.split(image_embeddings, [width, width, 2 * width], 1)
        each = count // len(image_embeddings)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])[None].expand(count, -1, -1)
        source = coarse.repeat_interleave(each, 0) + dense_prompt_embeddings
        place = image_pe.expand(count, -1, -1, -1)
        tokens, image = self.transformer(source, place, torch.cat([own, sparse_prompt_embeddings], 1))
        first, norm, act, second, _ = self.output_upscaling
        image = first(image.transpose(1, 2).reshape(source.shape))
        image = act(norm(image + F.pixel_shuffle(quarter, 2).repeat_interleave(each, 0)))
        image = act(second(image) + F.pixel_shuffle(half, 4).repeat_interleave(each, 0))
        image = image + self.refine(image)
        weights = torch.stack([mlp(tokens[:, 1 + at]) for at, mlp in enumerate(self.output_hypernetworks_mlps)], 1)
        masks = (weights @ image.flatten(2)).unflatten(2, image.shape[2:])
        return masks, self.iou_prediction_head(tokens[:, 0])


def build_sam() -> Sam:
    """A Sam of 256 x 256 images, patches of 8, width 128, with random weights."""
    grid, prompt_width, width = SIDE // 8, 96, 128
    encoder = FineEncoder(
        widths=(32, 64, width),
        img_size=SIDE,
        patch_size=8,
        embed_dim=width,
        depth=4,
        num_heads=4,
        mlp_ratio=3,
        out_chans=prompt_width,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=False,
        window_size=8,
        global_attn_indexes=(3,),
    )
    prompts = PromptEncoder(
        embed_dim=prompt_width,
        image_embedding_size=(grid, grid),
        input_image_size=(SIDE, SIDE),
        mask_in_chans=16,
    )
    two_way = TwoWayTransformer(depth=2, embedding_dim=prompt_width, mlp_dim=2 * prompt_width, num_heads=4)
    decoder = FineDecoder(
        num_multimask_outputs=3,
        transformer=two_way,
        transformer_dim=prompt_width,
        iou_head_depth=2,
        iou_head_hidden_dim=64,
    )
    return Sam(image_encoder=encoder, prompt_encoder=prompts, mask_decoder=decoder)
