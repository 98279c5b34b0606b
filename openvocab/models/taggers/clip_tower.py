"""open_clip's image tower on a processor with bfloat16 products: the same sums, with oneDNN's packed weights.

Through torch's own layers weights are put into oneDNN's order on every call, biases are laid out first, GELU and the
residual sums read and write everything once more, and the last block works out every token although one is kept. Here
the weights are put in order once, GELU and the sums are done where the products are, and the last block has the query
of the kept token alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from openvocab.models.blockwise_attention import attend
from openvocab.models.checked import same_answers

__all__ = ["PackedTower", "packed_tower"]

_LINE = 32
"""bfloat16 values in a cache line of 64 bytes."""

_ROUNDING = 0.05
"""How far bfloat16 answers of size 1 may lie apart."""
_OPS = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")


@dataclass(frozen=True, eq=False, slots=True)
class _Linear:
    """A linear layer whose weights are in the order of oneDNN's kernels."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, *, more_in: int = 0, more_out: int = 0) -> _Linear:
        """Pack an (out, in) bfloat16 weight, with more_in columns and more_out rows of zeros behind it."""
        padded = functional.pad(weight.detach(), (0, more_in, 0, more_out)).contiguous()
        packed = torch.ops.mkldnn._reorder_linear_weight(padded, None)
        return cls(packed, None if bias is None else functional.pad(bias.detach(), (0, more_out)))

    def __call__(self, values: Tensor, *, after: str = "none", kind: str = "") -> Tensor:
        """Return (..., out) of (..., in); after is "gelu", of the kind that nn.GELU.approximate names, or "none"."""
        made: Tensor = torch.ops.mkldnn._linear_pointwise(values, self.weight, self.bias, after, [], kind)
        return made

    def added(self, values: Tensor, to: Tensor) -> Tensor:
        """Return (..., out) of (..., in), added to (..., out)."""
        made: Tensor = torch.ops.mkldnn._linear_pointwise.binary(values, to, self.weight, self.bias, "add")
        return made


