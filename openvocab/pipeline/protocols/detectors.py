"""What a detector offers to the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.protocols.arrays import Floats, ImageArray, Masks
from openvocab.pipeline.protocols.vocabularies import Queries, QueryRow
from openvocab.pipeline.result import ModelRecord

__all__ = [
    "BatchEncoder",
    "Boxes",
    "Detector",
    "ExemplarDetector",
    "LateFusionDetector",
    "MaskDetector",
    "ProposingDetector",
]

P = TypeVar("P")


@dataclass(frozen=True, eq=False, slots=True)
class Boxes:
    """N boxes of one image before suppression, best first.

    Attributes:
        xyxy: (N, 4) float32 pixels of the image, half-open, clipped to it.
        scores: (N,) float32 in 0 to 1.
        label_index: (N,) int64 into Queries.labels.
        tiles: (N,) int64, the tile that each box was found in; None where the image was not tiled.
    """

    xyxy: Floats
    scores: Floats
    label_index: NDArray[np.int64]
    tiles: NDArray[np.int64] | None = None


class Detector(Protocol):
    """Finds boxes for labels."""

    @property
    def record(self) -> ModelRecord: ...
    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries: ...
    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: all boxes whose best label scores over the threshold."""
        ...


@runtime_checkable
class ProposingDetector(Protocol):
    """A detector that tells objects from the ground, whatever they are.

    Attributes:
        min_objectness: The probability from which on a box counts as an object, where the caller names none.
    """

    @property
    def min_objectness(self) -> float: ...

    def propose(self, image: ImageArray) -> tuple[Floats, Floats]:
        """Return (N, 4) boxes in pixels of the image, clipped to it, and (N,) probabilities that each is an object."""
        ...


@runtime_checkable
class ExemplarDetector(Detector, Protocol):
    """A detector whose queries may also be images of objects, and may be what is not meant."""

    def encode_prompt(
        self, rows: Sequence[QueryRow], negatives: Sequence[QueryRow] = (), template: str | None = None
    ) -> Queries:
        """Encode each row once; detect drops boxes that fit a negative better."""


@runtime_checkable
class MaskDetector(Detector, Protocol):
    """A detector with a mask for each box. Its score is for box and mask together."""

    def detect_masks(
        self, images: Sequence[ImageArray], queries: Queries, threshold: float
    ) -> list[tuple[Boxes, Masks]]:
        """Return for each image what detect returns, and (N, H, W) masks of those boxes at the image's size."""


@runtime_checkable
class LateFusionDetector(Detector, Protocol[P]):
    """A detector that fuses image and text late: its boxes do not depend on the labels, and have a score for each."""

    def encode(self, image: ImageArray) -> P:
        """Encode the image once for all labels."""
        ...

    def score_boxes(self, encoded: P, queries: Queries) -> tuple[Floats, Floats]:
        """Return (N, 4) boxes and (N, C) scores in 0 to 1, in the order of the model's patches.

        Boxes are in pixels of the image and clipped to it; boxes outside the image are dropped. detect returns those
        whose best label scores over its threshold.
        """
        ...


@runtime_checkable
class BatchEncoder(LateFusionDetector[P], Protocol[P]):
    """A late-fusion detector that encodes several images at a time."""

    def encode_batch(self, images: Sequence[ImageArray]) -> list[P]:
        """Return what encode returns for each image."""
        ...
