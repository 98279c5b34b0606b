"""What --overwrite makes of folders that hold files of somebody else, and what a second process is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from openvocab import BadInput, CannotWrite
from openvocab.batch import folder_lock
from tests.helpers.stages import LABELS, chain, save_images, tagging


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with three images."""
    monkeypatch.chdir(tmp_path)
    save_images(Path("photos"), 3)


def contents(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def put(name: str, data: bytes = b"mine") -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data)


def foreign_part(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": ["a"], "price": [1.5]}), name)


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


FOREIGN = [
    pytest.param(lambda: put("proj/images/holiday.png"), "'images', and no run", id="images"),
    pytest.param(lambda: put("proj/notes.txt"), "'notes.txt', and no run", id="notes"),
    pytest.param(lambda: foreign_part("proj/part-00000.parquet"), "was not written by a run", id="a Parquet file"),
    pytest.param(lambda: put("proj/part-00000.parquet"), "was not written by a run", id="a file named as a part"),
    pytest.param(lambda: put("proj/run.json", b'{"name": "mine"}'), "'run.json', and no run", id="another run.json"),
    pytest.param(lambda: put("proj/run.json", b"{"), "'run.json', and no run", id="a broken run.json"),
]


@pytest.mark.parametrize("overwrite", [pytest.param(False, id="plain"), pytest.param(True, id="overwrite")])
@pytest.mark.parametrize(("make", "said"), FOREIGN)
def test_a_folder_that_holds_no_run_is_refused_and_left_as_it_is(make: Any, said: str, overwrite: bool) -> None:
    make()
    put("proj/.secret.tmp")
    before = contents("proj")
    with pytest.raises(BadInput, match=said):
        tagging().run_to("proj", "photos", LABELS, overwrite=overwrite)
    assert contents("proj") == before


def test_overwrite_refuses_a_run_with_a_foreign_part_among_its_own_before_it_removes_any() -> None:
    tagging().run_to("run", "photos", LABELS, part_rows=1)
    foreign_part("run/part-00007.parquet")
    before = contents("run")
    with pytest.raises(BadInput, match=r"part-00007\.parquet was not written by a run"):
        tagging().run_to("run", "photos", LABELS[:2], overwrite=True)
    assert contents("run") == before


def test_a_drawing_that_leads_out_of_the_folder_is_not_removed() -> None:
    tagging().run_to("run", "photos", LABELS)
    put("mine.png")
    table = pq.read_table("run/part-00000.parquet")
    names = pa.array(["images/../../mine.png", "../mine.png", str(Path("mine.png").absolute())])
    column = table.schema.get_field_index("drawing")
    pq.write_table(table.set_column(column, "drawing", names), "run/part-00000.parquet")
    tagging().run_to("run", "photos", LABELS[:2], overwrite=True)
    assert Path("mine.png").exists()


def test_a_second_process_waits_for_the_number_of_the_first() -> None:
    Path("run").mkdir()
    with FileLock("run/.lock"):
        Path("run/.pid").write_text(str(dead_pid()), "ascii")  # of an earlier session

        def late() -> None:
            time.sleep(0.2)
            Path("run/.pid").write_text(str(os.getpid()), "ascii")

        writer = threading.Thread(target=late)
        writer.start()
        with pytest.raises(CannotWrite, match=f"is being written by process {os.getpid()};"):
            tagging().run_to("run", "photos", LABELS)
        writer.join()


def test_a_lock_without_a_number_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "_PATIENCE", 0.0)
    Path("run").mkdir()
    with FileLock("run/.lock"), pytest.raises(CannotWrite, match=r"process \(unknown\)"):
        tagging().run_to("run", "photos", LABELS)


def test_a_run_without_its_record_is_begun_anew_and_keeps_other_files() -> None:
    chain().run_to("run", "photos", LABELS, draw=True)
    Path("run/run.json").unlink()
    put("run/notes.txt")
    assert chain().run_to("run", "photos", LABELS, overwrite=True).rows == 3
    assert Path("run/notes.txt").read_bytes() == b"mine"
    assert json.loads(Path("run/run.json").read_text("utf-8"))["labels"] == list(LABELS)
