"""Masks from true boxes against true masks: the IoU of each, and of labels as areas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.arrays import check_seed
from openvocab.evaluate.bootstrap import DRAWS, Estimate, estimate
from openvocab.evaluate.chain import OVERLAP, ratio
from openvocab.evaluate.detection import Found, Masks, MeanIoU, Truth, mean_iou, paired_iou
from openvocab.pipeline.masks import decode_mask, encode_mask

__all__ = ["GROUND", "Cut", "cut_figures", "semantic_iou"]

GROUND = "(nothing)"
"""What pixels in no mask are called; a label like the others, as in Pascal VOC."""

_IGNORE = 65535


@dataclass(frozen=True, slots=True)
class Cut:
    """Masks from true boxes; crowds are left out. A figure that is not defined, without a thing, is NaN or None.

    things     how many things there are.
    mean_iou   the mean IoU of a thing's mask.
    share      the share of the things whose mask has IoU 0.5 or more.
    per_label  label -> the mean IoU of its things; None where there is none.
    """

    things: int
    mean_iou: Estimate
    share: Estimate
    per_label: dict[str, float | None]


def cut_figures(
    truth: Sequence[Truth], cut: Sequence[Found], labels: Sequence[str], *, seed: int = 0, draws: int = DRAWS
) -> Cut:
    """Return the figures of masks from true boxes, with bootstrap 95 % intervals over the images.

    Args:
        truth: P images with masks.
        cut: for each, as many masks as it has things, in the same order.
        labels: C labels.
        seed, draws: of the bootstrap.

    Raises:
        BadInput: masks are missing or not one for each thing, or seed or draws is out of range.
    """
    check_seed(seed, labels, draws)
    ious, kept = [], []
    for number, (one, other) in enumerate(zip(truth, cut, strict=True)):
        if one.masks is None or other.masks is None or not len(one.masks) == len(other.masks) == len(one.label_index):
            raise BadInput(f"image {number} has not one true mask and one to compare for each thing; give them all")
        counts = np.ones(len(one.label_index), bool) if one.crowd is None else ~one.crowd
        ious.append(paired_iou(list(one.masks), list(other.masks))[counts])
        kept.append(one.label_index[counts])
    every, named = np.concatenate(ious), np.concatenate(kept).astype(np.int64)
    number_of = np.array([len(each) for each in ious], np.float64)
    sums = (np.array([each.sum() for each in ious]), np.array([(each >= OVERLAP).sum() for each in ious], np.float64))
    mean, share = (estimate(ratio(each, number_of), len(ious), seed, draws) for each in sums)
    per_label = {
        label: float(every[named == row].mean()) if (named == row).any() else None for row, label in enumerate(labels)
    }
    return Cut(len(every), mean, share, per_label)


def semantic_iou(truth: Sequence[Truth], found: Sequence[Found], labels: Sequence[str]) -> MeanIoU:
    """Return the mean IoU of labels as areas, what is in no mask being a label of its own; see detection.mean_iou.

    Where true masks overlap, the smaller is on top, and where masks that were found do, the one that scores more.
    Pixels of crowds are left out.

    Raises:
        BadInput: masks are missing, or there is no image.
    """
    if any(one.masks is None for one in truth) or any(one.masks is None for one in found):
        raise BadInput("there are no masks to compare; give masks of what is there and of what was found")
    known = _Painted([_known(one) for one in truth], len(labels))
    said = _Painted(
        [_said(one, size=(other.height, other.width)) for one, other in zip(found, truth, strict=True)], len(labels)
    )
    return mean_iou(known, said, [*labels, GROUND], ignore=_IGNORE)


@dataclass(frozen=True, slots=True)
class _Layers:
    """Masks and the values of their pixels, the lowest first."""

    size: tuple[int, int]
    masks: tuple[Any, ...]
    values: tuple[int, ...]


def _known(one: Truth) -> _Layers:
    from pycocotools import mask as coco_mask

    masks = _codes(one.masks)
    order = np.argsort([-float(coco_mask.area(each)) for each in masks], kind="stable")
    crowd = np.zeros(len(masks), bool) if one.crowd is None else one.crowd
    order = order[np.argsort(~crowd[order], kind="stable")] if len(order) else order.astype(int)
    values = (_IGNORE if crowd[row] else int(one.label_index[row]) for row in order)
    return _Layers((one.height, one.width), tuple(masks[row] for row in order), tuple(values))


def _said(one: Found, size: tuple[int, int]) -> _Layers:
    masks, order = _codes(one.masks), np.argsort(one.scores, kind="stable")
    return _Layers(size, tuple(masks[row] for row in order), tuple(int(one.label_index[row]) for row in order))


def _codes(masks: Masks | None) -> list[Any]:
    if isinstance(masks, np.ndarray):
        return [encode_mask(mask) for mask in masks]
    return list(masks or ())


class _Painted(Sequence[NDArray[Any]]):
    """Images of labels, (H, W) uint16 each, painted when they are asked for, so that memory stays flat."""

    def __init__(self, layers: Sequence[_Layers], ground: int) -> None:
        self._layers, self._ground = layers, ground

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, place: Any) -> Any:
        layers = self._layers[place]
        canvas = np.full(layers.size, self._ground, np.uint16)
        for mask, value in zip(layers.masks, layers.values, strict=True):
            canvas[decode_mask(mask)] = value
        return canvas

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[place] for place in range(len(self)))
