"""Fake stages that fail on command, pipelines over them, and images for them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openvocab import Pipeline, Settings
from openvocab.images.decode import decode_item
from openvocab.images.items import Item
from openvocab.images.read import Decoded
from openvocab.pipeline.protocols import Boxes, Queries
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger

LABELS = ("dark", "light", "red")
NAN_COLOR, ERROR_COLOR = (1, 2, 3), (4, 5, 6)
"""Colors of the first pixel of images that the tagger answers with NaN, and that it fails on."""


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's own."""


@dataclass(frozen=True)
class FragileTagger(FakeTagger):
    """A fake tagger that fails on images of certain colors, or where a batch or an image is too large.

    Attributes:
        max_batch: The number of images beyond which a batch runs out of memory.
        max_height: The height in pixels beyond which a single image runs out of memory.
        seconds: How long each image takes.
    """

    max_batch: int = 10**9
    max_height: int = 10**9
    seconds: float = 0.0

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        rows = super().encode_images(images)
        if len(images) > self.max_batch or any(len(image) > self.max_height for image in images):
            raise OutOfMemoryError("the fake tagger ran out of memory")
        time.sleep(self.seconds * len(images))
        if any(tuple(image[0, 0]) == ERROR_COLOR for image in images):
            raise ValueError("the fake tagger fails on this image")
        rows[[tuple(image[0, 0]) == NAN_COLOR for image in images]] = np.nan
        return rows


@dataclass(frozen=True)
class FragileDetector(FakeDetector):
    """A fake detector that runs out of memory where a batch has more than max_batch images."""

    max_batch: int = 10**9

    def detect(self, images: Sequence[np.ndarray], queries: Queries, threshold: float) -> list[Boxes]:
        found = super().detect(images, queries, threshold)
        if len(images) > self.max_batch:
            raise MemoryError
        return found


def tagging(*, batch_size: int = 8, **options: Any) -> Pipeline:
    """A pipeline of a FragileTagger alone."""
    return Pipeline(FragileTagger(**options), None, None, Settings(tag_threshold=0.0, batch_size=batch_size))


def chain(**settings: Any) -> Pipeline:
    """A pipeline of three fake stages that reports all tags and boxes."""
    chosen = Settings(tag_threshold=0.0, box_threshold=0.0).changed(**settings)
    return Pipeline(FragileTagger(), FragileDetector(), FakeSegmenter(), chosen)


def save_images(folder: Path, count: int, *, size: int = 8) -> list[Path]:
    """Write count PNG files, each of a color of its own, in the order of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (size + number % 5, size), (number % 256, number // 256, 90)).save(path)
    return paths


def abort_on_crash_name(item: Item, max_pixels: int, min_side: int | None) -> Decoded:
    """Decode an item, but abort the process, as a broken decoder does, where the item's id contains "crash"."""
    if "crash" in item.id:
        os.abort()
    return decode_item(item, max_pixels, min_side)
