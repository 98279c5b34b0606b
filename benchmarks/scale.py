"""Large inputs: a million paths, a run of a million rows, 100,000 labels; each in a process of its own.

    python -m benchmarks.scale

Models are stubs, so that only openvocab is measured. Memory is what the resident memory of
the process grows by, once Python has emptied its free lists: their few objects keep arenas of a megabyte each, which
differ from run to run.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.engine import StubTagger
from benchmarks.memory import resident
from benchmarks.report import Cell, add_out, report
from openvocab import Pipeline, Settings, read_run
from openvocab.batch import engine as engines
from openvocab.batch.changes import dated
from openvocab.batch.rows import schema
from openvocab.batch.run_folder import RunFolder
from openvocab.images.decode import decode_item

_PART = 4096
"""Rows of a part of the run that is resumed, as RunOptions has it."""


def _held() -> float:
    """Return the resident memory in MB, without what only waits to be collected."""
    gc.collect()
    return resident()


def _pipe(labels: int) -> tuple[Pipeline, list[str]]:
    table = np.random.default_rng(0).normal(-4, 1.5, (32, labels)).astype(np.float32)
    names = [f"label {number}" for number in range(labels)]
    return Pipeline(StubTagger(table), None, None, Settings(tag_threshold=0.5)), names


def start(count: int) -> list[list[Cell]]:
    """Return seconds and memory until the first of count paths, a Python list, is answered."""
    pipe, names = _pipe(10)
    vocabulary = pipe.vocabulary(names)
    paths = [f"/nowhere/folder-{number // 1000:04}/image-{number:08}.jpg" for number in range(count)]
    pipe_memory, began, first = _held(), time.perf_counter(), list[float]()

    class Enough(Exception):
        """Ends the run."""

    def note(path: Path, error: Exception) -> None:
        first.append(time.perf_counter() - began)
        raise Enough

    with suppress(Enough):
        list(pipe.run(paths, vocabulary, on_error=note))
    name = f"{count:,} paths, a Python list: the first is answered"
    return [[name, round(first[0], 3), round(_held() - pipe_memory, 1)]]


def _files(folder: Path, count: int) -> list[str]:
    """Write count names of a few small files, in folders of 1,000."""
    made, source = list[str](), folder / "source"
    for number in range(count):
        place = folder / f"{number // 1000:04}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        if number % 30_000 == 0:  # a file may have 65,000 names
            source = folder / f"source-{number}"
            source.write_bytes(b"P6 1 1 255\n123")
        os.link(source, path := f"{place}/image-{number:08}.ppm")
        made.append(path)
    return made


def resume(count: int) -> list[list[Cell]]:
    """Return seconds until a run of count rows reads a new first input, and until all its inputs are looked at."""
    import pyarrow as pa

    pipe, names = _pipe(10)
    vocabulary, opened = pipe.vocabulary(names), list[float]()
    with tempfile.TemporaryDirectory() as place:
        folder, paths = Path(place, "run"), _files(Path(place, "images"), count + 2)
        time.sleep(2)  # the files are older than the run
        pipe.run_to(folder, paths[count : count + 1], vocabulary)
        kind = dated(schema(), time.time())
        for at in range(0, count, _PART):
            some = pa.array(paths[at : min(at + _PART, count)])
            columns = {each.name: pa.nulls(len(some), each.type) for each in kind}
            columns |= {"id": some, "status": pa.array(["ok"] * len(some)), "tags": pa.array([[]] * len(some))}
            table = pa.Table.from_arrays([columns[each.name].cast(each.type) for each in kind], schema=kind)
            RunFolder(folder).add_table(table)

        def noted(*given: Any, **more: Any) -> Any:
            opened.append(time.perf_counter() - began)
            return decode_item(*given, **more)

        memory, began = _held(), time.perf_counter()
        with patch.object(engines, "decode_item", noted):
            pipe.run_to(folder, [paths[-1], *paths[:-1]], vocabulary)
        seconds, grown, rows = time.perf_counter() - began, _held() - memory, len(read_run(folder))
    return [
        [f"a run of {rows:,} rows resumes: a new first input is read", round(opened[0], 3), None],
        [f"the same: all {rows:,} inputs are looked at", round(seconds, 3), round(grown, 1)],
    ]


def labels(count: int) -> list[list[Cell]]:
    """Return seconds an image, and memory, of 64 images with count labels."""
    pipe, names = _pipe(count)
    began = time.perf_counter()
    vocabulary = pipe.vocabulary(names)
    encoded, memory, images = time.perf_counter() - began, _held(), [np.zeros((8, 8, 3), np.uint8)] * 64
    began = time.perf_counter()
    made = list(pipe.run(images, vocabulary))
    seconds = time.perf_counter() - began
    return [
        [f"{count:,} labels: a vocabulary", round(encoded, 3), None],
        [f"{count:,} labels: one image of {len(made)}", round(seconds / len(made), 4), round(_held() - memory, 1)],
    ]


_PARTS: dict[str, Callable[[int], list[list[Cell]]]] = {"start": start, "resume": resume, "labels": labels}


def _apart(name: str, count: int) -> list[list[Cell]]:
    """Run a part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--part", name, "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows: list[list[Cell]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--paths", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--part", choices=list(_PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    add_out(parser)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(_PARTS[args.part](args.count)))
        return
    counts: dict[str, Any] = {"start": args.paths, "resume": args.paths, "labels": args.labels}
    rows = [row for name, count in counts.items() for row in _apart(name, count)]
    report(args.out, "Large inputs", "python -m benchmarks.scale", ["what", "seconds", "memory, MB"], rows)


if __name__ == "__main__":
    main()
