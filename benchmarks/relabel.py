"""Images that were embedded before, under other labels: from the cache, and from a run folder's features.

python benchmarks/relabel.py [--images 1000] [--labels 100] [--threads 1]

An open_clip ViT-B-32 with random weights tags JPEG files of 640 x 480 into a run folder; then the same images get
other labels in both ways. All in one process, one after the other; loading the model is in no figure. Encoding the new
labels has a line of its own, since it does not grow with the images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import openvocab
from benchmarks.random_checkpoints import write_clip
from openvocab.batch.relabel import relabel


def write_images(folder: Path, count: int) -> None:
    """Write JPEG files of soft random blobs with some grain."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (15, 20, 3), np.uint8)).resize(
            (640, 480), Image.Resampling.BICUBIC
        )
        grain = rng.integers(0, 24, (480, 640, 1), np.uint8)
        pixels = np.clip(np.asarray(coarse).astype(np.int16) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=85)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print a table: what was done, seconds, images a second, times faster than the first run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_images(folder / "photos", asked.images)
        tagger = openvocab.load_tagger(f"open_clip:local-dir:{write_clip(folder / 'clip')}", "cpu")
        pipe = openvocab.Pipeline(tagger, None, None, replace(openvocab.Settings(), batch_size=32))
        before = pipe.vocabulary([f"thing {number}" for number in range(asked.labels)])
        photos, cache = str(folder / "photos"), str(folder / "cache")
        pipe.run_to(folder / "warm", f"{photos}/0000*.jpg", before)
        options = {"features": "float32", "workers": asked.threads}
        first = timed(lambda: pipe.run_to(folder / "first", photos, before, cache=cache, **options))
        made: list[openvocab.Vocabulary] = []
        texts = timed(lambda: made.append(pipe.vocabulary([f"other {number}" for number in range(asked.labels)])))
        again = timed(lambda: pipe.run_to(folder / "again", photos, made[0], cache=cache, **options))
        run = openvocab.read_run(folder / "first")
        renew = timed(lambda: relabel(run, tagger, folder / "renewed", made[0], pipe.settings))
    print(f"{asked.images} images, {asked.labels} labels, {tagger.record.dtype}, {asked.threads} thread(s)")
    print(f"{'':24} {'seconds':>8} {'images/s':>11} {'faster':>8}")
    for name, seconds in (("first run", first), ("again, from the cache", again), ("relabel", renew)):
        print(f"{name:24} {seconds:8.3f} {asked.images / seconds:11.1f} {first / seconds:7.1f}x")
    print(f"{'encoding the new labels':24} {texts:8.3f}")


if __name__ == "__main__":
    main()
