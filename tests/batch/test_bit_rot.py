"""Damage to a run's parts is an error that names the part, whoever reads it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openvocab
from openvocab import BadInput
from openvocab.batch import atomic, manifest, part_files
from openvocab.batch.run_folder import Run, RunFolder
from tests.helpers.stages import LABELS, chain, save_images, tagging

FLIPS = 150


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    save_images(Path("photos"), 12)
    chain().run_to("run", "photos", LABELS, features="float32", part_rows=6)
    return openvocab.read_run("run")


def plain(run: Run) -> list[Any]:
    return [table.to_pylist() for table in run.tables()]


def test_bit_flips_in_the_pages_of_a_part_do_not_read_back_as_other_rows(run: Run) -> None:
    import pyarrow.parquet as pq

    part, rng, whole = run.parts[0], random.Random(5), plain(run)
    data, group = part.read_bytes(), pq.read_metadata(part).row_group(0)
    chunks = [group.column(at) for at in range(group.num_columns)]
    starts = [(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size) for chunk in chunks]
    silent = named = 0
    for _ in range(FLIPS):
        start, size = rng.choice(starts)
        spoilt = bytearray(data)
        spoilt[start + size // 2 + rng.randrange(size - size // 2)] ^= 1 << rng.randrange(8)  # behind the page's header
        part.write_bytes(spoilt)
        try:
            silent += plain(run) != whole
        except BadInput as error:
            named += part.name in str(error)
    assert silent == 0
    assert named > FLIPS // 2


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda run: len(run), id="length"),
        pytest.param(lambda run: list(run), id="rows"),
        pytest.param(lambda run: list(run.tables()), id="tables"),
        pytest.param(lambda run: openvocab.export(run, "out.jsonl", "jsonl"), id="export"),
        pytest.param(lambda run: openvocab.export(run, "out", "yolo"), id="export of a folder"),
    ],
)
def test_a_damaged_part_is_named_and_the_output_is_not_blamed(run: Run, read: Callable[[Run], Any]) -> None:
    part = run.parts[1]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"part-00001\.parquet is damaged"):
        read(run)


def flip_anywhere(run: Run, flips: int, seed: int) -> tuple[int, int]:
    """Flip single bits of a part, header and footer too; return how many were silent, and how many named the part."""
    part, rng, silent, named = run.parts[0], random.Random(seed), 0, 0
    data = part.read_bytes()
    for _ in range(flips):
        spoilt = bytearray(data)
        spoilt[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        part.write_bytes(spoilt)
        for read in (plain, lambda run: run.dataset):
            try:
                read(run)
                silent += 1
            except BadInput as error:
                named += part.name in str(error)
    part.write_bytes(data)
    return silent, named


def test_no_bit_of_a_part_flips_silently(run: Run) -> None:
    assert flip_anywhere(run, 40, seed=7) == (0, 80)
    assert len(plain(run)) == 2


@pytest.mark.long
def test_none_of_four_hundred_bits_flips_silently(run: Run) -> None:
    assert flip_anywhere(run, 400, seed=8) == (0, 800)


def part_of(run: Run, number: int) -> Path:
    return run.path / f"part-{number:05}.parquet"


def cut(run: Run, number: int) -> None:
    part_of(run, number).write_bytes(part_of(run, number).read_bytes()[:-20])


def empty(run: Run, number: int) -> None:
    part_of(run, number).write_bytes(b"")


def swap(run: Run, number: int) -> None:
    part_of(run, number).write_bytes(part_of(run, (number + 1) % 4).read_bytes())


def remove(run: Run, number: int) -> None:
    part_of(run, number).unlink()


def double(run: Run, number: int) -> None:
    (run.path / "part-00017.parquet").write_bytes(part_of(run, number).read_bytes())


def remove_two(run: Run, number: int) -> None:
    remove(run, number)
    remove(run, (number + 1) % 4)


DAMAGE = [
    pytest.param(cut, "is damaged", 2, id="cut"),
    pytest.param(empty, "is damaged", 2, id="empty"),
    pytest.param(swap, "is damaged", 2, id="another part's bytes"),
    pytest.param(remove, "is missing", 2, id="missing"),
    pytest.param(remove_two, "is missing", 4, id="two missing"),
    pytest.param(double, r"part-00017\.parquet is a copy of part-0000\d\.parquet", 0, id="doubled"),
]


@pytest.mark.parametrize("number", [0, 2, 3], ids=["first", "middle", "last"])
@pytest.mark.parametrize(("spoil", "words", "redone"), DAMAGE)
def test_a_spoilt_part_is_named_and_its_rows_are_redone_in_their_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Run, int], None],
    words: str,
    redone: int,
    number: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_images(Path("photos"), 8)
    tagging().run_to("run", "photos", LABELS, part_rows=2)
    run = openvocab.read_run("run")
    before = [row.id for row in run]
    spoil(run, number)
    for read in (len, list, plain, lambda run: run.dataset):
        with pytest.raises(BadInput, match=words):
            read(run)
    stopped, seen = tagging(batch_size=1), list[int]()
    first = stopped.run_to(
        "run", "photos", LABELS, part_rows=1, workers=1, stop=lambda: bool(seen), on_answer=lambda *_: seen.append(1)
    )
    assert any(re.search(words, each.getMessage()) for each in caplog.records)
    assert first.rows + tagging().run_to("run", "photos", LABELS, part_rows=1).rows == redone
    assert [row.id for row in run] == before == run.dataset.to_table(columns=["id"]).column("id").to_pylist()


def test_a_part_without_a_line_is_read_and_gets_one(run: Run) -> None:
    lines = (run.path / "parts.jsonl").read_bytes()
    for text in (lines.splitlines(True)[0], lines[:-9], b"\xff\n[]\n{}\n", b""):
        (run.path / "parts.jsonl").write_bytes(text)
        assert len(plain(run)) == 2
        assert chain().run_to("run", "photos", LABELS, features="float32").skipped == 12
        assert (run.path / "parts.jsonl").read_bytes() == lines


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_part_that_was_being_replaced_is_sound_either_way(run: Run, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    whole_rows = plain(run)[0][1:]
    real = atomic.write_atomic

    def dying(path: Path, data: Any) -> None:
        if at == "after":
            real(path, data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("openvocab.batch.run_folder.write_atomic", dying)
        with pytest.raises(KeyboardInterrupt):
            RunFolder(run.path).drop("id", ["photos/00000.png"])
    assert plain(run)[0][-5:] == whole_rows
    manifest.mend(run.path)
    assert len(run) == (12 if at == "before" else 11)
    assert len((run.path / "parts.jsonl").read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    ("names", "before", "made"),
    [
        pytest.param([], None, "part-00000", id="the first"),
        pytest.param(["part-00000", "part-00004"], None, "part-00005", id="the end"),
        pytest.param(["part-00001"], (1, 0), "part-00000", id="before all"),
        pytest.param(["part-00000", "part-00002"], (2, 0), "part-00001", id="a gap"),
        pytest.param(["part-00000", "part-00001"], (1, 0), "part-00000_00001", id="no gap"),
        pytest.param(["part-00000", "part-00000_00001", "part-00001"], (1, 0), "part-00000_00002", id="a piece more"),
        pytest.param(["part-00000", "part-00001"], (0, 0), "part-00002", id="no room"),
    ],
)
def test_a_new_part_gets_a_name_in_its_place(names: list[str], before: Any, made: str) -> None:
    assert part_files.free_name([Path(f"{name}.parquet") for name in names], before) == f"{made}.parquet"
