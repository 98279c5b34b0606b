"""Images of a data set, decoded ahead by threads and grouped into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from openvocab.batch.engine import Reading
from openvocab.batch.prepare import prepare_image
from openvocab.errors import OpenVocabError
from openvocab.evaluate.data.captions import CaptionedImage
from openvocab.evaluate.data.labeled import LabeledImage
from openvocab.images.decode import decode_item
from openvocab.images.items import Item
from openvocab.images.prefetch import prefetch
from openvocab.images.read import Decoded
from openvocab.pipeline.protocols import ImageArray, Prepared, PreparingTagger, Tagger

__all__ = ["Progress", "TaggerInput", "decode_images", "no_progress", "prepare_images", "readable_batches"]

_MAX_BYTES = 2**28
"""Bytes of decoded images in memory at once."""

T = TypeVar("T")
U = TypeVar("U")
AnyImage = TypeVar("AnyImage", LabeledImage, CaptionedImage)

TaggerInput = tuple[Decoded, ImageArray | Prepared]
"""A decoded file, and what the tagger takes: its pixels, or the tensors prepared from them."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]
"""Wraps an iterable of images, for example in a progress bar."""


def no_progress(images: Iterable[Any]) -> Iterable[Any]:
    """Return the images as they are."""
    return images


def readable_batches(
    images: Iterable[tuple[T, U | Exception]], size: int, id_of: Callable[[T], str], unread: list[tuple[str, str]]
) -> Iterator[list[tuple[T, U]]]:
    """Yield batches of the images that could be read; a batch may be empty.

    Args:
        images: Each image with its content, or with the error that reading it raised.
        size: Images per batch, with the unreadable ones.
        id_of: Returns the id of an image.
        unread: Receives the id and the error message of each image that could not be read.
    """
    remaining = iter(images)
    while batch := list(islice(remaining, size)):
        unread += [(id_of(one), str(content)) for one, content in batch if isinstance(content, Exception)]
        yield [(one, content) for one, content in batch if not isinstance(content, Exception)]


def decode_images(items: Iterable[Item], batch: int) -> Iterator[tuple[Item, Decoded | Exception]]:
    """Yield items in order, each with its decoded image or the error that decoding raised."""
    with prefetch(_decode, items, threads=2, depth=2 * batch, size_of=_decoded_bytes, max_bytes=_MAX_BYTES) as ready:
        yield from ready


def prepare_images(
    tagger: Tagger, images: Iterable[AnyImage], batch: int
) -> Iterator[tuple[AnyImage, TaggerInput | Exception]]:
    """Yield images in order, each with the tagger's input or the error that decoding raised.

    The file's bytes are dropped from the yielded image.
    """

    def work(one: AnyImage) -> TaggerInput | Exception:
        return _prepare(tagger, one.item)

    threads = Reading().threads
    with prefetch(work, images, threads=threads, depth=2 * batch, size_of=_input_bytes, max_bytes=_MAX_BYTES) as ready:
        for one, content in ready:
            yield replace(one, item=replace(one.item, data=None)), content


def _prepare(tagger: Tagger, item: Item) -> TaggerInput | Exception:
    decoded = _decode(item)
    if isinstance(decoded, Exception):
        return decoded
    ready = prepare_image(tagger, decoded) if isinstance(tagger, PreparingTagger) else None
    return (decoded, decoded.pixels) if ready is None else (ready.decoded, ready.prepared)


def _decode(item: Item) -> Decoded | Exception:
    try:
        return decode_item(item)
    except (OpenVocabError, MemoryError) as error:
        return error.with_traceback(None)


def _input_bytes(content: TaggerInput | Exception) -> int:
    return 0 if isinstance(content, Exception) else content[1].nbytes


def _decoded_bytes(content: Decoded | Exception) -> int:
    return content.pixels.nbytes if isinstance(content, Decoded) else 0
