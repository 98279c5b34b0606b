"""Multi-scale deformable attention on a CPU: the sampled rows are gathered and summed in one pass.

Zhu et al. 2020, "Deformable DETR": each head of each query reads a few points of each feature map, bilinearly, and
adds them up by learnt weights. A bilinear point is four rows of the map with four weights, so all points of a query
are one weighted sum over rows of a table, which is what an embedding bag computes. Each head has a table of its own,
small enough for a processor's cache, and each map has a border of zeros for points outside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from openvocab.models.checked import Example, replace_checked

__all__ = ["GatheredAttention", "gather_points", "use_gathered_attention"]

_QUERIES_A_BLOCK = 2048
"""What is computed for a block of queries stays in the cache of one core."""

Shapes = Sequence[tuple[int, int]]


class GatheredAttention(nn.Module):
    """Replaces a deformable attention of transformers; parameter names are the same.

    Points and weights are computed in float32 whatever the precision of the products is: a point that is rounded to
    bfloat16 moves by half a place of a map that is 128 places wide.

    Args:
        attention: the module to replace, with sampling_offsets, attention_weights, value_proj and output_proj.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.sampling_offsets, self.attention_weights = attention.sampling_offsets, attention.attention_weights
        self.value_proj, self.output_proj = attention.value_proj, attention.output_proj
        self.heads, self.levels, self.points = attention.n_heads, attention.n_levels, attention.n_points

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        position_embeddings: Tensor | None = None,
        reference_points: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        spatial_shapes_list: Shapes = (),
        level_start_index: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, None]:
        """Return features of the shape of hidden_states, (B, queries, channels); arguments as in the library."""
        if encoder_hidden_states is None or reference_points is None:
            raise TypeError("deformable attention needs feature maps and reference points")
        asking = hidden_states if position_embeddings is None else hidden_states + position_embeddings
        value = self.value_proj(encoder_hidden_states)
        if attention_mask is not None and not bool(attention_mask.all()):
            value = value.masked_fill(~attention_mask[..., None], 0.0)
        shape = (*asking.shape[:2], self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(asking).view(*shape, 2)
        weights = self.attention_weights(asking).view(*shape[:3], -1).softmax(-1).view(shape)
        locations = self._sampling_locations(reference_points, offsets, spatial_shapes_list)
        mixed = gather_points(value.unflatten(-1, (self.heads, -1)), spatial_shapes_list, locations, weights)
        features: Tensor = self.output_proj(mixed)
        return features, None

    def _sampling_locations(self, reference: Tensor, offsets: Tensor, shapes: Shapes) -> Tensor:
        """Return (B, queries, heads, levels, points, 2) x and y, 0 to 1 on each map."""
        center = reference[:, :, None, :, None, :2]
        if reference.shape[-1] == 2:
            sizes = torch.tensor([(width, height) for height, width in shapes], device=offsets.device)
            return torch.add(center, offsets / sizes[:, None])
        spread = (0.5 / self.points) * reference[:, :, None, :, None, 2:]
        return torch.addcmul(center, offsets, spread)


def use_gathered_attention(layers: Any, name: str) -> None:
    """Replace the deformable attention of each layer, in place, if the answers agree.

    Args:
        layers: the layers of one loaded encoder or decoder.
        name: the attribute of a layer that holds it.
    """
    for layer in layers:
        replace_checked(layer, name, GatheredAttention, _two_queries, "deformable attention", itemgetter(0))


def _two_queries(old: Any) -> Example:
    """Return the arguments for two queries over small maps."""
    weight = old.value_proj.weight
    shapes = [(3 + level % 2, 4) for level in range(old.n_levels)]
    locations = sum(height * width for height, width in shapes)

    def values(*shape: int) -> Tensor:
        return torch.rand(*shape).to(weight.device, weight.dtype)

    starts = torch.tensor([0, *(height * width for height, width in shapes[:-1])]).cumsum(0)
    return (), {
        "hidden_states": values(1, 2, weight.shape[1]),
        "encoder_hidden_states": values(1, locations, weight.shape[1]),
        "position_embeddings": values(1, 2, weight.shape[1]),
        "reference_points": values(1, 2, old.n_levels, 4),
        "spatial_shapes": torch.tensor(shapes, device=weight.device),
        "spatial_shapes_list": shapes,
        "level_start_index": starts.to(weight.device),
    }


def gather_points(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Sum bilinear samples of feature maps; outside a map there are zeros.

    Args:
        value: (B, places of all maps, heads, length), map by map, each row by row.
        shapes: (height, width) of each map.
        places: (B, queries, heads, levels, points, 2) x and y, 0 to 1 from edge to edge of a map.
        weights: (B, queries, heads, levels, points).

    Returns:
        (B, queries, heads * length).
    """
    table, maps = _tables(value, shapes), _maps(shapes, locations.shape[4], value.device)
    out = value.new_empty(*locations.shape[:3], value.shape[-1])
    for image in range(locations.shape[0]):
        for start in range(0, locations.shape[1], _QUERIES_A_BLOCK):
            block = slice(start, start + _QUERIES_A_BLOCK)
            for head in range(locations.shape[2]):
                x, y = locations[image, block, head].flatten(1, 2).unbind(-1)
                rows, shares = _corners(x, y, weights[image, block, head].flatten(1), maps)
                out[image, block, head] = nn.functional.embedding_bag(
                    rows, table[image, head], per_sample_weights=shares.to(table.dtype), mode="sum"
                )
    return out.flatten(2)


class _Maps(NamedTuple):
    """For each of the levels * points samples of a query: its map's size, and how its table is laid out.

    Attributes:
        width: float32.
        height: float32.
        last_x: int32, where a sample's left and upper corner ends.
        last_y: int32, where a sample's left and upper corner ends.
        stride: int32, rows of the table from one row of the map to the next.
        start: int32, the first row of the map in the table.
    """

    width: Tensor
    height: Tensor
    last_x: Tensor
    last_y: Tensor
    stride: Tensor
    start: Tensor


def _maps(shapes: Shapes, points: int, device: torch.device) -> _Maps:
    sizes = torch.tensor(shapes, dtype=torch.int32, device=device).repeat_interleave(points, 0)
    ends = torch.tensor([(height + 2) * (width + 2) for height, width in shapes]).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]]).to(sizes).repeat_interleave(points)
    height, width = sizes.unbind(1)
    return _Maps(width.float(), height.float(), width, height, width + 2, starts)


def _tables(value: Tensor, shapes: Shapes) -> Tensor:
    """Return (B, heads, rows, length): the maps of a head one after the other, each with a border of zeros."""
    parts = torch.split(value.transpose(1, 2), [height * width for height, width in shapes], 2)
    padded = [
        nn.functional.pad(part.reshape(*part.shape[:2], *shape, -1), (0, 0, 1, 1, 1, 1)).flatten(2, 3)
        for part, shape in zip(parts, shapes, strict=True)
    ]
    return torch.cat(padded, 2)


def _corners(x: Tensor, y: Tensor, weights: Tensor, maps: _Maps) -> tuple[Tensor, Tensor]:
    """Return (queries, 4 * samples) rows of the table and their weights, for (queries, samples) of each argument.

    Samples beyond the border are moved onto it, where all is zero. What is not finite stays so in the weights only.
    """
    x = torch.minimum((x * maps.width + 0.5).clamp_(min=0), maps.width + 1)
    y = torch.minimum((y * maps.height + 0.5).clamp_(min=0), maps.height + 1)
    left = torch.minimum(x.int().clamp_(min=0), maps.last_x)
    top = torch.minimum(y.int().clamp_(min=0), maps.last_y)
    x, y = x - left, y - top
    lower = weights * y
    upper = weights - lower
    upper_right, lower_right = upper * x, lower * x
    first = maps.start + top * maps.stride + left
    below = first + maps.stride
    rows = torch.stack([first, first + 1, below, below + 1], 1).flatten(1)
    shares = torch.stack([upper - upper_right, upper_right, lower - lower_right, lower_right], 1).flatten(1)
    return rows, shares
