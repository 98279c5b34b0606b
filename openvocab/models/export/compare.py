"""Compare arrays of an exported stage with those of the torch stage that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from openvocab.models.export.samples import Samples
from openvocab.pipeline.protocols import Boxes

__all__ = ["cosines", "ious_of_best", "points_lost", "share_of"]

Floats = NDArray[np.float32]


def cosines(one: Floats, other: Floats) -> Floats:
    """Return the (N,) cosines of (N, D) rows with (N, D) rows."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(1) / np.maximum(lengths, 1e-12), np.float32)


def ious_of_best(one: Boxes, other: Boxes, count: int) -> Floats:
    """Return, for the best boxes of one answer, the largest IoU with a box of the same label in another answer.

    Args:
        one: N boxes.
        other: M boxes.
        count: How many of the N are compared.
    """
    same = torch.from_numpy(one.label_index[:count, None] == other.label_index)
    ious = box_iou(torch.from_numpy(one.xyxy[:count]), torch.from_numpy(other.xyxy)) * same
    return np.asarray(ious.max(1).values.numpy() if ious.numel() else np.zeros(len(ious)), np.float32)


def share_of(best: NDArray[np.intp], samples: Samples) -> float:
    """Return the share of samples whose (P,) best label is their own."""
    return float((best == np.array(samples.targets)).mean())


def points_lost(checks: Mapping[str, Any]) -> float:
    """Return how many points of top-1 an export lost: of images with labels, else of agreement with the torch model."""
    if "top1" in checks:
        return float(100 * (checks["top1_torch"] - checks["top1"]))
    return float(100 * (1 - checks["top1_agreement"]))
