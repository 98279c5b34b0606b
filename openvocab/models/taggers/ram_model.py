"""The network of RAM and RAM++ (Zhang et al. 2023, Huang et al. 2023) on timm's Swin and transformers' BERT layers.

An image becomes tokens: Swin's last map, with the mean of its places before it, projected to the width of CLIP's text
embeddings. Each label is a query of a decoder whose layers have cross-attention alone, and gets one logit. RAM++ has
several descriptions of a label and averages them with weights that depend on the image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertAttention, BertIntermediate, BertOutput

from openvocab.errors import BadWeights

__all__ = ["RamModel", "RamSizes"]

_PATCH = 4
_HEADS = 4
"""Of the decoder's attention; no shape tells it, and ram/configs/q2l_config.json of the authors' code says 4."""

_EPSILON = 1e-12
"""Of the decoder's layer normalization: layer_norm_eps in the same file."""


class RamSizes:
    """The sizes of a RAM model, read from the shapes of its weights.

    Attributes:
        width: Channels of Swin's first stage.
        depths: Blocks of each stage.
        heads: Attention heads of each stage.
        window: Side of Swin's windows in places.
        text: Width of image tokens and of label embeddings.
        hidden: Width of the decoder.
        inner: Width of its feed-forward layers.
        layers: Number of its layers.
        reweighted: Whether the image weighs the descriptions of a label (RAM++).
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        stages = range(_count(state, "visual_encoder.layers."))
        tables = [state[f"visual_encoder.layers.{row}.blocks.0.attn.relative_position_bias_table"] for row in stages]
        self.width = state["visual_encoder.patch_embed.proj.weight"].shape[0]
        self.depths = tuple(_count(state, f"visual_encoder.layers.{row}.blocks.") for row in stages)
        self.heads = tuple(table.shape[1] for table in tables)
        self.window = (isqrt(len(tables[0])) + 1) // 2
        self.text = state["image_proj.weight"].shape[0]
        self.hidden = state["wordvec_proj.weight"].shape[0]
        self.inner = state["tagging_head.encoder.layer.0.intermediate.dense.weight"].shape[0]
        self.layers = _count(state, "tagging_head.encoder.layer.")
        self.reweighted = "reweight_scale" in state

    @property
    def side(self) -> int:
        """Side in pixels of the square that images are resized to: Swin's last map is one window."""
        return int(_PATCH * 2 ** (len(self.depths) - 1) * self.window)


class _Layer(nn.Module):
    """A layer of the decoder: BERT's without self-attention."""

    def __init__(self, sizes: RamSizes) -> None:
        super().__init__()
        config = BertConfig(
            hidden_size=sizes.hidden,
            num_attention_heads=_HEADS,
            intermediate_size=sizes.inner,
            layer_norm_eps=_EPSILON,
        )
        config._attn_implementation = "sdpa"
        attention: Any = BertAttention
        intermediate: Any = BertIntermediate
        output: Any = BertOutput
        self.crossattention = attention(config, is_cross_attention=True)
        self.crossattention.self.key = nn.Linear(sizes.text, sizes.hidden)
        self.crossattention.self.value = nn.Linear(sizes.text, sizes.hidden)
        self.intermediate = intermediate(config)
        self.output = output(config)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Return (P, C, hidden) queries that have read (P, T, text) tokens."""
        seen = self.crossattention(queries, encoder_hidden_states=tokens)[0]
        answer: Tensor = self.output(self.intermediate(seen), seen)
        return answer


class RamModel(nn.Module):
    """RAM or RAM++ without its label embeddings, in float32 until it is moved.

    Attributes:
        sizes: Of the network.
    """

    def __init__(self, sizes: RamSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.visual_encoder = _swin(sizes)
        self.image_proj = nn.Linear(sizes.width * 2 ** (len(sizes.depths) - 1), sizes.text)
        self.wordvec_proj = nn.Linear(sizes.text, sizes.hidden)
        self.tagging_head = nn.ModuleList(_Layer(sizes) for _ in range(sizes.layers))
        self.fc = nn.Linear(sizes.hidden, 1)
        self.reweight_scale = nn.Parameter(torch.zeros(())) if sizes.reweighted else None

    @classmethod
    def of(cls, state: Mapping[str, Tensor], path: Path) -> RamModel:
        """Return the model of a published state, on the CPU, in evaluation mode.

        Args:
            state: Tensors by the names of the authors' code.
            path: The file, for messages.

        Raises:
            BadWeights: The state is of another model, or lacks a part of it.
        """
        known = {name.replace("vision_multi", "tagging_head"): value for name, value in state.items()}
        try:
            with torch.device("meta"):
                model = cls(RamSizes(known))
        except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
            raise BadWeights(f"{path}: these are not the weights of RAM or RAM++ ({error} is absent)") from error
        model.visual_encoder = _swin(model.sizes)  # off the meta device: its masks are computed, not loaded
        renamed = {new: known[old].float() for old in known if (new := _name_here(old)) in model.state_dict()}
        try:
            model.load_state_dict(renamed, assign=True)
        except RuntimeError as error:
            raise BadWeights(f"{path}: these weights are not a complete RAM or RAM++ model") from error
        return model.requires_grad_(False).eval()

    def tokens(self, pixels: Tensor) -> Tensor:
        """Return (P, 1 + places, text): the mean place and all places, for (P, 3, side, side) normalized pixels."""
        places = self.visual_encoder.forward_features(pixels).flatten(1, 2)
        answer: Tensor = self.image_proj(torch.cat([places.mean(1, keepdim=True), places], 1))
        return answer

    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Return (P, C) logits.

        Args:
            tokens: (P, T, text) of P images.
            labels: (C, K, text) float32 embeddings of K descriptions a label; a description of zeros is none.
        """
        precision = self.fc.weight.dtype
        words = self._weighed(tokens[:, 0].float(), labels).to(precision)
        queries = functional.relu(self.wordvec_proj(words))
        for layer in self.tagging_head:
            queries = layer(queries, tokens.to(precision))
        answer: Tensor = self.fc(queries)[..., 0]
        return answer.float()

    def _weighed(self, means: Tensor, labels: Tensor) -> Tensor:
        """Return (P, C, text): each label's descriptions, averaged with the weights that an image gives them."""
        if self.reweight_scale is None:
            return labels[:, 0].expand(len(means), -1, -1)
        units = means / torch.linalg.vector_norm(means, dim=-1, keepdim=True)
        alike = self.reweight_scale.float().exp() * torch.einsum("pd,ckd->pck", units, labels)
        alike = alike.masked_fill(~labels.any(-1), -torch.inf)
        return torch.einsum("pck,ckd->pcd", alike.softmax(-1), labels)


def _swin(sizes: RamSizes) -> SwinTransformer:
    """Return the image encoder."""
    return SwinTransformer(
        img_size=sizes.side,
        patch_size=_PATCH,
        num_classes=0,
        embed_dim=sizes.width,
        depths=sizes.depths,
        num_heads=sizes.heads,
        window_size=sizes.window,
    )


def _name_here(name: str) -> str:
    """Return the name of a published weight in this model.

    timm merges patches at the beginning of a stage, Swin's authors at the end of the one before.
    """
    name = name.replace("tagging_head.encoder.layer.", "tagging_head.")
    return re.sub(r"layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) + 1}.downsample", name)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return the number of numbered modules under a prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})
