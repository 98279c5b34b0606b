"""A run that is resumed over inputs that are not what they were: each kind of change is counted."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import openvocab
from openvocab import BadInput
from openvocab.batch import changes
from openvocab.batch.run_folder import RunFolder
from openvocab.batch.unchanged import command_record, nothing_to_do
from openvocab.images.sources import items
from tests.helpers.stages import LABELS, save_images, tagging


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_images(tmp_path / "p", 6)
    return tmp_path / "p"


def replace(folder: Path) -> None:
    """Put other bytes in the place of an image, under its old time, as a copy that keeps times does."""
    path = folder / "00002.png"
    before = path.stat()
    Image.new("RGB", (9, 9), "white").save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def rename_away(folder: Path) -> None:
    (folder / "00001.png").rename(folder.parent / "00001.png")


def replace_and_rename(folder: Path) -> None:
    replace(folder)
    rename_away(folder)


CHANGES = [
    pytest.param(lambda folder: None, {}, id="nothing"),
    pytest.param(lambda folder: os.utime(folder / "00003.png"), {}, id="touched, same bytes"),
    pytest.param(replace, {"replaced": 1}, id="replaced"),
    pytest.param(rename_away, {"removed": 1}, id="removed"),
    pytest.param(lambda folder: save_images(folder, 8), {"added": 2}, id="added"),
    pytest.param(replace_and_rename, {"replaced": 1, "removed": 1}, id="both"),
]


@pytest.mark.parametrize(("change", "counted"), CHANGES)
def test_what_has_changed_is_counted_and_rows_are_kept(
    folder: Path, tmp_path: Path, change: Callable[[Path], Any], counted: dict[str, int]
) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, folder, LABELS, part_rows=2)
    before = {row.id: row.sha256 for row in openvocab.read_run(run)}
    change(folder)
    summary = tagging().run_to(run, folder, LABELS)
    assert summary.changed == counted
    after = {row.id: row.sha256 for row in openvocab.read_run(run)}
    assert {name: after[name] for name in before} == before
    if summary.rows:
        assert openvocab.read_run(run).record["sessions"][-1]["changed"] == counted


def test_a_resumed_run_looks_at_each_path_of_a_list_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, seen, look = sorted(map(str, folder.iterdir())), list[str](), os.stat
    monkeypatch.setattr(changes, "_SLACK", -3600)  # the files are older than the run
    tagging().run_to(tmp_path / "run", paths, LABELS)

    def noted(path: Any, **more: Any) -> os.stat_result:
        seen.append(str(path))
        return look(path, **more)

    monkeypatch.setattr(os, "stat", noted)
    known = changes.Known(RunFolder(tmp_path / "run"))
    assert [item.skipped for item in known.over(items(paths, skip=known.skip))] == [True] * 6
    assert [path for path in seen if path in paths] == paths


@pytest.mark.parametrize(("change", "counted"), CHANGES)
def test_changes_can_be_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, change: Callable[[Path], Any], counted: dict[str, int]
) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, folder, LABELS, part_rows=2)
    parts = {part.name: part.read_bytes() for part in run.glob("part-*")}
    change(folder)
    if counted:
        with pytest.raises(BadInput, match=r"have changed since they were answered \(1 |\(2 added"):
            tagging().run_to(run, folder, LABELS, on_change="refuse", retry_errors=True)
    else:
        tagging().run_to(run, folder, LABELS, on_change="refuse")
    assert {part.name: part.read_bytes() for part in run.glob("part-*")} == parts


def test_replaced_images_are_answered_again(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, folder, LABELS, part_rows=2)
    replace(folder)
    rename_away(folder)
    summary = tagging().run_to(run, folder, LABELS, on_change="redo")
    assert (summary.ok, summary.skipped, summary.changed) == (1, 4, {"replaced": 1, "removed": 1})
    rows = list(openvocab.read_run(run))
    assert len({row.id for row in rows}) == len(rows) == 6
    assert (rows[-1].id, rows[-1].width) == (str(folder / "00002.png"), 9)
    assert tagging().run_to(run, folder, LABELS, on_change="redo").changed == {"removed": 1}


def test_rows_of_inputs_that_are_not_named_are_counted(folder: Path, tmp_path: Path) -> None:
    save_images(tmp_path / "q", 3)
    run = tmp_path / "run"
    tagging().run_to(run, folder, LABELS)
    summary = tagging().run_to(run, tmp_path / "q", LABELS)
    assert (summary.ok, summary.changed) == (3, {"added": 3, "elsewhere": 6})
    assert tagging().run_to(run, [folder, tmp_path / "q"], LABELS).changed == {}


def test_what_a_broken_off_run_had_not_reached_is_not_added(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    seen: list[str] = []
    stop = lambda: len(seen) >= 2  # noqa: E731
    tagging(batch_size=1).run_to(
        run, folder, LABELS, stop=stop, on_answer=lambda answer, _: seen.append(answer.item.id), workers=1
    )
    assert 0 < len(openvocab.read_run(run)) < 6
    assert tagging().run_to(run, folder, LABELS).changed == {}


def test_errors_that_are_done_again_are_not_added(folder: Path, tmp_path: Path) -> None:
    (folder / "00004.png").write_bytes(b"no image")
    run = tmp_path / "run"
    tagging().run_to(run, folder, LABELS)
    assert tagging().run_to(run, folder, LABELS, retry_errors=True).changed == {}


def test_members_of_a_shard_that_was_written_anew(folder: Path, tmp_path: Path) -> None:
    shard, run = tmp_path / "s.tar", tmp_path / "run"

    def pack(names: list[str]) -> None:
        with tarfile.open(shard, "w") as file:
            for name in names:
                file.add(folder / name, name)

    pack(["00000.png", "00001.png", "00002.png"])
    tagging().run_to(run, shard, LABELS)
    replace(folder)
    pack(["00000.png", "00002.png"])
    assert tagging().run_to(run, shard, LABELS).changed == {"replaced": 1, "removed": 1}


def test_a_folder_that_nobody_touched_is_not_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_SLACK", -60.0)  # as if the images had been there for a minute
    run = tmp_path / "run"
    tagging().run_to(run, folder, LABELS)
    monkeypatch.setattr(changes, "read_item", lambda item: pytest.fail("an image was read again"))
    assert tagging().run_to(run, folder, LABELS).skipped == 6


@pytest.mark.parametrize(
    ("on_change", "known"), [pytest.param("keep", True, id="keep"), pytest.param("redo", False, id="redo")]
)
def test_a_command_without_models_knows_of_changes(folder: Path, tmp_path: Path, on_change: Any, known: bool) -> None:
    run = str(tmp_path / "run")
    said = command_record({"preset": "pocket"}, labels=LABELS)
    tagging().run_to(run, folder, LABELS, command=said)
    replace(folder)
    summary = nothing_to_do(run, folder, openvocab.RunOptions(command=said, on_change=on_change))
    assert (summary is not None) is known
    if summary is not None:
        assert summary.changed == {"replaced": 1}
    with pytest.raises(BadInput, match="1 replaced"):
        nothing_to_do(run, folder, openvocab.RunOptions(command=said, on_change="refuse"))


def test_other_words_are_refused() -> None:
    with pytest.raises(BadInput, match="on_change must be 'keep', 'redo' or 'refuse'"):
        openvocab.RunOptions(on_change="ask")  # type: ignore[arg-type]
