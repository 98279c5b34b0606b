"""The chain over images that want the same labels, against its detector alone over the same images.

    python -m benchmarks.chain_batches [--owlv2]

The detector is the embedded one, or OWLv2 base at its true size with random weights. The segmenter is a stub, and the
tagger gives every image the same tags in another order, so that the chain takes longer than the detector alone only
where it calls the detector worse. Figures are medians of alternating runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import openvocab
from benchmarks import random_checkpoints
from benchmarks.engine import StubTagger
from benchmarks.report import add_out, report
from openvocab import Pipeline, Settings
from openvocab.pipeline.protocols import Detector, ImageArray
from openvocab.testing import FakeSegmenter

LABELS = ["dog", "truck", "car", "fruit", "person", "chair", "tree", "bottle", "bird", "boat"]


def _images(count: int, side: int) -> list[ImageArray]:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, side // 16, side // 12, 3), np.uint8)
    return [image.repeat(16, 0).repeat(16, 1) for image in small]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(detector: Detector, images: list[ImageArray], runs: int) -> tuple[float, float]:
    """Return the medians of seconds an image: the detector alone, and the chain."""
    table = np.random.default_rng(1).normal(4, 1, (256, len(LABELS))).astype(np.float32)
    settings = Settings(tag_threshold=0.5, box_threshold=0.9, gate="threshold", batch_size=len(images))
    pipe = Pipeline(StubTagger(table), detector, FakeSegmenter(), settings)
    vocabulary = pipe.vocabulary(LABELS)
    queries = vocabulary.queries
    if queries is None:
        raise RuntimeError("the pipeline has no detector")
    taken: list[list[float]] = [[], []]
    for _ in range(runs + 1):
        taken[0].append(_seconds(lambda: detector.detect(images, queries, 0.9)))
        taken[1].append(_seconds(lambda: list(pipe.run(images, vocabulary))))
    alone, chain = (statistics.median(each[1:]) / len(images) for each in taken)
    return alone, chain


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--owlv2", action="store_true", help="also OWLv2 base/16 at 960 pixels")
    add_out(parser)
    args = parser.parse_args()
    cases = {"embedded detector": (openvocab.load_detector("pocket"), 256)}
    with tempfile.TemporaryDirectory() as folder:
        if args.owlv2:
            path = random_checkpoints.write_owlv2(Path(folder, "owlv2"))
            cases["OWLv2 base/16"] = openvocab.load_detector(f"owlv2:{path}"), 960
        rows = list[list[str | float]]()
        for name, (detector, side) in cases.items():
            alone, chain = measure(detector, _images(args.images, side), args.runs)
            rows.append([f"{name}, {args.images} images", round(alone, 4), round(chain, 4), round(chain / alone, 3)])
    columns = ["what", "detector alone, s an image", "chain, s an image", "ratio"]
    report(args.out, "The chain's detector batches", "python -m benchmarks.chain_batches", columns, rows, plot="ratio")


if __name__ == "__main__":
    main()
