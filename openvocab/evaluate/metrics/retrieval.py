"""Image-text retrieval: recall at k in both directions.

Similarities are computed in blocks, so memory does not grow with images times texts. Products are summed in float64
and compared in float32; equal similarities keep the order of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, BadOutput, counted
from openvocab.evaluate.metrics.bootstrap import RESAMPLES, Estimate, estimate, mean_of, ratio_of
from openvocab.evaluate.metrics.checks import check_count, check_indices

__all__ = ["BLOCK_BYTES", "RetrievalMetrics", "retrieval_metrics"]

BLOCK_BYTES = 2**26
"""Maximum size of a block of similarities in bytes."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RetrievalMetrics:
    """Recall at each k with its 95 % interval; the bootstrap draws images together with their texts.

    Attributes:
        images: Number of images.
        texts: Number of texts.
        image_to_text: k -> share of images with at least one of their own texts among the k best texts.
        text_to_image: k -> share of texts whose image is among the k best images.
    """

    images: int
    texts: int
    image_to_text: dict[int, Estimate]
    text_to_image: dict[int, Estimate]


def retrieval_metrics(
    images: NDArray[Any],
    texts: NDArray[Any],
    image_of_text: NDArray[Any],
    *,
    at: Sequence[int] = (1, 5, 10),
    block_bytes: int = BLOCK_BYTES,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> RetrievalMetrics:
    """Return recall in both directions.

    Args:
        images: (P, D) embeddings of unit length.
        texts: (T, D) embeddings of unit length.
        image_of_text: (T,) index of the image of each text; every image needs a text.
        at: Values of k.
        block_bytes: Maximum size of a block of similarities; it does not change the result.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        BadInput: An array has another shape, an index is out of range, an image has no text, or k, seed or resamples
            is too small.
        BadOutput: An embedding is not finite; the message names its index.
    """
    for name, value, minimum in (("seed", seed, 0), ("resamples", resamples, 1), *(("at", k, 1) for k in at)):
        check_count(name, value, minimum)
    text_counts = _texts_per_image(images, texts, image_of_text)
    own_texts = np.split(np.argsort(image_of_text, kind="stable"), np.cumsum(text_counts)[:-1])
    image_ranks = _ranks(images, texts, own_texts, block_bytes)
    text_ranks = _ranks(texts, images, [np.array([index]) for index in image_of_text], block_bytes)
    hits = {k: np.bincount(image_of_text, text_ranks < k, len(images)).astype(np.float64) for k in at}
    totals = text_counts.astype(np.float64)
    return RetrievalMetrics(
        len(images),
        len(texts),
        {k: estimate(mean_of(image_ranks < k), len(images), seed, resamples) for k in at},
        {k: estimate(ratio_of(hits[k], totals), len(images), seed, resamples) for k in at},
    )


def _texts_per_image(images: NDArray[Any], texts: NDArray[Any], image_of_text: NDArray[Any]) -> Indices:
    """Check the arrays and return (P,) the number of texts of each image.

    Raises:
        BadInput: An array has another shape, an index is out of range, or an image has no text.
        BadOutput: An embedding is not finite.
    """
    _check_embeddings("images", images, images.shape[-1])
    _check_embeddings("texts", texts, images.shape[-1])
    check_indices("image_of_text", image_of_text, (len(texts),), len(images))
    counts: Indices = np.bincount(image_of_text, minlength=len(images))
    without = np.flatnonzero(counts == 0)
    if len(without):
        found = counted(len(without), "image has", "images have")
        raise BadInput(f"{found} no text, the first is image {without[0]}; drop them or add a text")
    return counts


def _check_embeddings(name: str, rows: NDArray[Any], width: int) -> None:
    """Raise unless rows are (N, width) finite numbers with N >= 1."""
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != width:
        raise BadInput(f"{name} must be embeddings of shape (at least 1, {width}), got {rows.shape}")
    invalid = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(invalid):
        raise BadOutput(f"embedding {invalid[0]} of {name} is not finite; run the model in float32")


def _ranks(queries: NDArray[Any], gallery: NDArray[Any], own: Sequence[NDArray[np.intp]], block_bytes: int) -> Indices:
    """Return for each query how many gallery rows rank before the first of its own rows."""
    columns = gallery.astype(np.float64).T
    size = max(1, block_bytes // (8 * len(gallery)))
    ranks = np.zeros(len(queries), np.int64)
    for start in range(0, len(queries), size):
        scores = (queries[start : start + size].astype(np.float64) @ columns).astype(np.float32)
        for row, line in enumerate(scores, start):
            first = own[row][line[own[row]].argmax()]
            ranks[row] = (line > line[first]).sum() + (line[:first] == line[first]).sum()
    return ranks
