"""From a tagger and labeled images to the arrays that are measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from openvocab.batch.engine import Reading
from openvocab.batch.ready import make_ready
from openvocab.errors import BadInput, OpenVocabError
from openvocab.evaluate.data.captions import Captioned
from openvocab.evaluate.data.records import Labeled, LabeledSet
from openvocab.images.decode import decode_item
from openvocab.images.items import Item
from openvocab.images.prefetch import prefetch
from openvocab.images.read import Decoded
from openvocab.pipeline.protocols import ImageArray, Prepared, PreparingTagger, Tagger
from openvocab.prompts.templates import PromptSet

__all__ = ["Looked", "Scored", "Watch", "decoded_ahead", "looked_ahead", "score_images", "score_prompts"]

_ROOM = 2**28

Known = TypeVar("Known", Labeled, Captioned)

Looked = tuple[Decoded, ImageArray | Prepared]
"""What is known of an image's file, and what the tagger is shown: its pixels, or what it made of them."""

Watch = Callable[[Iterable[Any]], Iterable[Any]]
"""Wraps what passes, such as in a progress bar."""


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """What a tagger says of P images, and what is true of them.

    names    P ids.
    labels   C labels.
    logits   (P, C) float32.
    truth    (P, C) bool.
    unread   id and reason of each image that could not be read; it has no row.
    digest   sha256 of all images' bytes and labels, in order: the same data gives the same one.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    logits: NDArray[np.float32]
    truth: NDArray[np.bool_]
    unread: tuple[tuple[str, str], ...]
    digest: str


def score_images(
    tagger: Tagger, data: LabeledSet, prompts: PromptSet, *, batch: int = 32, watch: Watch = lambda each: each
) -> Scored:
    """Run a tagger over a set, with one prompt set; see score_prompts."""
    return score_prompts(tagger, data, [prompts], batch=batch, watch=watch)[0]


def score_prompts(
    tagger: Tagger,
    data: LabeledSet,
    prompts: Sequence[PromptSet],
    *,
    batch: int = 32,
    watch: Watch = lambda each: each,
) -> list[Scored]:
    """Run a tagger over a set once, and score its labels with each of several prompt sets.

    A label that the set holds twice is encoded once and scored the same twice.

    Args:
        watch: wraps the images as they pass, such as in a progress bar.

    Raises:
        BadInput: no image could be read, none of those read has a label, or the labels cannot be used.
        BadOutput: the model's answer is not finite.
    """
    unique = tuple(dict.fromkeys(data.labels))
    texts = [tagger.encode_labels(unique, each) for each in prompts]
    column = [unique.index(label) for label in data.labels]
    names, rows, truth, unread, digest = [], [], [], [], hashlib.sha256()
    passing = iter(watch(looked_ahead(tagger, data.images(), batch)))
    while some := list(islice(passing, batch)):
        good = [(one, *seen) for one, seen in some if not isinstance(seen, Exception)]
        unread += [(one.item.id, str(seen)) for one, seen in some if isinstance(seen, Exception)]
        for one, known, _ in good:
            digest.update(f"{known.sha256} {[data.labels[label] for label in one.labels]}\n".encode())
            names.append(one.item.id)
            truth.append(np.isin(np.arange(len(data.labels)), one.labels))
        if good:
            looked = tagger.encode_images([cast("ImageArray", shown) for *_, shown in good])
            rows.append([tagger.logits(looked, each)[:, column] for each in texts])
    if not rows:
        raise BadInput(f"no image of {data.source!r} could be read{f': {unread[0][1]}' if unread else ''}")
    _require_labels(data, truth)
    same: dict[str, Any] = {"truth": np.stack(truth), "unread": tuple(unread), "digest": digest.hexdigest()}
    return [Scored(tuple(names), data.labels, np.concatenate(each), **same) for each in zip(*rows, strict=True)]


def _require_labels(data: LabeledSet, truth: Sequence[NDArray[np.bool_]]) -> None:
    """Raise BadInput where no image has a label."""
    if not any(each.any() for each in truth):
        said = f"none of the {len(truth)} images of {data.source!r} has a label, so that nothing can be measured"
        raise BadInput(f"{said}; they were looked for in {data.looked_in}; check the path and the annotations")


def decoded_ahead(items: Iterable[Item], batch: int) -> Iterator[tuple[Item, Decoded | Exception]]:
    """Yield items with their pixels, or with why there are none, decoded ahead, in order."""
    with prefetch(_outcome, items, threads=2, depth=2 * batch, size_of=_bytes_of, max_bytes=_ROOM) as ready:
        yield from ready


def looked_ahead(tagger: Tagger, images: Iterable[Known], batch: int) -> Iterator[tuple[Known, Looked | Exception]]:
    """Yield images, without their files' bytes, with what the tagger is shown, made ahead, in order."""

    def work(one: Known) -> Looked | Exception:
        return _looked(tagger, one.item)

    threads = Reading().threads
    with prefetch(work, images, threads=threads, depth=2 * batch, size_of=_bytes_shown, max_bytes=_ROOM) as ready:
        for one, seen in ready:
            yield replace(one, item=replace(one.item, data=None)), seen


def _looked(tagger: Tagger, item: Item) -> Looked | Exception:
    seen = _outcome(item)
    if isinstance(seen, Exception):
        return seen
    ready = make_ready(tagger, seen) if isinstance(tagger, PreparingTagger) else None
    return (seen, seen.pixels) if ready is None else (ready.decoded, ready.prepared)


def _bytes_shown(outcome: Looked | Exception) -> int:
    return 0 if isinstance(outcome, Exception) else outcome[1].nbytes


def _outcome(item: Item) -> Decoded | Exception:
    try:
        return decode_item(item)
    except (OpenVocabError, MemoryError) as error:
        return error.with_traceback(None)


def _bytes_of(outcome: Decoded | Exception) -> int:
    return outcome.pixels.nbytes if isinstance(outcome, Decoded) else 0
