"""What verification costs: the chain of the embedded models with and without it.

    python -m benchmarks.verification

The example scenes with all labels, in one thread of torch. Runs alternate; figures are medians of processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time

import openvocab
from benchmarks.report import add_out, report


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--boxes", type=int, default=16, help="boxes of an image that are verified at most")
    parser.add_argument("--runs", type=int, default=7)
    add_out(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    images = [openvocab.read_image(scene.path) for scene in openvocab.example_scenes()]
    pipes = [openvocab.load("pocket", verify=boxes) for boxes in (0, args.boxes)]
    vocabulary, taken = pipes[0].vocabulary("pocket"), list[list[float]]([[], []])
    for _ in range(args.runs + 1):
        for pipe, seconds in zip(pipes, taken, strict=True):
            began = time.process_time()
            for image in images:
                pipe(image, vocabulary)
            seconds.append((time.process_time() - began) / len(images))
    without, verified = (statistics.median(each[1:]) for each in taken)
    rows: list[list[str | float]] = [[f"{args.boxes} boxes", without, verified, verified / without]]
    columns = ["verified", "CPU s an image without", "CPU s an image with", "ratio"]
    report(args.out, "Verification", "python -m benchmarks.verification", columns, rows)


if __name__ == "__main__":
    main()
