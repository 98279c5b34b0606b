"""Tagging JPEG files on disk: images a second of openvocab tag and of the usual ways, on 1 core and on 2.

python -m benchmarks.batch [--runs 5] [--quick] [--cores 1 2] [--models FOLDER] [--images FOLDER] [--only NAME ...]

A ViT-B/32 with random weights and 100 labels, whose embeddings are made before the clock starts. Each way runs in a
process of its own with as many threads as cores, one at a time, in turns; figures are medians of the turns, after one
that is not counted. Beside the wall clock there is the processor time of the process and of those that it started,
which other work on the machine disturbs less. Shares are of the rate at which the same cores multiply bfloat16 matrices
of 4096 x 4096, measured in the same turns; what an image needs is counted from the tower's shapes, two for each
multiplication.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.batch_ways import MATRIX, WAYS, Job, Way, bf16_matrices, flop_of_an_image

SMALL, LARGE = (640, 480), (4000, 3000)
DIFFERENT = {SMALL: 64, LARGE: 8}
"""Different images of each size; further files are links to them."""

PRODUCTS = Way("bfloat16 matrices", bf16_matrices, 8, 8)


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds of one turn by the wall clock and of processor time."""

    wall: float
    processor: float


def write_images(folder: Path, size: tuple[int, int], count: int) -> Path:
    """Write JPEG files that are about as hard as photographs: soft colors, edges and some grain, quality 90."""
    (folder / "all").mkdir(parents=True)
    rng = np.random.default_rng(0)
    wide, tall = size
    for number in range(count):
        path = folder / "all" / f"{number:05}.jpg"
        if number >= DIFFERENT[size]:
            path.hardlink_to(folder / "all" / f"{number % DIFFERENT[size]:05}.jpg")
            continue
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(image)
        for _ in range(12):
            left, top = int(rng.integers(0, wide)), int(rng.integers(0, tall))
            corner = (left + int(rng.integers(8, wide // 3)), top + int(rng.integers(8, tall // 3)))
            pen.ellipse(((left, top), corner), fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
        grain = rng.integers(-9, 10, (tall, wide, 1), np.int16)
        pixels = np.clip(np.asarray(image).astype(np.int16) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=90)
    return folder


def link_images(folder: Path, given: Path, count: int) -> Path:
    """Link the JPEG files of a folder, again from the first where there are fewer than count."""
    found = [path for path in sorted(given.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    if not found:
        raise SystemExit(f"{given} holds no .jpg file")
    (folder / "all").mkdir(parents=True)
    for number in range(count):
        (folder / "all" / f"{number:05}.jpg").symlink_to(found[number % len(found)].resolve())
    return folder


def _processor_seconds() -> float:
    """Processor time of this process and of those that it started, ended or not."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = sum(each.ru_utime + each.ru_stime for each in used)
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, see proc(5)
    return seconds


def _serve(link: Connection, way: Way, job: Job) -> None:
    """Run in the child: do so many images whenever the parent asks, and say what it took."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.cores])
    import torch

    torch.set_num_threads(job.cores)
    work = way.build(job)
    link.send(None)
    while count := link.recv():
        before, start = _processor_seconds(), time.perf_counter()
        work(count)
        link.send(Taken(time.perf_counter() - start, _processor_seconds() - before))


@contextmanager
def _process(way: Way, job: Job) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    os.environ.update(OMP_NUM_THREADS=str(job.cores), TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")
    process = context.Process(target=_serve, args=(there, way, job))
    process.start()
    there.close()
    here.recv()
    try:
        yield here
    finally:
        here.send(0)
        process.join()


def _ask(link: Connection, count: int) -> Taken:
    link.send(count)
    taken: Taken = link.recv()
    return taken


def race(ways: Sequence[tuple[Way, int]], job: Job, runs: int) -> list[Taken]:
    """Return the medians an image, in the order of the ways and counts of images."""
    turns: list[list[Taken]] = [[] for _ in ways]
    with ExitStack() as stack:
        links = [stack.enter_context(_process(way, job)) for way, _ in ways]
        for link, (_, count) in zip(links, ways, strict=True):
            _ask(link, min(count, 16))
        for run in range(runs):
            for link, (way, count), taken in zip(links, ways, turns, strict=True):
                taken.append(_ask(link, count))
                rate = count / taken[-1].wall
                print(f"  turn {run + 1}: {way.name}: {rate:.1f}/s", file=sys.stderr, flush=True)
    middle = statistics.median
    return [
        Taken(middle(one.wall for one in taken) / count, middle(one.processor for one in taken) / count)
        for taken, (_, count) in zip(turns, ways, strict=True)
    ]


def print_table(names: Sequence[str], taken: Sequence[Taken], product: Taken, cores: int, flop: int) -> None:
    """Print the rows; the first one is what the others are compared with."""
    rate, by_processor = (2 * MATRIX**3 / seconds / 1e12 for seconds in (product.wall, product.processor))
    print(f"bfloat16 matrices: {rate:.2f} TFLOP/s, {by_processor:.2f} a processor second\n")
    print("| way | images/s | x first | of bf16 | a processor second | x first | of bf16 |")
    print("|---|---|---|---|---|---|---|")
    for name, one in zip(names, taken, strict=True):
        wall = f"{1 / one.wall:.1f} | {taken[0].wall / one.wall:.1f} | {flop / one.wall / rate / 1e10:.0f} %"
        share = flop / one.processor / by_processor / 1e10
        used = f"{1 / one.processor:.1f} | {taken[0].processor / one.processor:.1f} | {share:.0f} %"
        print(f"| {name} | {wall} | {used} |", flush=True)


def measure(title: str, images: Path, chosen: argparse.Namespace, *, large: bool) -> None:
    """Print one table for each number of cores."""
    flop = flop_of_an_image(chosen.models)
    part = 4 if chosen.quick else 1
    for cores in chosen.cores:
        ways = [
            (way, way.large if large else way.small) for way in WAYS if any(name in way.name for name in chosen.only)
        ]
        counts = [(way, max(2, count // part)) for way, count in ways if count]
        job = Job(chosen.models, images, cores)
        taken = race([(PRODUCTS, PRODUCTS.small * cores), *counts], job, chosen.runs)
        print(f"\n{title}, {cores} core{'s' * (cores > 1)}, {flop / 1e9:.2f} GFLOP an image;", end=" ")
        print_table([way.name for way, _ in counts], taken[1:], taken[0], cores, flop)


def kilobytes(folder: Path) -> float:
    """Mean size of the files."""
    return statistics.mean(path.stat().st_size for path in folder.glob("*/*.jpg")) / 1e3


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a quarter of the images")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", type=Path, help="where clip/ lies or is written (0.6 GB)")
    parser.add_argument("--images", type=Path, help="a folder with JPEG files, in place of the synthetic ones")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="only the ways whose name holds one")
    parser.add_argument("--size", choices=("small", "large", "both"), default="both", help="of the synthetic images")
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    chosen = _options()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        chosen.models = chosen.models or place / "models"
        if not (chosen.models / "clip").exists():
            from benchmarks.random_checkpoints import write_clip

            write_clip(chosen.models / "clip")
        most = {large: max(way.large if large else way.small for way in WAYS) for large in (False, True)}
        if chosen.images:
            measure(f"{chosen.images}", link_images(place / "given", chosen.images, most[True]), chosen, large=True)
            return
        for size, large, name in ((SMALL, False, "small"), (LARGE, True, "large")):
            if chosen.size in (name, "both"):
                folder = write_images(place / name, size, most[large])
                title = f"{size[0]} x {size[1]}, {kilobytes(folder):.0f} kB each"
                measure(title, folder, chosen, large=large)


if __name__ == "__main__":
    main()
