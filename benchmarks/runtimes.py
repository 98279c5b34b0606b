"""ViT-B/32's image tower of true size in torch, OpenVINO and ONNX Runtime: images a second, alternating in one process.

python -m benchmarks.runtimes [--runs 7] [--cores 1 2] [--exports FOLDER]

Random weights; images of 640 x 480 that are prepared before the clock starts, 32 a turn. The exports are written by
openvocab.export_model, int8 with 64 calibration images. Figures are medians of the turns after one that is not counted;
ratios are medians of the ratios to openvocab's bfloat16 tower in the same turn. Cosines compare with float32 in torch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__: list[str] = []

IMAGES = 32
EXPORTS = {"openvino": False, "openvino-int8": True, "onnx": False}
"""Folder of an export, which begins with the format -> whether it is int8."""
OURS = "openvocab, bfloat16"


def write_exports(folder: Path) -> None:
    """Write the checkpoint, the images and three exports, as far as they are absent."""
    import openvocab
    from benchmarks.batch import SMALL, write_images
    from benchmarks.random_checkpoints import write_clip

    images, clip = folder / "images", folder / "clip"
    if not clip.exists():
        write_images(images, SMALL, 64)
        write_clip(clip)
    for name, int8 in EXPORTS.items():
        if not (folder / name).exists():
            source, form = f"open_clip:local-dir:{clip}", name.partition("-")[0]
            openvocab.export_model(
                tagger=source, out=folder / name, format=form, int8=int8, calibrate=images, max_loss=100
            )


def _ways(folder: Path) -> dict[str, Any]:
    """Return name -> tagger."""
    import openvocab

    torch_spec = f"open_clip:local-dir:{folder / 'clip'}"
    specs = {
        OURS: (torch_spec, "bfloat16"),
        "openvocab, float32": (torch_spec, "float32"),
        "OpenVINO, float32": (f"openvino:{folder / 'openvino'}", "float32"),
        "OpenVINO, bfloat16": (f"openvino:{folder / 'openvino'}", "bfloat16"),
        "OpenVINO, int8 and bfloat16": (f"openvino:{folder / 'openvino-int8'}", "bfloat16"),
        "OpenVINO, int8 and float32": (f"openvino:{folder / 'openvino-int8'}", "float32"),
        "ONNX Runtime, float32": (f"onnx:{folder / 'onnx'}", "float32"),
    }
    return {name: openvocab.load_tagger(spec, "cpu", dtype) for name, (spec, dtype) in specs.items()}


def _turn(tagger: Any, prepared: Any) -> float:
    start = time.perf_counter()
    tagger.encode_images(prepared)
    return time.perf_counter() - start


def measure(folder: Path, cores: int, runs: int) -> None:
    """Print the table for a number of cores; runs in a process of its own."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import numpy as np
    import torch

    torch.set_num_threads(cores)
    from openvocab import find_images, read_image

    ways = _ways(folder)
    images = [read_image(path) for path in find_images(folder / "images")[:IMAGES]]
    prepared = {name: [tagger.prepare(image) for image in images] for name, tagger in ways.items()}
    rows = {name: tagger.encode_images(prepared[name]) for name, tagger in ways.items()}
    turns = [{name: _turn(tagger, prepared[name]) for name, tagger in ways.items()} for _ in range(runs)]
    exact = rows["openvocab, float32"]
    print(f"\n{cores} core{'s' * (cores > 1)}, {runs} turns of {IMAGES} images\n")
    print("| tower | images/s | x ours | cosine, min |\n|---|---|---|---|")
    for name in ways:
        rate = IMAGES / statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[OURS] / turn[name] for turn in turns)
        print(f"| {name} | {rate:.1f} | {ratio:.2f} | {float(np.min((rows[name] * exact).sum(1))):.5f} |", flush=True)


def main() -> None:
    """Write what is absent and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--exports", type=Path, metavar="FOLDER", help="where the exports lie or are written (3 GB)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.exports or Path(scratch)
        write_exports(folder)
        spawn = multiprocessing.get_context("spawn")
        run: Callable[..., Any] = spawn.Process
        for cores in chosen.cores:
            child = run(target=measure, args=(folder, cores, chosen.runs))
            child.start()
            child.join()


if __name__ == "__main__":
    main()
