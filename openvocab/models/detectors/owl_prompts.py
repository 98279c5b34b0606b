"""Queries of OWL-ViT and OWLv2 from words and exemplars together, and queries that are not meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openvocab.errors import BadInput
from openvocab.models.device import unit
from openvocab.pipeline.exemplars.rivals import RIVAL_IOU
from openvocab.pipeline.protocols import ImageArray, Queries

__all__ = [
    "RIVAL_MARGIN",
    "OwlQueries",
    "all_rows",
    "best_labels",
    "check_boxes",
    "mixed",
    "overlaps",
    "scores_of",
    "without_rivals",
]

RIVAL_MARGIN = 2.0
"""Added to the log-odds of a negative exemplar: it is a less certain query than words."""
_MIN_RIVAL = 0.01
"""Boxes on which negative queries score less are no rivals."""


@dataclass(frozen=True, eq=False, slots=True)
class OwlQueries:
    """C queries, and M of what is not meant; indices select rows of the former.

    Attributes:
        rows: (C, D) float32.
        negatives: (M, D) float32; every selection keeps all of them.
        margins: (M,) float32, added to the log-odds of each negative.
    """

    rows: Tensor
    negatives: Tensor
    margins: Tensor

    @classmethod
    def of(cls, rows: Tensor, negatives: Tensor, words: Sequence[bool]) -> OwlQueries | Tensor:
        """Return queries, or the (C, D) rows themselves where there are no negatives; words says which M are words."""
        margins = [0.0 if word else RIVAL_MARGIN for word in words]
        return cls(rows, negatives, torch.tensor(margins).to(rows)) if margins else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Sequence[int] | slice) -> OwlQueries:
        return OwlQueries(self.rows[index], self.negatives, self.margins)


def mixed(text: Tensor | None, exemplars: Tensor) -> Tensor:
    """Return the (D,) query of a label: the mean of its exemplars and its text, which counts as one exemplar more.

    A single exemplar so does not outweigh the words, and exemplars that differ among themselves weigh less;
    docs/guides/prompt-files.md measures it.

    Args:
        text: (D,) of length 1, or None.
        exemplars: (E, D), rows of length 1.
    """
    rows = exemplars if text is None else torch.cat([text[None], exemplars])
    return unit(rows.mean(0, keepdim=True))[0]


def all_rows(queries: Queries) -> Tensor:
    """Return (C + M, D): the queries, and those that are not meant."""
    given = queries.embeddings
    return torch.cat([given.rows, given.negatives]) if isinstance(given, OwlQueries) else torch.as_tensor(given)


def scores_of(xyxy: Tensor, logits: Tensor, queries: Queries) -> Tensor:
    """Return the (N, C) scores in 0 to 1 of (N, 4) boxes, for their (N, C + M) logits."""
    given, count = queries.embeddings, len(queries.labels)
    if not isinstance(given, OwlQueries):
        return logits.sigmoid()
    return without_rivals(xyxy, logits[:, :count].sigmoid(), logits[:, count:] + given.margins.to(logits))


def best_labels(xyxy: Tensor, logits: Tensor, queries: Queries) -> tuple[Tensor, Tensor]:
    """Return the (N,) best scores of (N, 4) boxes and the (N,) indices of their labels, as scores_of."""
    if isinstance(queries.embeddings, OwlQueries):
        made = scores_of(xyxy, logits, queries).max(-1)
        return made.values, made.indices
    best, index = logits.max(-1)
    return best.sigmoid(), index


def without_rivals(xyxy: Tensor, scores: Tensor, negatives: Tensor) -> Tensor:
    """Return (N, C) scores, 0 where a negative query scores more on the same box or one that overlaps it.

    Neighboring places predict boxes of one object. The label may happen to score more than the negative query on some
    of them, and these must fall too.

    Args:
        xyxy: (N, 4) boxes.
        scores: (N, C) in 0 to 1.
        negatives: (N, M) log-odds of the negative queries.
    """
    from torchvision.ops import box_iou

    best = negatives.max(1).values.sigmoid()
    rivals = (best > _MIN_RIVAL).nonzero()[:, 0]
    if not len(rivals):
        return scores
    near = box_iou(xyxy, xyxy[rivals]) > RIVAL_IOU
    against = torch.where(near, best[rivals][None], 0).max(1).values
    return torch.where(scores > against[:, None], scores, 0)


def overlaps(boxes: Tensor, one: Tensor) -> Tensor:
    """Return (N,) intersections over union of (N, 4) boxes with one of (4,), all left, top, right, bottom."""
    from torchvision.ops import box_iou

    return torch.as_tensor(box_iou(boxes, one[None])[:, 0])


def check_boxes(xyxy: NDArray[np.floating[Any]], images: Sequence[ImageArray]) -> Tensor:
    """Return (C, 4) boxes of example images, clipped to them.

    Raises:
        BadInput: there are more or fewer than images, or one is not finite, empty or outside its image.
    """
    given = np.asarray(xyxy, np.float32)
    if given.shape != (len(images), 4):
        raise BadInput(f"boxes of example images must have shape ({len(images)}, 4), got {given.shape}")
    sizes = np.array([(image.shape[1], image.shape[0]) * 2 for image in images], np.float32)
    clipped = np.clip(given, 0, sizes)
    good = np.isfinite(given).all(1) & (clipped[:, 2:] > clipped[:, :2]).all(1)
    if not good.all():
        row = int((~good).argmax())
        raise BadInput(
            f"box {row} of the example images, {given[row].tolist()}, holds no pixel of its image; give left, "
            "top, right, bottom in pixels"
        )
    return torch.from_numpy(clipped)
