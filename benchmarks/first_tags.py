"""Processor time until the first tags of the embedded models, in new processes.

    python -m benchmarks.first_tags

Beside it stands what importing torch alone takes, which is most of it. Python keeps the bytecode of all modules from a
first run that is not counted, as it does of installed packages: without it torch takes a second more.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile

import openvocab
from benchmarks.report import Cell, add_out, report


def seconds(bytecode: str, *arguments: str) -> float:
    """Return the processor time, user and system, of a Python process that keeps its bytecode in a folder."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept["PYTHONPYCACHEPREFIX"] = bytecode
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=kept)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    add_out(parser)
    args = parser.parse_args()
    scene = str(openvocab.example_scenes()[0].path)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(scene, folder, args.runs)
    title = "First tags of the embedded models"
    report(args.out, title, "python -m benchmarks.first_tags", ["new process", "CPU seconds"], rows, plot="CPU seconds")


def measure(scene: str, folder: str, runs: int) -> list[list[Cell]]:
    """Return the median of each command."""
    words = [scene, "--labels", "tent, umbrella"]
    commands = {
        "openvocab tag": ["-m", "openvocab", "tag", *words],
        "openvocab annotate": ["-m", "openvocab", "annotate", *words, "--out", f"{folder}/run", "--overwrite"],
        "import torch": ["-c", "import torch"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, command in commands.items():
            taken[name].append(seconds(f"{folder}/bytecode", *command))
    return [[name, round(statistics.median(values[1:]), 2)] for name, values in taken.items()]


if __name__ == "__main__":
    main()
