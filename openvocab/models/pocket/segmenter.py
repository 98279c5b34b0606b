"""The embedded segmenter: SAM with a convolutional stem whose fine features its mask decoder reads too."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any

import torch
from torch import Tensor, nn, unflatten
from torch.nn import functional

from openvocab.models.detectors.owl_tower import lower_products
from openvocab.models.device import dtype_of
from openvocab.models.pocket.files import SIDE, fill, read, record_of, verified
from openvocab.models.pocket.layers import Block, ConvStem
from openvocab.models.segmenters.sam_decoder import two_way
from openvocab.models.segmenters.sam_segmenter import SamSegmenter

__all__ = ["PocketSam", "PocketSegmenter"]

PATCH, WIDTH, PROMPT_WIDTH, WINDOW, EPS = 8, 128, 96, 8, 1e-6
_GRID, _STEM = SIDE // PATCH, (32, 64, WIDTH)
_MASKS, _DECODER_HEADS = 4, 4

_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Pixel statistics of segment_anything's Sam."""

_NAMES = (
    (r"^image_encoder\.patch_embed\.proj\.", "image_encoder.stem."),
    (r"^(image_encoder\.blocks\.\d+)\.attn\.", r"\1."),
    (r"^(image_encoder\.blocks\.\d+)\.mlp\.lin", r"\1.fc"),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".frequencies"),
)
"""segment_anything's names to those of PocketSam."""


