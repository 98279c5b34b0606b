"""A tagger's two towers run over images with captions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.data.captions import CaptionedSet
from openvocab.evaluate.runs.images import Progress, no_progress, prepare_images, readable_batches
from openvocab.models.taggers.dual_encoder import DualEncoder
from openvocab.pipeline.protocols import Tagger
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.templates import PromptSet

__all__ = ["RetrievalRun", "run_retrieval"]

NO_TEMPLATE = PromptSet("as it is", ("{label}",))
"""Captions are encoded as they are."""


@dataclass(frozen=True, eq=False, slots=True)
class RetrievalRun:
    """Embeddings of P images and T captions.

    Attributes:
        names: P ids.
        images: (P, D) float32 of unit length.
        texts: (T, D) float32 of unit length.
        image_of_text: (T,) int64 index of each caption's image.
        unread: Id and error of each image that could not be read; its captions are left out too.
        digest: sha256 over all images' bytes and captions, in order; it identifies the data.
        model: The tagger's record.
    """

    names: tuple[str, ...]
    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    image_of_text: NDArray[np.int64]
    unread: tuple[tuple[str, str], ...]
    digest: str
    model: ModelRecord


def run_retrieval(
    tagger: Tagger, data: CaptionedSet, *, batch: int = 32, progress: Progress = no_progress
) -> RetrievalRun:
    """Encode images and their captions, without a template.

    A caption that is too long for the text tower is truncated by its tokenizer.

    Args:
        tagger: A tagger with a text tower.
        data: The data set.
        batch: Images per batch.
        progress: Wraps the images, for example in a progress bar.

    Raises:
        BadInput: The tagger has no text tower, or no image could be read.
        BadOutput: An embedding is not finite.
    """
    if not isinstance(tagger, DualEncoder):
        raise BadInput(f"{tagger.record.spec} has no text tower that encodes captions; give a CLIP-like tagger")
    names, unread, digest = list[str](), list[tuple[str, str]](), hashlib.sha256()
    images, texts, owner = [], [], list[int]()
    prepared = progress(prepare_images(tagger, data.images(), batch))
    for readable in readable_batches(prepared, batch, lambda one: str(one.item.id), unread):
        for one, (decoded, _) in readable:
            digest.update(f"{decoded.sha256} {list(one.captions)}\n".encode("utf-8", "surrogatepass"))
            owner += [len(names)] * len(one.captions)
            names.append(one.item.id)
        if readable:
            images.append(tagger.encode_images([given for _, (_, given) in readable]))
            texts.append(tagger.embed([text for one, _ in readable for text in one.captions], NO_TEMPLATE))
    if not names:
        raise BadInput(f"no image of {data.source!r} could be read{f': {unread[0][1]}' if unread else ''}")
    rows = np.concatenate(images), np.concatenate(texts), np.array(owner, np.int64)
    return RetrievalRun(tuple(names), *rows, tuple(unread), digest.hexdigest(), tagger.record)
