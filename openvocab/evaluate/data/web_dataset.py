"""The WebDataset layout of CLIP_benchmark: classnames.txt, zeroshot_classification_templates.txt, test/0.tar and so on.

A sample is a picture and KEY.cls, the index of its label as text; or KEY.npy, (C,) numbers of which those that are not
0 say which labels it has, where dataset_type.txt says multilabel. Shards are read as streams and nothing is unpickled.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from io import BytesIO

import numpy as np

from openvocab.errors import BadInput
from openvocab.evaluate.data.records import Labelled, LabelledSet
from openvocab.pipeline.batch.sources import Item
from openvocab.prompts.files import is_file, read_text

__all__ = ["load_web_dataset", "picture_of", "samples", "shards_of"]

_PICTURES = ("webp", "png", "jpg", "jpeg")


def load_web_dataset(path: str, split: str = "test") -> LabelledSet:
    """Return the set; {c} in its templates is written {label}.

    Raises:
        BadInput: a file of the layout is missing or cannot be read; while pictures are read, a shard that is broken or
            a sample whose label is missing or out of range.
    """
    names = _lines(path, "classnames.txt")
    if not names:
        raise BadInput(f"{os.path.join(path, 'classnames.txt')!r} names no label; write one a line")
    shards = shards_of(path, split)
    kind = _lines(path, "dataset_type.txt") if is_file(os.path.join(path, "dataset_type.txt")) else ["classification"]
    if kind[:1] not in (["classification"], ["multilabel"]):
        raise BadInput(f"{path!r} is a set for {' '.join(kind)!r}; give one for classification")
    several, templates = kind == ["multilabel"], None
    if is_file(os.path.join(path, "zeroshot_classification_templates.txt")):
        said = _lines(path, "zeroshot_classification_templates.txt")
        templates = tuple(line.replace("{c}", "{label}") for line in said if line)
    read = partial(_pictures, shards, len(names), several)
    return LabelledSet(path, tuple(names), several, read, templates or None)


def _lines(path: str, name: str) -> list[str]:
    return [line.strip() for line in read_text(os.path.join(path, name)).strip().splitlines()]


def shards_of(path: str, split: str) -> list[str]:
    """Return the shards of a split.

    Raises:
        BadInput: one that nshards.txt counts is not there.
    """
    counted = os.path.join(path, split, "nshards.txt")
    text = read_text(counted).strip()
    if not text.isdecimal() or not int(text):
        raise BadInput(f"{counted!r} says {text[:40]!r}; write how many shards there are")
    shards = [os.path.join(path, split, f"{number}.tar") for number in range(int(text))]
    for shard in shards:
        if not os.path.isfile(shard):
            raise BadInput(f"{shard!r} does not exist, though nshards.txt counts {text} shards; fetch it")
    return shards


def _pictures(shards: list[str], labels: int, several: bool) -> Iterator[Labelled]:
    for shard in shards:
        for key, parts in samples(shard):
            yield _labelled(f"{shard}::{key}", parts, labels, several)


def samples(shard: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield key and files of each sample of a shard, which follow each other, by the name behind the first dot.

    Raises:
        BadInput: the shard is broken.
    """
    try:
        yield from _samples(shard)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise BadInput(f"{shard!r} is broken ({error}); fetch it again") from error


def _samples(shard: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    key, parts = "", dict[str, bytes]()
    with tarfile.open(shard, "r|*") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            if not member.isreg() or not suffix:
                continue
            now = f"{folder}/{stem}" if folder else stem
            if now != key and parts:
                yield key, parts
                parts = {}
            key = now
            file = tar.extractfile(member)
            parts[suffix.lower()] = b"" if file is None else file.read()
    if parts:
        yield key, parts


def _labelled(name: str, parts: dict[str, bytes], labels: int, several: bool) -> Labelled:
    """Return a sample as a picture with labels.

    Raises:
        BadInput: it has no picture, or its label is missing, of another kind, or out of range.
    """
    picture = picture_of(name, parts)
    found = _several(parts, labels) if several else _one(parts, labels)
    if found is None:
        wanted = f".npy of {labels} numbers" if several else f".cls with a whole number in 0 to {labels - 1}"
        raise BadInput(f"{name!r} has no {wanted}; classnames.txt has {labels} labels")
    return Labelled(Item(name, data=picture), found)


def picture_of(name: str, parts: dict[str, bytes]) -> bytes:
    """Return the picture of a sample.

    Raises:
        BadInput: it has none.
    """
    picture = next((parts[suffix] for suffix in _PICTURES if suffix in parts), None)
    if picture is None:
        raise BadInput(f"{name!r} has no picture (.webp, .png, .jpg or .jpeg); drop it or add one")
    return picture


def _one(parts: dict[str, bytes], labels: int) -> tuple[int, ...] | None:
    text = parts.get("cls", b"").strip()
    return (int(text),) if text.isdigit() and int(text) < labels else None


def _several(parts: dict[str, bytes], labels: int) -> tuple[int, ...] | None:
    try:
        row = np.load(BytesIO(parts["npy"]), allow_pickle=False)
    except (KeyError, ValueError, EOFError):
        return None
    return tuple(np.flatnonzero(row).tolist()) if row.shape == (labels,) else None
