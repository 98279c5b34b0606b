"""Boxes and masks of an image by its tiles; a few tiles are in memory at a time, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.pipeline.candidates import CandidateLimits, Candidates, find_candidates
from openvocab.pipeline.masks import EncodedMasks, encode_mask
from openvocab.pipeline.protocols import Detector, ImageArray, MaskDetector, Queries, Segmenter
from openvocab.pipeline.tiles import Tiling, by_window, crop, whole_boxes

__all__ = ["TileMasks", "detect_tiles", "segment_tiles"]

Floats = NDArray[np.float32]

_BOXES_A_CALL = 16
"""Masks of a window that are not encoded yet; a window may be the whole image."""


class TileMasks:
    """Masks of tiles, encoded in the size of the image."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Start with no mask of an image of (height, width) pixels."""
        self._canvas = np.zeros(size, np.bool_, order="F")  # the order in which COCO counts
        self._counts: list[str] = []

    def add(self, mask: NDArray[np.bool_], window: NDArray[np.int64]) -> None:
        """Append the (h, w) mask of a window, (4,) left, top, right, bottom in pixels of the image."""
        left, top, right, bottom = window
        self._canvas[top:bottom, left:right] = mask
        self._counts.append(encode_mask(self._canvas)["counts"].decode())
        self._canvas[top:bottom, left:right] = False

    def encoded(self, order: NDArray[np.intp] | None = None) -> EncodedMasks:
        """Return the masks as they were added, or in an order of indices."""
        counts = self._counts if order is None else [self._counts[at] for at in order]
        height, width = self._canvas.shape
        return EncodedMasks(tuple(counts), height, width)


def detect_tiles(
    detector: Detector,
    with_masks: MaskDetector | None,
    queries: Queries,
    wanted: NDArray[np.intp],
    limits: CandidateLimits,
    image: ImageArray,
    tiling: Tiling,
    batch: int,
) -> Candidates:
    """Return the candidates of an image and its tiles, without those that a seam may cut.

    Args:
        detector: See find_candidates, as the next four.
        with_masks: The detector, if its own masks are used.
        queries: The C labels.
        wanted: Indices of the labels to detect.
        limits: Which boxes to keep.
        image: (H, W, 3) uint8 RGB.
        tiling: The windows.
        batch: Windows that the detector gets at once.

    Raises:
        BadOutput: the model's answer is not finite.
    """
    parts, masks, windows = list[Candidates](), TileMasks(image.shape[:2]), tiling.windows
    for start in range(0, len(windows), batch):
        block = windows[start : start + batch]
        crops = [crop(image, window) for window in block]
        found = find_candidates(detector, crops, queries, wanted, limits, with_masks=with_masks)
        for at, (window, one) in enumerate(zip(block, found, strict=True), start):
            xyxy, rows = whole_boxes(one.xyxy, window, image.shape[:2])
            parts.append(Candidates(xyxy, one.scores[rows], one.min_score, one.best, tiles=np.full(len(rows), at)))
            for mask in () if one.masks is None else one.masks[rows]:
                masks.add(mask, window)
    joined = _joined(parts)
    ones = np.ones(len(joined.xyxy), np.float32)
    return joined if with_masks is None else replace(joined, masks=masks.encoded(), mask_scores=ones)


def _joined(parts: Sequence[Candidates]) -> Candidates:
    """Concatenate the candidates of tiles, at least one."""
    return Candidates(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.scores for part in parts]),
        max(part.min_score for part in parts),
        np.max([part.best for part in parts], axis=0),
        tiles=np.concatenate([part.tiles for part in parts if part.tiles is not None]),
    )


def segment_tiles(
    segmenter: Segmenter[Any], image: ImageArray, xyxy: Floats, tiling: Tiling, encoded: Any = None
) -> tuple[EncodedMasks, Floats]:
    """Return the masks of (N, 4) boxes and their (N,) scores, each from the window that suits its box.

    A window is encoded once for all its boxes, and one encoding is in memory at a time.

    Args:
        segmenter: The segmenter.
        image: (H, W, 3) uint8 RGB.
        xyxy: In pixels of the image.
        tiling: The windows.
        encoded: The segmenter's encoding of the whole image, where the caller has it already.

    Raises:
        BadOutput: the model's answer is not finite.
    """
    masks, scores, order = TileMasks(image.shape[:2]), np.zeros(len(xyxy), np.float32), list[int]()
    for window, rows, inside in by_window(xyxy, tiling.mask_windows(xyxy)):
        whole = np.array_equal(window, tiling.windows[0])
        encoding = encoded if whole and encoded is not None else segmenter.encode(crop(image, window))
        for start in range(0, len(rows), _BOXES_A_CALL):
            block = slice(start, start + _BOXES_A_CALL)
            own, scores[rows[block]] = segmenter.masks(encoding, inside[block])
            for mask in own:
                masks.add(mask, window)
        order += rows.tolist()
    return masks.encoded(np.argsort(order)), scores
