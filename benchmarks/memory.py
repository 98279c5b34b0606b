"""Does memory stay flat? Tag images with the embedded model in one process, and read its resident memory on the way.

    python benchmarks/memory.py --images 10000

Prints the resident memory after 500 images and at the end, and the difference, which is to stay under 64 MB.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import openvocab


def resident() -> float:
    """Resident memory of this process in MB, after what is free was given back."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def save_images(folder: Path, count: int, side: int) -> None:
    """Write JPEG files of several sizes."""
    rng = np.random.default_rng(0)
    for number in range(min(count, 64)):
        height, width = side + 16 * (number % 5), side + 24 * (number % 7)
        pixels = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(folder / f"{number:06}.jpg", quality=90)
    for number in range(64, count):
        (folder / f"{number:06}.jpg").hardlink_to(folder / f"{number % 64:06}.jpg")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=480, help="shorter side of the images, about")
    parser.add_argument("--annotate", action="store_true", help="the whole chain, not the tagger alone")
    args = parser.parse_args()
    pipe = openvocab.load("pocket", windows=0)
    if not args.annotate:
        pipe = openvocab.Pipeline(pipe.tagger, None, None, pipe.settings)
    seen: list[tuple[int, float]] = []
    counted = itertools.count(1)

    def note(answer: object, skipped: int) -> None:
        done = next(counted)
        if done % 500 == 0:
            seen.append((done, resident()))
            print(f"{done:>7} images  {seen[-1][1]:>8.1f} MB", flush=True)

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "images")
        folder.mkdir()
        save_images(folder, args.images, args.side)
        started = time.perf_counter()
        summary = pipe.run_to(Path(place, "run"), folder, "pocket", features="float16", on_answer=note)
        seconds = time.perf_counter() - started
    growth = seen[-1][1] - seen[0][1]
    print(f"{summary.rows} rows in {seconds:.0f} s; grown by {growth:.1f} MB between {seen[0][0]} and {seen[-1][0]}")
    return int(growth > 64)


if __name__ == "__main__":
    sys.exit(main())
