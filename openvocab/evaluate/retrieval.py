"""Retrieval: is an image's own text among the best ones, and a text's own image?

Both directions are computed in blocks, so that memory does not grow with images times texts. Products are summed in
float64 and compared in float32; what is equal then is ranked in the order given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, BadOutput
from openvocab.evaluate.arrays import check_count, check_indices
from openvocab.evaluate.bootstrap import DRAWS, Estimate, Figure, estimate, share

__all__ = ["BLOCK_BYTES", "Retrieval", "retrieve"]

BLOCK_BYTES = 2**26
"""The most bytes of a block of scores."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Recall at each k, with its 95 % interval; the bootstrap draws images, each with its texts.

    images, texts    how many there are.
    image_to_text    k -> share of images with at least one of their own texts among the k best texts.
    text_to_image    k -> share of texts whose image is among the k best images.
    """

    images: int
    texts: int
    image_to_text: dict[int, Estimate]
    text_to_image: dict[int, Estimate]


def retrieve(
    images: NDArray[Any],
    texts: NDArray[Any],
    image_of_text: NDArray[Any],
    *,
    at: Sequence[int] = (1, 5, 10),
    block_bytes: int = BLOCK_BYTES,
    seed: int = 0,
    draws: int = DRAWS,
) -> Retrieval:
    """Return the recall both ways.

    Args:
        images: (P, D) embeddings, rows of length 1.
        texts: (T, D) embeddings, rows of length 1.
        image_of_text: (T,) index of the image that each text belongs to; every image needs a text.
        at: the values of k.
        block_bytes: the most bytes of a block of scores; it changes no figure.
        seed: of the bootstrap; the same seed gives the same intervals.
        draws: how often the bootstrap draws.

    Raises:
        BadInput: arrays of other shapes, an index out of range, an image without a text, or a k below 1; or a seed or
            a number of draws that is too small.
        BadOutput: an embedding is not finite; the message has its index.
    """
    for name, value, least in (("seed", seed, 0), ("draws", draws, 1), *(("at", k, 1) for k in at)):
        check_count(name, value, least)
    many = _texts_of_each(images, texts, image_of_text)
    of_images = _ranks(images, texts, _owned(image_of_text, len(images)), block_bytes)
    of_texts = _ranks(texts, images, [np.array([index]) for index in image_of_text], block_bytes)
    found = {k: np.bincount(image_of_text, of_texts < k, len(images)) for k in at}
    return Retrieval(
        len(images),
        len(texts),
        {k: estimate(share(of_images < k), len(images), seed, draws) for k in at},
        {k: estimate(_among(found[k], many), len(images), seed, draws) for k in at},
    )


def _texts_of_each(images: NDArray[Any], texts: NDArray[Any], image_of_text: NDArray[Any]) -> Indices:
    """Return (P,) how many texts each image has, after a look at all three arrays.

    Raises:
        BadInput: arrays of other shapes, an index out of range, or an image without a text.
        BadOutput: an embedding is not finite.
    """
    _check("images", images, images.shape[-1])
    _check("texts", texts, images.shape[-1])
    check_indices("image_of_text", image_of_text, (len(texts),), len(images))
    many: Indices = np.bincount(image_of_text, minlength=len(images))
    without = np.flatnonzero(many == 0)
    if len(without):
        raise BadInput(f"image {without[0]} has no text, as {len(without)} have none; drop them or give them one")
    return many


def _among(found: NDArray[Any], many: NDArray[Any]) -> Figure:
    """Return the figure that is the share of the drawn images' texts, of which each image has many, found."""
    return lambda counts: (counts @ found) / (counts @ many.astype(np.float64))


def _check(name: str, rows: NDArray[Any], width: int) -> None:
    """Raise unless rows are (any, width) finite numbers."""
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != width:
        raise BadInput(f"{name} must be embeddings of shape (at least 1, {width}), got {rows.shape}")
    odd = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(odd):
        raise BadOutput(f"embedding {odd[0]} of {name} is not finite; run the model in float32")


def _owned(image_of_text: NDArray[Any], images: int) -> list[NDArray[np.intp]]:
    """Return the texts of each image."""
    order = np.argsort(image_of_text, kind="stable")
    return np.split(order, np.cumsum(np.bincount(image_of_text, minlength=images))[:-1])


def _ranks(asking: NDArray[Any], asked: NDArray[Any], own: Sequence[NDArray[np.intp]], block_bytes: int) -> Indices:
    """Return how many of those asked come before the first own one, for each that asks."""
    columns = asked.astype(np.float64).T
    size = max(1, block_bytes // (8 * len(asked)))
    ranks = np.zeros(len(asking), np.int64)
    for start in range(0, len(asking), size):
        scores = (asking[start : start + size].astype(np.float64) @ columns).astype(np.float32)
        for row, line in enumerate(scores, start):
            mine = own[row]
            first = mine[line[mine].argmax()]
            ranks[row] = (line > line[first]).sum() + (line[:first] == line[first]).sum()
    return ranks
