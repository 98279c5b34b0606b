"""From a tagger and images with sentences to the arrays that are measured."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.data.captions import CaptionedSet
from openvocab.evaluate.scoring import Watch, looked_ahead
from openvocab.models.taggers.dual_encoder import DualEncoder
from openvocab.pipeline.protocols import Tagger
from openvocab.prompts.templates import PromptSet

__all__ = ["Embedded", "embed_pairs"]

AS_IT_IS = PromptSet("as it is", ("{label}",))
"""Sentences are put into no template."""


@dataclass(frozen=True, eq=False, slots=True)
class Embedded:
    """P images and T sentences as unit rows.

    names            P ids.
    images         (P, D) float32.
    texts            (T, D) float32.
    image_of_text  (T,) int64 index of each sentence's image.
    unread           id and reason of each image that could not be read; its sentences are left out too.
    digest           sha256 of all images' bytes and sentences, in order: the same data gives the same one.
    """

    names: tuple[str, ...]
    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    image_of_text: NDArray[np.int64]
    unread: tuple[tuple[str, str], ...]
    digest: str


def embed_pairs(tagger: Tagger, data: CaptionedSet, *, batch: int = 32, watch: Watch = lambda each: each) -> Embedded:
    """Run both towers of a tagger over images and their sentences, which are used as they are.

    A sentence that is too long for the text tower is cut by its tokenizer, as it is upstream.

    Args:
        watch: wraps the images as they pass, such as in a progress bar.

    Raises:
        BadInput: the tagger has no text tower, or no image could be read.
        BadOutput: an embedding is not finite.
    """
    if not isinstance(tagger, DualEncoder):
        raise BadInput(f"{tagger.record.spec} has no text tower that reads sentences; give a CLIP-like tagger")
    names, unread, digest = list[str](), list[tuple[str, str]](), hashlib.sha256()
    images, texts, owner = [], [], list[int]()
    passing = iter(watch(looked_ahead(tagger, data.images(), batch)))
    while some := list(islice(passing, batch)):
        unread += [(one.item.id, str(seen)) for one, seen in some if isinstance(seen, Exception)]
        good = [(one, *seen) for one, seen in some if not isinstance(seen, Exception)]
        for one, known, _ in good:
            digest.update(f"{known.sha256} {list(one.captions)}\n".encode("utf-8", "surrogatepass"))
            owner += [len(names)] * len(one.captions)
            names.append(one.item.id)
        if good:
            images.append(tagger.encode_images([shown for *_, shown in good]))
            texts.append(tagger.embed([text for one, *_ in good for text in one.captions], AS_IT_IS))
    if not names:
        raise BadInput(f"no image of {data.source!r} could be read{f': {unread[0][1]}' if unread else ''}")
    rows = np.concatenate(images), np.concatenate(texts), np.array(owner, np.int64)
    return Embedded(tuple(names), *rows, tuple(unread), digest.hexdigest())
