"""Images with captions: lists with a column of captions, and CLIP_benchmark's WebDataset layout for retrieval.

A column `caption` has one caption per row, and an image may have several rows; a column `captions` has a list, in CSV
a JSON list. In the WebDataset layout a sample is an image and KEY.txt with one caption per line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from openvocab.errors import BadInput
from openvocab.evaluate.data.lists import existing, image_path, read_rows
from openvocab.evaluate.data.safe_read import parse_json, read_text, short_repr
from openvocab.evaluate.data.web_dataset import list_shards, sample_image, samples
from openvocab.images.items import Item

__all__ = ["CaptionedImage", "CaptionedSet", "load_captions"]

_REMEDY = "name one column path, and one caption or captions"


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image and its captions, at least one."""

    item: Item
    captions: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class CaptionedSet:
    """Images with captions, read as a stream.

    Attributes:
        source: The path as given.
        images: Function that returns an iterator over the images, in the same order every time.
    """

    source: str
    images: Callable[[], Iterator[CaptionedImage]]


def load_captions(path: str) -> CaptionedSet:
    """Return a data set of images with captions, in the order of the list or of the shards.

    Images of a list that do not exist are left out, with one warning that has their number and the line of the first.

    Args:
        path: A .csv, .jsonl or .parquet file, or a folder in the WebDataset layout.

    Raises:
        BadInput: the list or the folder cannot be read, or a caption is missing; the message has the file and, if
            known, the line. While shards are read: one is broken, or a sample has no image or no caption.
    """
    if os.path.isdir(path):
        return _from_shards(path)
    rows: dict[str, tuple[int, str, list[str]]] = {}
    for line, row in read_rows(path, ("caption", "captions")):
        file = image_path(path, line, row, _REMEDY)
        rows.setdefault(file, (line, file, []))[2].extend(_captions(path, line, row))
    images = [CaptionedImage(Item(file, file), tuple(own)) for _, file, own in existing(path, list(rows.values()))]
    return CaptionedSet(path, lambda: iter(images))


def _captions(path: str, line: int, row: Mapping[str, Any]) -> Sequence[str]:
    """Return the captions of a row.

    Raises:
        BadInput: there is none, or one is not a string.
    """
    given = row.get("captions")
    if given is None:
        given = [row.get("caption")]
    elif isinstance(given, str):
        remedy = 'write captions as a JSON list, such as ["a dog", "a brown dog"]'
        given = parse_json(given, f"{path!r}, line {line}, has captions that are not a list: the text", remedy)
    if not isinstance(given, list) or not given or not all(isinstance(each, str) and each.strip() for each in given):
        raise BadInput(f"{path!r}, line {line}, has no caption that is a string; {_REMEDY}")
    return given


def _from_shards(path: str) -> CaptionedSet:
    kind = read_text(os.path.join(path, "dataset_type.txt")).strip()
    if kind != "retrieval":
        raise BadInput(
            f"{path!r} is a data set for {short_repr(kind)}; give one for retrieval, or a list with captions"
        )
    return CaptionedSet(path, partial(_read, list_shards(path, "test")))


def _read(shards: Sequence[str]) -> Iterator[CaptionedImage]:
    for shard in shards:
        for key, parts in samples(shard):
            name = f"{shard}::{key}"
            lines = parts.get("txt", b"").decode("utf-8", "replace").splitlines()
            kept = tuple(each for each in lines if each.strip())
            if not kept:
                raise BadInput(f"{name!r} has no .txt with a caption; remove it or add one")
            yield CaptionedImage(Item(name, data=sample_image(name, parts)), kept)
