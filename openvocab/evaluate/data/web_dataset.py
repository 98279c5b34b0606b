"""The WebDataset layout of CLIP_benchmark: classnames.txt, zeroshot_classification_templates.txt, test/0.tar and so on.

A sample is an image and KEY.cls, the index of its label as text; or KEY.npy, (C,) numbers that are not 0 for the labels
it has, if dataset_type.txt is multilabel. Shards are read as streams and nothing is unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import numpy as np

from openvocab.errors import BadInput
from openvocab.evaluate.data.labeled import LabeledImage, LabeledSet
from openvocab.evaluate.data.safe_read import read_row, read_text, short_repr, tar_files
from openvocab.images.items import Item

__all__ = ["list_shards", "load_web_dataset", "sample_image", "samples"]

MAX_SAMPLE_BYTES = 2**30
"""Maximum size of a sample in bytes: all files of one key, which are in memory together."""

_MOST_SHARDS = 1_000_000
_IMAGES = ("webp", "png", "jpg", "jpeg")


def load_web_dataset(path: str, split: str = "test") -> LabeledSet:
    """Return the data set; {c} in its templates becomes {label}.

    Raises:
        BadInput: a file of the layout is missing or cannot be read; while images are read, a shard is broken, or
            the label of a sample is missing or out of range.
    """
    names = _lines(path, "classnames.txt")
    if not names:
        raise BadInput(f"{os.path.join(path, 'classnames.txt')!r} names no label; write one per line")
    shards = list_shards(path, split)
    kind = (
        _lines(path, "dataset_type.txt")
        if os.path.lexists(os.path.join(path, "dataset_type.txt"))
        else ["classification"]
    )
    if kind[:1] not in (["classification"], ["multilabel"]):
        raise BadInput(f"{path!r} is a data set for {short_repr(' '.join(kind))}; give one for classification")
    multi_label, templates = kind == ["multilabel"], None
    if os.path.lexists(os.path.join(path, "zeroshot_classification_templates.txt")):
        lines = _lines(path, "zeroshot_classification_templates.txt")
        templates = tuple(line.replace("{c}", "{label}") for line in lines if line)
    read = partial(_images, shards, len(names), multi_label)
    label_source = f"the .npy of each sample of {shards[0]!r} and so on"
    return LabeledSet(path, tuple(names), multi_label, read, templates or None, label_source)


def _lines(path: str, name: str) -> list[str]:
    return [line.strip() for line in read_text(os.path.join(path, name)).strip().splitlines()]


def list_shards(path: str, split: str) -> list[str]:
    """Return the shards of a split.

    Raises:
        BadInput: nshards.txt has no number from 1 to a million, or a shard is missing.
    """
    counted = os.path.join(path, split, "nshards.txt")
    text = read_text(counted).strip()
    if not text.isdecimal() or len(text) > len(str(_MOST_SHARDS)) or not 0 < int(text) <= _MOST_SHARDS:
        raise BadInput(f"{counted!r} has {text[:40]!r}; write how many shards there are, up to {_MOST_SHARDS}")
    shards = list[str]()
    for number in range(int(text)):
        shards.append(os.path.join(path, split, f"{number}.tar"))
        if not os.path.isfile(shards[-1]):
            raise BadInput(f"{shards[-1]!r} does not exist, but nshards.txt counts {text} shards; download it")
    return shards


def _images(shards: list[str], labels: int, multi_label: bool) -> Iterator[LabeledImage]:
    for shard in shards:
        for key, parts in samples(shard):
            yield _labeled(f"{shard}::{key}", parts, labels, multi_label)


def samples(shard: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the key of each sample of a shard with its consecutive files, by their suffix after the first dot.

    Raises:
        BadInput: the shard is broken, or a sample is too large.
    """
    key, parts = "", dict[str, bytes]()
    for full, data in tar_files(shard):
        folder, _, name = full.rpartition("/")
        stem, _, suffix = name.partition(".")
        if not suffix:
            continue
        now = f"{folder}/{stem}" if folder else stem
        if now != key and parts:
            yield key, parts
            parts = {}
        key, parts[suffix.lower()] = now, data
        if sum(map(len, parts.values())) > MAX_SAMPLE_BYTES:
            raise BadInput(f"{f'{shard}::{key}'!r} has more than {MAX_SAMPLE_BYTES} bytes; split the sample")
    if parts:
        yield key, parts


def _labeled(name: str, parts: dict[str, bytes], labels: int, multi_label: bool) -> LabeledImage:
    """Return a sample as an image with labels.

    Raises:
        BadInput: it has no image, or its label is missing, has another type, or is out of range.
    """
    image = sample_image(name, parts)
    found = _several(parts, labels) if multi_label else _one(parts, labels)
    if found is None:
        wanted = f".npy of {labels} numbers" if multi_label else f".cls with an integer in 0 to {labels - 1}"
        raise BadInput(f"{name!r} has no {wanted}; classnames.txt has {labels} labels")
    return LabeledImage(Item(name, data=image), found)


def sample_image(name: str, parts: dict[str, bytes]) -> bytes:
    """Return the image of a sample.

    Raises:
        BadInput: it has none.
    """
    image = next((parts[suffix] for suffix in _IMAGES if suffix in parts), None)
    if image is None:
        raise BadInput(f"{name!r} has no image (.webp, .png, .jpg or .jpeg); remove it or add one")
    return image


def _one(parts: dict[str, bytes], labels: int) -> tuple[int, ...] | None:
    text = parts.get("cls", b"").strip()
    return (int(text),) if text.isdigit() and len(text) < 10 and int(text) < labels else None


def _several(parts: dict[str, bytes], labels: int) -> tuple[int, ...] | None:
    row = read_row(parts.get("npy", b""), labels)
    return None if row is None else tuple(np.flatnonzero(row).tolist())
