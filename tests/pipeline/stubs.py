"""Stages without weights whose answers are known, and a job over them that a test can start as a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import openvocab
from openvocab import ModelRecord, Pipeline, Settings
from openvocab.images.decode import decode_item
from openvocab.images.items import Item
from openvocab.images.read import Decoded
from openvocab.pipeline.protocols import Boxes, Queries, TextEmbeddings

LABELS = ("dark", "light", "red")
NAN, ODD = (1, 2, 3), (4, 5, 6)
"""Colors of the first pixel of images that the tagger answers with NaN, and that it fails on."""


class OutOfMemoryError(RuntimeError):
    """Named like torch's own."""


@dataclass(frozen=True)
class StubTagger:
    """Scores by the mean color of each image: fast, exact, and different for each.

    most      images at once beyond which memory ends.
    largest   height of an image beyond which memory ends even for one.
    """

    most: int = 10**9
    largest: int = 10**9
    seconds: float = 0.0
    seen: list[int] = field(default_factory=list)
    independent: bool = True
    preparation: str = "mean"
    record: ModelRecord = ModelRecord("stub", "0" * 64, "cpu", "float32")

    def encode_labels(self, labels: Sequence[str], prompts: Any = None) -> TextEmbeddings:
        rows = np.stack([np.roll(np.array([0.6, 0.8, 0.0, 0.0], np.float32), at) for at in range(len(labels))])
        return TextEmbeddings(tuple(labels), prompts or openvocab.prompt_set(), rows)

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.seen.append(len(images))
        if len(images) > self.most or any(len(image) > self.largest for image in images):
            raise OutOfMemoryError("the stub ran out of memory")
        time.sleep(self.seconds * len(images))
        if any(tuple(image[0, 0]) == ODD for image in images):
            raise ValueError("the stub dislikes this image")
        rows = np.stack([[*image.mean((0, 1)), 10.0] for image in images]).astype(np.float32)
        rows[[tuple(image[0, 0]) == NAN for image in images]] = np.nan
        unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def logits(self, embeddings: np.ndarray, vocabulary: TextEmbeddings) -> np.ndarray:
        made: np.ndarray = embeddings @ vocabulary.embeddings.T
        return made

    def scores(self, embeddings: np.ndarray, vocabulary: TextEmbeddings) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-self.logits(embeddings, vocabulary))), np.float32)

    def score(self, images: Sequence[np.ndarray], vocabulary: Any) -> np.ndarray:
        return self.scores(self.encode_images(images), vocabulary)


@dataclass(frozen=True)
class StubDetector:
    """Finds the first label that it is asked for in the upper left quarter."""

    most: int = 10**9
    seen: list[int] = field(default_factory=list)
    record: ModelRecord = ModelRecord("stub", "1" * 64, "cpu", "float32")

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        return Queries(tuple(labels), template or "{label}", np.arange(len(labels)))

    def detect(self, images: Sequence[np.ndarray], queries: Queries, threshold: float) -> list[Boxes]:
        self.seen.append(len(images))
        if len(images) > self.most:
            raise MemoryError
        boxes = [np.array([[0, 0, one.shape[1] / 2, one.shape[0] / 2]], np.float32) for one in images]
        scores = [np.array([one.mean() / 255], np.float32) for one in images]
        return [Boxes(box, score, np.zeros(1, np.int64)) for box, score in zip(boxes, scores, strict=True)]


@dataclass(frozen=True)
class StubSegmenter:
    """Fills each box."""

    record: ModelRecord = ModelRecord("stub", "2" * 64, "cpu", "float32")

    def encode(self, image: np.ndarray) -> tuple[int, int]:
        return image.shape[:2]

    def masks(self, encoded: tuple[int, int], xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        masks = np.zeros((len(xyxy), *encoded), bool)
        for mask, (left, top, right, bottom) in zip(masks, xyxy.astype(int), strict=True):
            mask[top:bottom, left:right] = True
        return masks, np.ones(len(xyxy), np.float32)


def tagging(*, batch_size: int = 8, **options: Any) -> Pipeline:
    return Pipeline(StubTagger(**options), None, None, Settings(tag_threshold=0.0, batch_size=batch_size))


def chain(**settings: Any) -> Pipeline:
    chosen = Settings(tag_threshold=0.0, box_threshold=0.0).changed(**settings)
    return Pipeline(StubTagger(), StubDetector(), StubSegmenter(), chosen)


def save_images(folder: Path, count: int, *, size: int = 8) -> list[Path]:
    """Write count PNG files, each of a color of its own, in the order of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (size + number % 5, size), (number % 256, number // 256, 90)).save(path)
    return paths


def abort_on_magic(item: Item, max_pixels: int, least_side: int | None) -> Decoded:
    """Decode, but die as a broken decoder does where the name says so."""
    if "crash" in item.id:
        os.abort()
    return decode_item(item, max_pixels, least_side)


class NoPandas(MetaPathFinder):
    """Hides pandas, which pyarrow would load where it is installed, and which takes longer to load than the job."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname, name=fullname)


def main() -> int:
    """Run the command line over the stubs: stubs.py SECONDS_A_IMAGE ARGUMENTS.

    `ready` is said once a small run of its own has loaded all there is to load, so that a clock started then measures
    the run and not the imports.
    """
    from tempfile import TemporaryDirectory

    sys.meta_path.insert(0, NoPandas())

    from openvocab.ui.cli.main import main as command

    with TemporaryDirectory(ignore_cleanup_errors=True, dir=None if os.access("/tmp", os.W_OK) else ".") as place:
        tagging().run_to(Path(place, "run"), save_images(Path(place, "p"), 2), LABELS)

    made = tagging(seconds=float(sys.argv[1]))
    pipes = {"tag": made, "annotate": chain()}
    vars(openvocab)["load"] = lambda *_, **__: pipes[sys.argv[2]]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return command(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
