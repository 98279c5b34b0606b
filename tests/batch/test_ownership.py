"""A run removes its own files and no others, and nothing at all before every check has passed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import openvocab
from openvocab import BadInput, CannotWrite
from openvocab.batch.atomic import clear_leftovers, temporary_name, write_atomic
from tests.helpers.stages import LABELS, chain, save_images, tagging


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_images(tmp_path / "photos", 6)
    return tmp_path / "photos"


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock and its pid, with its content."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", ".pid"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def project(folder: Path) -> Path:
    """A folder of a user's, with names like those of a run."""
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "holiday.png").write_bytes(b"mine")
    (folder / "notes.txt").write_bytes(b"mine")
    (folder / ".secret.tmp").write_bytes(b"mine")
    (folder / "images" / ".half.tmp").write_bytes(b"mine")
    return folder


def foreign_part(folder: Path) -> Path:
    pq.write_table(pa.table({"price": [1, 2]}), project(folder) / "part-00000.parquet")
    return folder


def broken_part(folder: Path) -> Path:
    (project(folder) / "part-00000.parquet").write_bytes(b"no Parquet at all")
    return folder


def other_record(folder: Path) -> Path:
    (project(folder) / "run.json").write_bytes(b'{"format": 1, "name": "of another tool"}')
    return folder


@pytest.mark.parametrize("overwrite", [False, True], ids=["plain", "overwrite"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(project, id="no run"),
        pytest.param(foreign_part, id="another tool's Parquet"),
        pytest.param(broken_part, id="a broken Parquet"),
        pytest.param(other_record, id="another tool's run.json"),
    ],
)
def test_a_folder_that_is_no_run_is_refused_and_untouched(
    make: Callable[[Path], Path], overwrite: bool, photos: Path, tmp_path: Path
) -> None:
    folder = make(tmp_path / "proj")
    before = files_in(folder)
    with pytest.raises(BadInput, match="no run|not written by a run"):
        tagging().run_to(folder, photos, LABELS, overwrite=overwrite)
    assert files_in(folder) == before


def test_overwrite_removes_the_run_and_leaves_what_else_is_there(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    chain().run_to(run, photos, LABELS, draw=True)
    drawings = {row.drawing for row in openvocab.read_run(run)}
    mine = {
        "images/holiday.png": b"mine",
        "notes.txt": b"mine",
        ".secret.tmp": b"mine",
        "images/.half.tmp": b"mine",
    }
    for name, data in mine.items():
        (run / name).write_bytes(data)
    tagging().run_to(run, photos, LABELS, overwrite=True)
    left = files_in(run)
    assert None not in drawings and not drawings & left.keys()
    assert mine.items() <= left.items()
    assert left.keys() - mine.keys() == {"run.json", "parts.jsonl", "part-00000.parquet"}


def test_a_refused_run_removes_nothing(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, photos, LABELS)
    (run / ".secret.tmp").write_bytes(b"mine")
    before = files_in(run)
    with pytest.raises(BadInput, match="overwrite=True"):
        tagging().run_to(run, photos, ["cat"])
    assert files_in(run) == before


def test_overwrite_waits_for_the_lock(photos: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    run = tmp_path / "run"
    tagging().run_to(run, photos, LABELS)
    before = files_in(run)
    with FileLock(run / ".lock"), pytest.raises(CannotWrite, match=rf"written by process {os.getpid()}"):
        tagging().run_to(run, photos, LABELS, overwrite=True)
    assert files_in(run) == before


def test_relabel_leaves_a_users_folder_alone(photos: Path, tmp_path: Path) -> None:
    from openvocab.batch.relabel import relabel

    pipe: Any = tagging()
    pipe.run_to(tmp_path / "run", photos, LABELS, features="float16")
    folder = project(tmp_path / "proj")
    before = files_in(folder)
    words = pipe.vocabulary(["cat"])
    with pytest.raises(BadInput, match="no run"):
        relabel(openvocab.read_run(tmp_path / "run"), pipe.tagger, folder, words, pipe.settings, overwrite=True)
    assert files_in(folder) == before


@pytest.mark.parametrize("name", ["run.json", "part-00000.parquet", ".lock"])
def test_an_export_replaces_no_file_of_a_run(name: str, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, photos, LABELS)
    before = files_in(run)
    with pytest.raises(BadInput, match="is a file of a run"):
        openvocab.export(openvocab.read_run(run), run / name, "jsonl")
    assert files_in(run) == before


def gone() -> int:
    """The number of a process that has ended."""
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)


def test_leftovers_of_dead_processes_go_and_all_else_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = temporary_name(tmp_path / "a.json")
    dead = gone()
    monkeypatch.setattr(os, "getpid", lambda: dead)
    left = [temporary_name(tmp_path / "a.json"), temporary_name(tmp_path / "set")]
    monkeypatch.undo()
    left[0].write_bytes(b"half")
    left[1].mkdir()
    (left[1] / "x").write_bytes(b"half")
    stay = [own, tmp_path / ".notes.tmp", tmp_path / ".a.json.123.tmp", tmp_path / "b.openvocab.tmp"]
    for path in stay:
        path.write_bytes(b"mine")
    clear_leftovers(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in stay)
    clear_leftovers(tmp_path, locked=True)
    assert [path.exists() for path in stay] == [False, True, True, True]


def test_a_long_name_has_a_temporary_one_that_fits(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".json")
    write_atomic(path, b"data")
    assert path.read_bytes() == b"data" and [each.name for each in tmp_path.iterdir()] == [path.name]
