"""A local Ray with two actors: the same rows as in one process, also when an actor dies in the middle."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from openvocab import BadInput, Workers
from tests.batch.test_workers import BOTH, rows_in
from tests.helpers.stages import LABELS, NAN_COLOR, save_images
from tests.helpers.workers import KILL_COLOR, FakeLoader

pytestmark = pytest.mark.long  # Ray alone takes 20 s to start, and more than its patience on a busy machine

pytest.importorskip("ray.data", reason="ray is not installed; pip install 'openvocab[ray]'")


@pytest.fixture(autouse=True)
def tests_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's processes import the stubs by name."""
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def folder_of(place: Path, count: int) -> Path:
    """Images as JPEG files, one of them broken, and one that the model answers with NaN."""
    made = save_images(place, count)
    for path in made:
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    made[7].with_suffix(".jpg").write_bytes(b"")
    Image.new("RGB", (9, 9), NAN_COLOR).save(made[20])
    made[20].with_suffix(".jpg").unlink()
    return place


def leftovers() -> set[str]:
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("ov-")}


def test_the_rows_are_those_of_one_process_though_actors_die(tmp_path: Path) -> None:
    images, once, run, before = folder_of(tmp_path / "p", 200), tmp_path / "once", tmp_path / "run", leftovers()
    Image.new("RGB", (9, 9), KILL_COLOR).save(images / "00100.png")
    (images / "00100.jpg").unlink()
    once.touch()
    names = sorted(map(str, images.iterdir()))
    FakeLoader()("cpu").run_to(run, names[:30], LABELS)
    workers = Workers(FakeLoader(once=str(once)), BOTH, "ray")
    summary = workers.run_to(run, names, LABELS)
    assert not once.exists()
    assert (summary.ok, summary.errors, summary.skipped) == (169, {"decoder_crashed": 1}, 30)
    others = [name for name in names if "00100" not in name]
    FakeLoader()("cpu").run_to(tmp_path / "alone", others, LABELS)
    assert [row[0] for row in rows_in(run)] == names
    assert [row for row in rows_in(run) if "00100" not in row[0]] == rows_in(tmp_path / "alone")
    assert leftovers() == before


def test_what_a_worker_cannot_load_is_said(tmp_path: Path) -> None:
    save_images(tmp_path / "p", 2)
    with pytest.raises(BadInput, match="no device 'cuda:7' here") as caught:
        Workers(Refusing(), ("cpu",), "ray").run_to(tmp_path / "run", tmp_path / "p", LABELS)
    assert not (tmp_path / "run").exists(), caught


class Refusing:
    """A loader that has no such device."""

    def __call__(self, device: str | None = None) -> Any:
        raise BadInput("no device 'cuda:7' here")


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "one actor killed"])
def test_two_thousand_images(tmp_path: Path, kill: bool) -> None:
    images, once = folder_of(tmp_path / "p", 2_000), tmp_path / "once"
    if kill:
        once.touch()
    started = time.monotonic()
    Workers(FakeLoader(once=str(once)), BOTH, "ray").run_to(tmp_path / "run", images, LABELS)
    sys.stdout.write(f"\n{time.monotonic() - started:.1f} s\n")
    assert not once.exists()
    FakeLoader()("cpu").run_to(tmp_path / "alone", images, LABELS)
    assert rows_in(tmp_path / "run") == rows_in(tmp_path / "alone")
    assert len(rows_in(tmp_path / "run")) == 2_000
