"""What OWL-ViT and OWLv2 see in an image and in enlarged windows of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openvocab.pipeline.protocols import ImageArray
from openvocab.pipeline.tiles import Tiling, crop, whole_boxes

__all__ = ["OwlEncoding", "crops_of", "joined"]


@dataclass(frozen=True, eq=False, slots=True)
class OwlEncoding:
    """An encoded image: its N boxes and their features, shared by all vocabularies.

    Attributes:
        features: (N, D) float32, on the model's device.
        xyxy: (N, 4) float32: left, top, right, bottom in pixels of the image, clipped to it.
        tiles: (N,) int64, the window that each box was found in; None where there is the image alone.
    """

    features: Tensor
    xyxy: NDArray[np.float32]
    tiles: NDArray[np.int64] | None = None


def crops_of(images: Sequence[ImageArray], tilings: Sequence[Tiling]) -> list[tuple[int, ImageArray]]:
    """Return the windows of each image, the first of which is the image itself, with the index of the image."""
    return [
        (index, crop(image, window))
        for index, (image, tiling) in enumerate(zip(images, tilings, strict=True))
        for window in tiling.windows
    ]


def joined(parts: Sequence[OwlEncoding], images: Sequence[ImageArray], tilings: Sequence[Tiling]) -> list[OwlEncoding]:
    """Return one encoding an image for those of crops_of.

    A box that an inner edge of a window may cut is left out: its object is whole in another window or in the image.
    """
    left = iter(parts)
    return [_joined(left, tiling, image) for image, tiling in zip(images, tilings, strict=True)]


def _joined(left: Iterator[OwlEncoding], tiling: Tiling, image: ImageArray) -> OwlEncoding:
    parts = list(islice(left, len(tiling.windows)))
    if len(parts) == 1:
        return parts[0]
    found = [whole_boxes(each.xyxy, at, image.shape[:2]) for each, at in zip(parts, tiling.windows, strict=True)]
    features = torch.cat([each.features[rows] for each, (_, rows) in zip(parts, found, strict=True)])
    tiles = np.repeat(np.arange(len(parts)), [len(rows) for _, rows in found])
    return OwlEncoding(features, np.concatenate([xyxy for xyxy, _ in found]), tiles)
