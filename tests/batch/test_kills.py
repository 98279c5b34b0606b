"""A run that is killed at any moment, and resumed, loses and repeats no row and leaves no partial file."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import openvocab
from tests.batch.test_run_folder import ids_in, names, tag_job
from tests.helpers.stages import save_images

IMAGES = 2_000


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "p"
    save_images(folder, IMAGES)
    return folder


def killed(images: Path, run: Path, after: float) -> bool:
    """Start or resume the job, kill it that long after it is ready; False where it had ended before."""
    running = tag_job(images, run, "--part-rows", "40", seconds=0.0005)
    time.sleep(after)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    return int(running.returncode) == -signal.SIGKILL


def whole(run: Path) -> int:
    """Read all that there is, and return how many rows that is; a torn file raises."""
    if not (run / "run.json").exists():
        return 0
    json.loads((run / "run.json").read_text("utf-8"))
    rows = [row for part in run.glob("part-*.parquet") for row in pq.read_table(part).to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows)
    return len(rows)


def timed(images: Path, run: Path) -> float:
    """Run the job to its end, and return the seconds from ready to there."""
    running = tag_job(images, run, "--part-rows", "40", seconds=0.0005)
    started = time.monotonic()
    running.communicate(timeout=300)
    assert running.returncode == 0
    return time.monotonic() - started


def campaign(images: Path, root: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill as often as asked, over as many jobs as that takes, and finish each; return what was seen."""
    rng, said = random.Random(seed), {"kills": 0, "jobs": 0, "left_half_written": 0, "during_rows": 0}
    window = timed(images, root / "whole") / 3
    while said["kills"] < kills:
        run = root / f"run-{said['jobs']}"
        while said["kills"] < kills and killed(images, run, rng.uniform(0.0, window)):
            said["kills"] += 1
            said["left_half_written"] += bool(list(run.glob(".*.openvocab.tmp")))
            said["during_rows"] += 0 < whole(run) < IMAGES
        ended = tag_job(images, run)
        ended.communicate(timeout=120)
        assert ended.returncode == 0
        said["jobs"] += 1
        found, wanted = ids_in(run), names(images)
        assert len(found) - len(set(found)) == 0
        assert sorted(set(wanted) - set(found)) == []
        assert found == wanted
        others = sorted(path.name for path in run.iterdir() if path.suffix != ".parquet")
        assert others == [".lock", ".pid", "parts.jsonl", "run.json"]  # no part was set aside
        assert len(openvocab.read_run(run)) == IMAGES
    return said


def test_ten_kills_lose_no_row(images: Path, tmp_path: Path) -> None:
    said = campaign(images, tmp_path, 10, seed=1)
    assert said["kills"] == 10
    assert said["during_rows"] > 0


@pytest.mark.long
def test_a_hundred_kills_lose_no_row(images: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    said = campaign(images, tmp_path, 100, seed=2)
    sys.stdout.write(f"\n{said}, in {time.monotonic() - started:.0f} s\n")
    assert said["kills"] == 100
