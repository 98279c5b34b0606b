"""Damage to a run's parts is an error that names the part, whoever reads it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openvocab
from openvocab import BadInput
from openvocab.batch.run_folder import Run
from tests.helpers.stages import LABELS, chain, save_images

FLIPS = 150


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    save_images(Path("photos"), 12)
    chain().run_to("run", "photos", LABELS, embeddings="float32", part_rows=6)
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
