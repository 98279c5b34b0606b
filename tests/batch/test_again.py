"""The same run again: errors that are tried once more, and commands with nothing left to do."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, CannotWrite, RunOptions
from openvocab.batch import run_folder
from openvocab.batch.inputs import target
from openvocab.batch.unchanged import command_record, nothing_to_do
from tests.helpers.stages import LABELS, chain, save_images, tagging


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve images, four of them broken: two in a part with others, and two that fill a part."""
    folder = tmp_path / "images"
    for number, path in enumerate(save_images(folder, 12)):
        if number in (1, 3, 6, 7):
            path.write_bytes(b"")
    return folder


def mend(folder: Path, *numbers: int) -> None:
    for number in numbers:
        Image.new("RGB", (8, 8), (number, 0, 90)).save(folder / f"{number:05}.png")


def kinds(run: Path) -> dict[str, str | None]:
    rows = list(openvocab.read_run(run))
    found: dict[str, str | None] = {Path(row.id).stem[-2:]: row.error_kind for row in rows}
    assert len(found) == len(rows)
    return found


def test_errors_are_done_again_and_replaced(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, images, LABELS, part_rows=2)
    mend(images, 1, 6)
    assert tagging().run_to(run, images, LABELS).rows == 0
    summary = tagging().run_to(run, images, LABELS, retry_errors=True)
    assert (summary.ok, summary.errors, summary.skipped, summary.errors_kept) == (2, {"empty": 2}, 8, 0)
    assert {name for name, kind in kinds(run).items() if kind} == {"03", "07"}
    assert len(kinds(run)) == 12 == openvocab.read_run(run).dataset.count_rows()
    rows = [row.id for row in openvocab.read_run(run)]
    assert rows == sorted(
        rows
    )  # each error was the last row of its part, or filled it, so that the new ones fit in place
    assert [session["ok"] for session in openvocab.read_run(run).record["sessions"]] == [8, 2]


def test_drawn_images_of_errors_that_are_mended_get_their_names(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    chain().run_to(run, images, LABELS, draw=True)
    mend(images, 1)
    chain().run_to(run, images, LABELS, draw=True, retry_errors=True)
    assert "00001.png" in os.listdir(run / "images")


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_disk_that_fails_meanwhile_costs_no_row(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    run, calls, real = tmp_path / "run", 0, os.replace
    tagging().run_to(run, images, LABELS, part_rows=2)

    def failing(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise OSError(28, "No space left on device")
        real(*given)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(CannotWrite, match="No space left"):
        tagging().run_to(run, images, LABELS, retry_errors=True, part_rows=1)
    monkeypatch.undo()
    tagging().run_to(run, images, LABELS)
    assert len(kinds(run)) == 12


def test_a_part_that_cannot_be_removed_is_told(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagging().run_to(tmp_path / "run", images, LABELS, part_rows=1)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CannotWrite, match=r"part-00001.parquet cannot be written \(Permission denied\)"):
        run_folder.RunFolder(tmp_path / "run").drop_errors()


MODELS = {"preset": "pocket", "tagger": None, "detector": None, "segmenter": None}


def options_of(**changes: Any) -> RunOptions:
    return dataclasses.replace(RunOptions(command=command_record(MODELS, labels=LABELS)), **changes)


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        pytest.param({}, True, id="the same"),
        pytest.param({"command": command_record(MODELS, labels=("a", "b"))}, False, id="other labels"),
        pytest.param({"command": command_record({**MODELS, "preset": "base"}, labels=LABELS)}, False, id="models"),
        pytest.param({"command": None}, False, id="from Python"),
        pytest.param({"overwrite": True}, False, id="overwrite"),
        pytest.param({"retry_errors": True}, False, id="errors again"),
        pytest.param({"frames": "all"}, True, id="frames of files of one"),
    ],
)
def test_nothing_to_do_is_known_without_models(
    images: Path, tmp_path: Path, changes: dict[str, Any], known: bool
) -> None:
    run = str(tmp_path / "run")
    assert nothing_to_do(run, images, options_of()) is None
    tagging().run_to(run, images, LABELS, command=options_of().command)
    before = {each.name: each.stat().st_mtime_ns for each in Path(run).iterdir()}
    summary = nothing_to_do(run, images, options_of(**changes))
    assert (summary is not None) is known
    if summary is not None:
        assert (summary.rows, summary.skipped, summary.errors_kept) == (0, 12, 4)
    assert before == {each.name: each.stat().st_mtime_ns for each in Path(run).iterdir()}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder, run: save_images(folder, 13), id="a new image"),
        pytest.param(lambda folder, run: next(run.glob("part-*")).unlink(), id="a part is gone"),
        pytest.param(lambda folder, run: (run / "run.json").write_text("{"), id="a broken record"),
    ],
)
def test_what_is_left_to_do_is_left_to_the_run(images: Path, tmp_path: Path, change: Any) -> None:
    run = tmp_path / "run"
    tagging().run_to(run, images, LABELS, command=options_of().command, part_rows=4)
    change(images, run)
    assert nothing_to_do(str(run), images, options_of()) is None