@dataclass(frozen=True, eq=False, slots=True)
class _Block:
    """A residual attention block over (B, N, D) tokens."""

    attention_norm: Callable[[Tensor], Tensor]
    attention_in: _Linear
    attention_out: _Linear
    heads: int
    mlp_norm: Callable[[Tensor], Tensor]
    mlp_in: _Linear
    activation: nn.Module
    mlp_out: _Linear

    @classmethod
    def of(cls, block: Any) -> _Block:
        """Pack a block that _plain knows."""
        attention, mlp = block.attn, block.mlp
        spare, hidden = (_spare(len(weight)) for weight in (attention.in_proj_weight, mlp.c_fc.weight))
        return cls(
            block.ln_1,
            _Linear.of(attention.in_proj_weight, attention.in_proj_bias, more_out=spare),
            _Linear.of(attention.out_proj.weight, attention.out_proj.bias),
            attention.num_heads,
            block.ln_2,
            _Linear.of(mlp.c_fc.weight, mlp.c_fc.bias, more_out=hidden),
            mlp.gelu,
            _Linear.of(mlp.c_proj.weight, mlp.c_proj.bias, more_in=hidden),
        )

    def __call__(self, tokens: Tensor, keep: int | None = None) -> Tensor:
        """Return (B, N, D), or (B, keep, D): the first tokens alone."""
        images, count, width = tokens.shape
        packed = self.attention_in(self.attention_norm(tokens))[:, :, : 3 * width]
        queries, keys, values = packed.view(images, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        kept = tokens[:, :keep].contiguous()
        attended = attend(queries[:, :, :keep], keys, values)
        kept = self.attention_out.added(attended.transpose(1, 2).reshape(images, -1, width), kept)
        return self.mlp_out.added(self._hidden(self.mlp_norm(kept)), kept)

    def _hidden(self, tokens: Tensor) -> Tensor:
        if isinstance(self.activation, nn.GELU):
            return self.mlp_in(tokens, after="gelu", kind=self.activation.approximate)
        made: Tensor = self.activation(self.mlp_in(tokens))
        return made


@dataclass(frozen=True, eq=False, slots=True)
class PackedTower:
    """A VisionTransformer of open_clip with its weights packed; the model's own weights stay in memory.

    Attributes:
        visual: The tower whose weights they are.
    """

    visual: Any
    patches: _Linear
    blocks: tuple[_Block, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return what the tower returns: (P, D) bfloat16 rows, of (P, 3, height, width) bfloat16 pixels."""
        visual = self.visual
        tokens = self.patches(_patches(pixels, *visual.patch_size))
        first = visual.class_embedding.to(tokens.dtype).expand(len(tokens), 1, -1)
        tokens = visual.ln_pre(torch.cat([first, tokens], 1) + visual.positional_embedding.to(tokens.dtype))
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        rows: Tensor = visual.ln_post(self.blocks[-1](tokens, keep=1)[:, 0]) @ visual.proj
        return rows


def packed_tower(model: Any) -> PackedTower | None:
    """Return the image tower of an open_clip model in another form, or None if it cannot be replaced.

    None is for other devices and precisions than bfloat16 on a processor, a torch without oneDNN, and towers that are
    built in another way: with layer scales, attentional or average pooling, other blocks, no projection. It is also for
    releases of open_clip whose tower answers otherwise.
    """
    visual = getattr(model, "visual", None)
    if not (_here() and isinstance(visual, VisionTransformer) and _plain(visual)):
        return None
    alike = same_answers("open_clip's image tower", type(visual), _tiny_towers, _ROUNDING)
    return _packed(visual) if alike else None


def _packed(visual: Any) -> PackedTower:
    blocks = tuple(_Block.of(block) for block in visual.transformer.resblocks)
    return PackedTower(visual, _Linear.of(visual.conv1.weight.flatten(1), None), blocks)


def _tiny_towers() -> tuple[Tensor, Tensor]:
    """Return the answers of a tower of two blocks, by itself and packed."""
    tiny = VisionTransformer(8, 4, 32, 2, 2, 4.0, output_dim=16).eval().to(torch.bfloat16)
    pixels = torch.randn(3, 3, 8, 8, dtype=torch.bfloat16)
    return tiny(pixels), _packed(tiny)(pixels)


def _spare(count: int) -> int:
    """Return how many values to add to rows of count, so that they take an odd number of cache lines.

    Rows an even number of lines apart fall into a few sets of the cache and push one another out.
    """
    return -count % _LINE + (_LINE if -(-count // _LINE) % 2 == 0 else 0)


def _here() -> bool:
    """Whether oneDNN has bfloat16 products here, and torch the operations that torch.compile lowers layers to."""
    has_operations = torch._C._has_mkldnn and all(hasattr(torch.ops.mkldnn, name) for name in _OPS)
    return has_operations and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _plain(visual: Any) -> bool:
    """Whether PackedTower supports a VisionTransformer."""
    weights = (visual.conv1.weight, visual.proj)
    return (
        all(each is not None and each.dtype == torch.bfloat16 and each.device.type == "cpu" for each in weights)
        and len(visual.transformer.resblocks) > 0
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.output_tokens
        and not visual.training
        and visual.conv1.bias is None
        and all(_plain_block(block) for block in visual.transformer.resblocks)
    )


def _plain_block(block: Any) -> bool:
    if type(block) is not ResidualAttentionBlock:
        return False
    attention = block.attn
    return (
        type(attention) is nn.MultiheadAttention
        and attention.batch_first
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and isinstance(block.ls_1, nn.Identity)
        and isinstance(block.ls_2, nn.Identity)
        and list(dict(block.mlp.named_children())) == ["c_fc", "gelu", "c_proj"]
    )


def _patches(pixels: Tensor, tall: int, wide: int) -> Tensor:
    """Cut (P, 3, H, W) into (P, patches, 3 * tall * wide): the columns of a convolution whose stride is its kernel."""
    images, colors, height, width = pixels.shape
    cut = pixels.view(images, colors, height // tall, tall, width // wide, wide)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(images, -1, colors * tall * wide)
