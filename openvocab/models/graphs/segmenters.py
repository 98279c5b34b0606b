"""SAM whose image encoder and mask decoder are exported graphs."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from openvocab.errors import BadOutput
from openvocab.models.graphs.record import open_stage
from openvocab.models.graphs.runtimes import Graph
from openvocab.models.segmenters.sam_segmenter import SamEncoding, SamSegmenter

__all__ = ["ExportedSam", "SamGraphs", "load_segmenter"]

_PADDING, _LEFT_TOP, _RIGHT_BOTTOM = -1, 2, 3
"""Labels of points: none, and the corners of a box; 0 and 1 are beside and on the object."""


@dataclass(frozen=True, eq=False, slots=True)
class SamGraphs:
    """What stands for a segment_anything Sam.

    Attributes:
        images: (1, 3, side, side) normalized pixels to (1, channels, h, w) features.
        one: Features, (1, T, 2) coordinates in the square and their (1, T) labels to the mask of a prompt.
        three: The same to three candidate masks.
        image_encoder: Has the side of the square as img_size.
        prompt_encoder: Has the height and width of the features as image_embedding_size.
        mask_threshold: Of the logits.
        mean: (3, 1, 1) of the pixels.
        deviation: (3, 1, 1) of the pixels.
    """

    images: Graph
    one: Graph
    three: Graph
    image_encoder: Any
    prompt_encoder: Any
    mask_threshold: float
    mean: Tensor
    deviation: Tensor
    device: torch.device = torch.device("cpu")

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Return normalized (1, 3, height, width) pixels, padded to the square at the right and below."""
        side = self.image_encoder.img_size
        height, width = pixels.shape[-2:]
        return pad((pixels - self.mean) / self.deviation, (0, side - width, 0, side - height))


@dataclass(frozen=True, eq=False, slots=True)
class ExportedSam(SamSegmenter):
    """SamSegmenter over exported graphs."""

    def _features(self, pixels: Tensor) -> Tensor:
        return torch.cat([self.model.images(pixels=each)["features"] for each in torch.split(pixels, 1)])

    def _decode(
        self, encoded: SamEncoding, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        coordinates, labels = _joined(points, boxes)
        decode = self.model.three if multimask else self.model.one
        prompts = zip(torch.split(coordinates, 1), torch.split(labels, 1), strict=True)
        made = [decode(features=encoded.features, points=each, labels=kinds) for each, kinds in prompts]
        masks, quality = (torch.cat([one[name] for one in made]) for name in ("masks", "quality"))
        if not (torch.isfinite(masks).all() and torch.isfinite(quality).all()):
            raise BadOutput("the segmenter's mask of a prompt is not finite")
        return masks, quality


def _joined(points: tuple[Tensor, Tensor] | None, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the (B, T, 2) coordinates and (B, T) int64 labels of prompts; a box is two points."""
    parts: list[tuple[Tensor, Tensor]] = []
    if points is not None:
        parts.append((points[0], points[1].long()))
        if boxes is None:
            parts.append((torch.zeros(len(points[0]), 1, 2), torch.full((len(points[0]), 1), _PADDING)))
    if boxes is not None:
        parts.append((boxes.reshape(-1, 2, 2), torch.tensor([_LEFT_TOP, _RIGHT_BOTTOM]).repeat(len(boxes), 1)))
    coordinates, labels = zip(*parts, strict=True)
    return torch.cat(coordinates, 1), torch.cat(labels, 1)


def load_segmenter(form: str, folder: str, device: str | None, dtype: str | None) -> ExportedSam:
    """Load the segmenter that export_model wrote into a folder.

    Raises:
        BadInput: The device is not the CPU, or there is no such precision.
        BadWeights: There is none, or one of its files is absent or changed.
        MissingExtra: The runtime is not installed.
    """
    opened = open_stage(form, "segmenter", folder, device, dtype)
    settings = opened.record.settings
    mean, deviation = (torch.tensor(settings[name]).reshape(3, 1, 1) for name in ("pixel_mean", "pixel_std"))
    graphs = SamGraphs(
        opened.graph("image"),
        opened.graph("mask", "float32"),
        opened.graph("masks", "float32"),
        SimpleNamespace(img_size=settings["input_side"]),
        SimpleNamespace(image_embedding_size=tuple(settings["features"])),
        settings["mask_threshold"],
        mean,
        deviation,
    )
    return ExportedSam(graphs, opened.model, zoom=settings.get("zoom", 0.0))
