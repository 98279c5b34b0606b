"""The engine alone: images per second of one process where models and decoding take no time.

    python -m benchmarks.engine --images 100000

A stub tagger answers with random scores made before, and decoding returns one prepared image; what is left is the
engine: threads, batches, tags, presence and rows. With --profile the calls that take longest are listed.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import add_out, report
from openvocab import Pipeline, Settings
from openvocab.batch import engine as engines
from openvocab.batch.engine import Engine, Reading
from openvocab.images.items import Item
from openvocab.images.read import Decoded
from openvocab.pipeline.protocols import TextEmbeddings
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.templates import PromptSet, prompt_set

Floats = NDArray[np.float32]
_ROWS = 256
"""Images whose random scores are made before; they are used in turn."""


@dataclass(frozen=True)
class StubTagger:
    """Answers with the scores of a table.

    Attributes:
        table: (_ROWS, C) logits.
    """

    table: Floats
    record: ModelRecord = ModelRecord("stub:tagger", "0" * 64, "cpu", "float32")
    independent: bool = True
    preparation: str = "none"

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        return TextEmbeddings(tuple(labels), prompts or prompt_set(), np.zeros((len(labels), 4), np.float32))

    def encode_images(self, images: Sequence[Any]) -> Floats:
        return np.zeros((len(images), 4), np.float32)

    def logits(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        return np.resize(self.table, (len(features), self.table.shape[1]))

    def scores(self, features: Floats, vocabulary: TextEmbeddings) -> Floats:
        return np.asarray(1 / (1 + np.exp(-self.logits(features, vocabulary))), np.float32)

    def score(self, images: Sequence[Any], vocabulary: Any) -> Floats:
        return self.scores(self.encode_images(images), vocabulary)


def rate(images: int, labels: int, batch: int, rows: bool, workers: int) -> float:
    """Return images per second of the engine; rows says whether each answer is made into a row too."""
    rng = np.random.default_rng(0)
    table = rng.normal(-10, 2, (_ROWS, labels)).astype(np.float32)
    table[np.arange(_ROWS)[:, None], rng.integers(0, labels, (_ROWS, 3))] = 3  # about three tags an image
    pipe = Pipeline(StubTagger(table), None, None, Settings(tag_threshold=0.5, batch_size=batch))
    made = Decoded(np.zeros((8, 8, 3), np.uint8), "0" * 64, 8, 8, 1)
    items: Iterator[Item] = (Item(str(number), "x") for number in range(images))
    engine = Engine(pipe, pipe.vocabulary([f"label {number}" for number in range(labels)]), Reading(workers=workers))
    started = time.perf_counter()
    with patch.object(engines, "decode_item", lambda item, **_: made):
        for answer in engine.answers(items):
            if rows:
                answer.row()
    return images / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    add_out(parser)
    args = parser.parse_args()
    given = args.images, args.labels, args.batch
    if args.profile:
        profile = cProfile.Profile()
        profile.runcall(rate, *given, True, args.workers)
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)
        return
    made = {
        name: sorted(rate(*given, rows, args.workers) for _ in range(args.runs))[args.runs // 2]
        for name, rows in (("answers", False), ("answers and rows", True))
    }
    report(
        args.out,
        "The engine alone",
        "python -m benchmarks.engine",
        ["what", "images/s"],
        [[name, round(each)] for name, each in made.items()],
    )


if __name__ == "__main__":
    main()