class _ChannelNorm(nn.Module):
    """A layer normalization over the channels of (B, C, H, W) maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, maps: Tensor) -> Tensor:
        last = functional.layer_norm(maps.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, EPS)
        return last.permute(0, 3, 1, 2)


class _Encoder(nn.Module):
    """(B, 3, SIDE, SIDE) normalized pixels to (B, 4 C, 32, 32), C = PROMPT_WIDTH.

    C channels come from the transformer, C / 4 from the stem at a quarter of the size, folded 2 x 2, and C / 8 at half
    the size, folded 4 x 4. SAM 2 (Ravi et al. 2024) hands fine features to its mask decoder likewise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.img_size = SIDE
        half, quarter, _ = _STEM
        self.stem = ConvStem(_STEM, (0, 1, 1))
        self.pos_embed = nn.Parameter(torch.zeros(1, _GRID, _GRID, WIDTH))
        self.blocks = nn.ModuleList(Block(WIDTH, 4, 3 * WIDTH, EPS) for _ in range(4))
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTH, PROMPT_WIDTH, 1, bias=False),
            _ChannelNorm(PROMPT_WIDTH),
            nn.Conv2d(PROMPT_WIDTH, PROMPT_WIDTH, 3, padding=1, bias=False),
            _ChannelNorm(PROMPT_WIDTH),
        )
        self.fine_quarter = nn.Conv2d(quarter, PROMPT_WIDTH // 4, 1)
        self.fine_half = nn.Sequential(
            nn.Conv2d(half, half, 3, 1, 1), nn.ReLU(inplace=True), nn.Conv2d(half, PROMPT_WIDTH // 8, 1)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        sizes: list[Tensor] = []
        features = pixels
        for layer in self.stem:
            if isinstance(layer, nn.Conv2d):
                sizes.append(features)  # what the next convolution reads: the end of a size
            features = layer(features)
        _, half, quarter, _ = sizes
        tokens = _windows(features.permute(0, 2, 3, 1) + self.pos_embed)
        *windowed, last = self.blocks
        for block in windowed:
            tokens = block(tokens)
        whole = last(_whole(tokens, len(pixels))).transpose(1, 2).unflatten(2, (_GRID, _GRID))
        fine = (self.fine_quarter(quarter), 2), (self.fine_half(half), 4)
        return torch.cat([self.neck(whole), *(functional.pixel_unshuffle(*each) for each in fine)], 1)


class _Prompts(nn.Module):
    """Points and boxes, in pixels of the model's square, as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.image_embedding_size = (_GRID, _GRID)
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.zeros(2, PROMPT_WIDTH // 2))
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, PROMPT_WIDTH) for _ in range(4))
        self.not_a_point_embed, self.no_mask_embed = nn.Embedding(1, PROMPT_WIDTH), nn.Embedding(1, PROMPT_WIDTH)

    def forward(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (N, T, C) tokens and (N, C, 32, 32), the same map of no mask for all.

        Args:
            points: (N, P, 2) x and y, and (N, P) 1 on the object, 0 beside it.
            boxes: (N, 4) left, top, right, bottom.
            masks: Must be None.
        """
        weights: list[Any] = [each.weight for each in (self.not_a_point_embed, *self.point_embeddings)]
        kinds = torch.cat(weights)
        tokens: list[Tensor] = []
        if points is not None:
            tokens.append(self.encoded(points[0]) + kinds[points[1].long() + 1])
            if boxes is None:
                tokens.append(kinds[:1].expand(len(points[0]), 1, -1))
        if boxes is not None:
            tokens.append(self.encoded(boxes.view(-1, 2, 2)) + kinds[3:])
        found = torch.cat(tokens, 1)
        dense = self.no_mask_embed.weight.view(1, -1, 1, 1).expand(len(found), -1, _GRID, _GRID)
        return found, dense

    def get_dense_pe(self) -> Tensor:
        """Return the (1, C, 32, 32) position encoding of the places."""
        middle = (torch.arange(_GRID, device=self.frequencies.device) + 0.5) * (SIDE / _GRID) - 0.5
        rows, columns = torch.meshgrid(middle, middle, indexing="ij")
        return self.encoded(torch.stack([columns, rows], -1)).permute(2, 0, 1)[None]

    def encoded(self, places: Tensor) -> Tensor:
        """Return (..., C) sines and cosines of (..., 2) pixels, of which the middle of the first is 0.5."""
        angles = 2 * pi * (((places + 0.5) / SIDE * 2 - 1) @ self.frequencies)
        return torch.cat([angles.sin(), angles.cos()], -1)


class _Attention(nn.Module):
    """Attention of SAM's decoder: (B, N, C) queries to (B, M, C) keys and values, over inner channels."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.num_heads = _DECODER_HEADS
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(PROMPT_WIDTH, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, PROMPT_WIDTH)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        given = (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        heads = (each.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for each in given)
        mixed = functional.scaled_dot_product_attention(*heads)
        return torch.as_tensor(self.out_proj(mixed.transpose(1, 2).flatten(2)))


class _Perceptron(nn.Module):
    """Linear layers of the given widths with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            features = torch.relu(layer(features))
        return torch.as_tensor(self.layers[-1](features))


class _Layer(nn.Module):
    """A layer of SAM's two-way transformer; two_way of sam_decoder runs it."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.skip_first_layer_pe = first
        self.self_attn = _Attention(PROMPT_WIDTH)
        self.cross_attn_token_to_image = _Attention(PROMPT_WIDTH // 2)
        self.cross_attn_image_to_token = _Attention(PROMPT_WIDTH // 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(PROMPT_WIDTH) for _ in range(4))
        self.mlp = nn.Sequential()
        self.mlp.lin1, self.mlp.act = nn.Linear(PROMPT_WIDTH, 2 * PROMPT_WIDTH), nn.ReLU()
        self.mlp.lin2 = nn.Linear(2 * PROMPT_WIDTH, PROMPT_WIDTH)


class _TwoWay(nn.Module):
    """SAM's two-way transformer; two_way of sam_decoder runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(number == 0) for number in range(2))
        self.final_attn_token_to_image = _Attention(PROMPT_WIDTH // 2)
        self.norm_final_attn = nn.LayerNorm(PROMPT_WIDTH)


class _Decoder(nn.Module):
    """SAM's mask decoder, adding the encoder's fine channels where it upscales, and refining the last size."""

    def __init__(self) -> None:
        super().__init__()
        wide, fine = PROMPT_WIDTH // 4, PROMPT_WIDTH // 8
        self.transformer = _TwoWay()
        self.iou_token, self.mask_tokens = nn.Embedding(1, PROMPT_WIDTH), nn.Embedding(_MASKS, PROMPT_WIDTH)
        self.output_upscaling = nn.Sequential(
            *(nn.ConvTranspose2d(PROMPT_WIDTH, wide, 2, 2), _ChannelNorm(wide), nn.GELU()),
            *(nn.ConvTranspose2d(wide, fine, 2, 2), nn.GELU()),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            _Perceptron(PROMPT_WIDTH, PROMPT_WIDTH, PROMPT_WIDTH, fine) for _ in range(_MASKS)
        )
        self.iou_prediction_head = _Perceptron(PROMPT_WIDTH, 64, _MASKS)
        self.refine = nn.Sequential(nn.Conv2d(fine, 16, 3, 1, 1), nn.GELU(), nn.Conv2d(16, fine, 3, 1, 1))

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return (N, M, 128, 128) mask logits and (N, M) estimates of their IoU; M is 1, or 3 with multimask_output.

        Args:
            image_embeddings: (1, 4 C, 32, 32), of one image.
            image_pe: (1, C, 32, 32) its position encoding.
            sparse_prompt_embeddings: (N, T, C) tokens of N prompts.
            dense_prompt_embeddings: (N, C, 32, 32), one map for all.
            multimask_output: Whether to return the three masks of an unclear prompt.
        """
        coarse, quarter, half = torch.split(image_embeddings, [PROMPT_WIDTH, PROMPT_WIDTH, 2 * PROMPT_WIDTH], 1)
        maps = coarse + dense_prompt_embeddings[:1]
        places, position = (each.flatten(2).transpose(1, 2).contiguous() for each in (maps, image_pe))
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        given = torch.cat([own.expand(len(sparse_prompt_embeddings), -1, -1), sparse_prompt_embeddings], 1)
        tokens, places = two_way(self.transformer, given, places, position)
        finest = self._upscaled(unflatten(places.transpose(1, 2), 2, maps.shape[2:]), quarter, half)
        wanted = slice(1, _MASKS) if multimask_output else slice(0, 1)
        numbers = range(_MASKS)[wanted]
        weights = torch.stack([self.output_hypernetworks_mlps[at](tokens[:, 1 + at]) for at in numbers], 1)
        masks = unflatten(weights @ finest.flatten(2), 2, finest.shape[2:])
        return masks, self.iou_prediction_head(tokens[:, 0])[:, wanted]

    def _upscaled(self, maps: Tensor, quarter: Tensor, half: Tensor) -> Tensor:
        """Return (N, C / 8, 128, 128) of (N, C, 32, 32) maps and the encoder's fine channels of their image."""
        first, norm, act, second, _ = self.output_upscaling
        finer = act(norm(first(maps) + functional.pixel_shuffle(quarter, 2)))
        finest = act(second(finer) + functional.pixel_shuffle(half, 4))
        return torch.as_tensor(finest + self.refine(finest))


class PocketSam(nn.Module):
    """The embedded segmenter's model, with the parts of segment_anything's Sam that SamSegmenter calls.

    Attributes:
        mask_threshold: Of mask logits.
    """

    mask_threshold = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder, self.prompt_encoder, self.mask_decoder = _Encoder(), _Prompts(), _Decoder()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.prompt_encoder.frequencies.device

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Return (B, 3, SIDE, SIDE) normalized pixels, padded at the right or below, of (B, 3, H, W) gray levels."""
        mean, deviation = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
        height, width = pixels.shape[-2:]
        return functional.pad((pixels - mean) / deviation, (0, SIDE - width, 0, SIDE - height))


@dataclass(frozen=True, eq=False, slots=True)
class PocketSegmenter(SamSegmenter):
    """SamSegmenter over the embedded model.

    Small boxes are segmented in enlarged windows: at 256 pixels alone their masks are coarse.
    """

    zoom: float = 2.0

    @classmethod
    def embedded(cls, device: str | None = None, dtype: str | None = None) -> PocketSegmenter:
        """Load the embedded segmenter; device and dtype are the best there are where None.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: its file is absent, not the pinned one, of another architecture, or was replaced meanwhile.
        """
        with verified("pocket-segmenter") as pinned:
            record = record_of(pinned, device, dtype)
            model = fill(PocketSam(), read(pinned, _NAMES, ["prompt_encoder.mask_downscaling."]), pinned)
        lower_products(model.image_encoder.blocks, dtype_of(record.dtype))
        return cls(model.to(record.device), record)

    def _features(self, pixels: Tensor) -> Tensor:
        return torch.as_tensor(self.model.image_encoder(pixels))


def _windows(grid: Tensor) -> Tensor:
    """Cut (B, 32, 32, C) into (B * windows, WINDOW * WINDOW, C)."""
    cut = grid.view(len(grid), _GRID // WINDOW, WINDOW, _GRID // WINDOW, WINDOW, -1)
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW * WINDOW, grid.shape[-1])


def _whole(windows: Tensor, count: int) -> Tensor:
    """Put (B * windows, WINDOW * WINDOW, C) back together as (B, H * W, C)."""
    across = _GRID // WINDOW
    cut = windows.view(count, across, across, WINDOW, WINDOW, -1)
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(count, _GRID * _GRID, -1)
