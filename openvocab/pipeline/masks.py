"""Masks as COCO run-length encoding, and the box around a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EncodedMasks",
    "Masks",
    "Rows",
    "decode_mask",
    "encode_mask",
    "mask_box",
    "mask_json",
    "nonempty",
    "row_indices",
]

Rows = Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_] | slice
"""What selects rows: their indices, one bool a row, or a slice."""


def row_indices(rows: Rows, count: int) -> NDArray[np.intp]:
    """Return the indices of the rows that are selected of count rows, as NumPy selects them.

    Raises:
        IndexError: there is no such row.
    """
    index = rows if isinstance(rows, slice) else np.asarray(rows)
    if isinstance(index, np.ndarray) and not index.size:
        index = index.astype(np.intp)
    return np.arange(count)[index]


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return an (H, W) mask as COCO run-length encoding: {"size": [H, W], "counts": bytes}."""
    from pycocotools import mask as coco_mask

    code: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return code


def mask_json(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return an (H, W) mask as COCO writes it in JSON: {"size": [H, W], "counts": str}."""
    code = encode_mask(mask)
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def decode_mask(code: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return the (H, W) mask of a COCO run-length encoding; its counts are bytes or text."""
    from pycocotools import mask as coco_mask

    mask: NDArray[np.bool_] = coco_mask.decode(dict(code)).astype(bool)
    return mask


def mask_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """Return left, top, right, bottom around an (H, W) mask in pixels, half-open; None for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def nonempty(masks: Masks) -> NDArray[np.bool_]:
    """Return (N,) whether each of (N, H, W) masks has a pixel."""
    if isinstance(masks, EncodedMasks):
        return masks.areas > 0
    return np.asarray(masks.any(axis=(1, 2)), np.bool_)


@dataclass(frozen=True, slots=True)
class EncodedMasks:
    """N masks of one image as COCO run-length encoding, decoded when they are indexed.

    `masks[0]` is one (H, W) bool array, `masks[rows]` with indices, a slice or a (N,) bool array is the encoded masks
    of several rows, and `np.asarray(masks)` is all of them as (N, H, W) bool.

    Attributes:
        counts: N compressed run-length counts, as pycocotools writes them.
        height: rows of the image in pixels.
        width: columns of the image in pixels.
    """

    counts: tuple[str, ...]
    height: int
    width: int

    @classmethod
    def encode(cls, masks: NDArray[np.bool_]) -> EncodedMasks:
        """Encode (N, H, W) bool masks."""
        return cls(tuple(encode_mask(mask)["counts"].decode() for mask in masks), *masks.shape[1:])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W) of the decoded masks."""
        return len(self.counts), self.height, self.width

    @property
    def areas(self) -> NDArray[np.int64]:
        """(N,) pixels of each mask."""
        from pycocotools import mask as coco_mask

        return np.array([coco_mask.area(self.rle(row)) for row in range(len(self))], np.int64)

    def rle(self, row: int) -> dict[str, Any]:
        """Return one mask as COCO writes it in JSON: {"size": [H, W], "counts": str}."""
        return {"size": [self.height, self.width], "counts": self.counts[row]}

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> NDArray[np.bool_]: ...
    @overload
    def __getitem__(self, rows: Rows) -> EncodedMasks: ...
    def __getitem__(self, rows: int | np.integer[Any] | Rows) -> NDArray[np.bool_] | EncodedMasks:
        if isinstance(rows, int | np.integer):
            return decode_mask(self.rle(int(rows)))
        chosen = row_indices(rows, len(self))
        return EncodedMasks(tuple(self.counts[row] for row in chosen), self.height, self.width)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Decode to (N, H, W) bool.

        Raises:
            ValueError: copy is False; decoding makes a new array.
        """
        if copy is False:
            raise ValueError("encoded masks cannot be decoded without a copy")
        decoded = np.zeros(self.shape, np.bool_)
        for row, mask in enumerate(self):
            decoded[row] = mask
        return decoded if dtype is None else decoded.astype(dtype)


Masks = NDArray[np.bool_] | EncodedMasks
"""(N, H, W) bool, or the same run-length encoded."""