def test_another_version_looks_again(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagging().run_to(tmp_path / "run", images, LABELS, command=options_of().command)
    monkeypatch.setattr(openvocab, "__version__", "9.9")
    assert nothing_to_do(str(tmp_path / "run"), images, options_of()) is None


def test_what_was_asked_may_differ_where_rows_are_alike(images: Path, tmp_path: Path) -> None:
    tagging().run_to(tmp_path / "run", images, LABELS, command=options_of().command)
    assert tagging().run_to(tmp_path / "run", images, LABELS).skipped == 12


@pytest.mark.parametrize(
    ("spec", "pinned"),
    [
        pytest.param("owlv2:google/owlv2-base-patch16-ensemble", True, id="the hub"),
        pytest.param("owlv2:{place}", False, id="a folder"),
        pytest.param("open_clip:local-dir:{place}", False, id="a folder of open_clip"),
        pytest.param("sam:vit_b@{place}", False, id="a file"),
    ],
)
def test_weights_of_the_users_own_are_read(tmp_path: Path, spec: str, pinned: bool) -> None:
    assert (command_record({"detector": spec.format(place=tmp_path)}) is not None) is pinned


def test_an_input_in_the_folder_is_refused_here_too(images: Path, tmp_path: Path) -> None:
    tagging().run_to(tmp_path / "run", images, LABELS, command=options_of().command)
    with pytest.raises(BadInput, match="could be overwritten"):
        nothing_to_do(str(tmp_path / "run"), [tmp_path / "run"], options_of())


@pytest.mark.parametrize("many", [pytest.param(False, id="a short list"), pytest.param(True, id="a long list")])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("run/images/mine.png", id="a file in the folder"),
        pytest.param("link.png", id="a link into the folder"),
        pytest.param("linked/mine.png", id="a file in a linked folder"),
        pytest.param("linked", id="a linked folder"),
        pytest.param("run", id="the folder itself"),
        pytest.param("run/images/..", id="the folder by another name"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True], ids=["resumed", "overwritten"])
def test_an_input_that_leads_into_the_folder_is_refused(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, many: bool, overwrite: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    first = sorted(map(str, images.iterdir()))[:1]
    tagging().run_to("run", first, LABELS)
    (tmp_path / "run" / "images").mkdir()
    (tmp_path / "run" / "images" / "mine.png").write_bytes((images / first[0]).read_bytes())
    (tmp_path / "link.png").symlink_to(tmp_path / "run" / "images" / "mine.png")
    (tmp_path / "linked").symlink_to(tmp_path / "run" / "images")
    monkeypatch.setattr(target, "_FEW", 0 if many else 1000)
    parts = {part.name: part.read_bytes() for part in Path("run").glob("part-*")}
    with pytest.raises(BadInput, match="could be overwritten"):
        tagging().run_to("run", [*first, name], LABELS, overwrite=overwrite)
    assert {part.name: part.read_bytes() for part in Path("run").glob("part-*")} == parts
