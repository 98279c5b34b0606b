"""What a segmenter offers to the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.protocols.arrays import Floats, ImageArray, Masks
from openvocab.pipeline.result import ModelRecord

__all__ = ["ExemplarSegmenter", "PromptSegmenter", "Segmenter"]

E = TypeVar("E")


class Segmenter(Protocol[E]):
    """Segments what lies in a box."""

    @property
    def record(self) -> ModelRecord: ...
    def encode(self, image: ImageArray) -> E:
        """Encode the image once for all prompts."""
        ...

    def masks(self, encoded: E, xyxy: Floats) -> tuple[Masks, Floats]:
        """Return (N, H, W) masks at the image's own size and (N,) scores in 0 to 1, for (N, 4) boxes in pixels."""
        ...


@runtime_checkable
class PromptSegmenter(Segmenter[E], Protocol):
    """A segmenter that also takes points, alone or with a box."""

    def prompt(
        self,
        encoded: E,
        points: Floats | None = None,
        point_labels: NDArray[np.int64] | None = None,
        box: Floats | None = None,
    ) -> tuple[Masks, Floats]:
        """Return three candidate masks of one object: (3, H, W) masks and (3,) scores in 0 to 1, not sorted.

        Args:
            encoded: What encode returned.
            points: (P, 2) x and y in pixels of the image.
            point_labels: (P,) 1 on the object, 0 beside it.
            box: (4,) left, top, right, bottom in pixels of the image.
        """
        ...


@runtime_checkable
class ExemplarSegmenter(Protocol):
    """Segments what is like the objects in example images."""

    @property
    def record(self) -> ModelRecord: ...
    def segment_like(self, images: Sequence[ImageArray], example: ImageArray, mask: Masks) -> list[Masks]:
        """Return one (H, W) mask an image at its own size; mask marks the object in the example."""

    def resemblance(self, image: ImageArray, examples: Sequence[tuple[ImageArray, Masks]]) -> Floats:
        """Return (H, W) scores in 0 to 1: how like the objects of all examples each pixel is; over 0.5 it is of one."""
