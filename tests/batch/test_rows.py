from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from openvocab.batch.rows import Row, from_table, likely_labels, schema, to_table
from openvocab.errors import BadInput
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.result import Presence, Tag
from openvocab.pipeline.verdict import VERIFICATION, Verdict

HEIGHT, WIDTH = 7, 9


def _detections(count: int, masked: bool) -> Detections:
    rng = np.random.default_rng(count)
    scores = rng.random((3, count)).astype(np.float32)
    low = rng.uniform(0, 4, (count, 2))
    xyxy = np.concatenate([low, low + 2.5], 1).astype(np.float32)
    masks = rng.random((count, HEIGHT, WIDTH)) > 0.5
    labels = tuple(["犬", 'a,"b"', "=1+1"][row % 3] for row in range(count))
    return Detections(xyxy, scores[0], labels, scores[1], scores[2] if masked else None, masks if masked else None)


def _judged(*verdicts: Verdict) -> Detections:
    return replace(_detections(len(verdicts), True).encoded(), data={VERIFICATION: verdicts})


KEPT = _judged(Verdict("verified", "犬", 0.75), Verdict("relabeled", "b", 0.1), Verdict())
REJECTED = _judged(
    Verdict("unlikely", "犬", 0.01), Verdict("looks_like", "a 0.5", 0.7), Verdict("same_object", "b", 1.0)
)


ROWS = [
    pytest.param(Row("a.png", "0" * 64, WIDTH, HEIGHT, 1, tags=(Tag("犬", 0.5), Tag("b", 0.25))), id="tags alone"),
    pytest.param(Row("b", None, None, None, None, "truncated", "b: the file is cut short"), id="an error"),
    pytest.param(Row("c", "1" * 64, WIDTH, HEIGHT, 3, detections=_detections(4, True).encoded()), id="masks"),
    pytest.param(Row("d", "1" * 64, WIDTH, HEIGHT, 1, detections=_detections(2, False).encoded()), id="boxes alone"),
    pytest.param(Row("e", "1" * 64, WIDTH, HEIGHT, 1, detections=_detections(0, False).encoded()), id="nothing found"),
    pytest.param(Row("f\n\t", "1" * 64, WIDTH, HEIGHT, 1, features=np.array([0.6, 0.8], np.float32)), id="features"),
    pytest.param(Row("g", "1" * 64, WIDTH, HEIGHT, 1, detections=KEPT, rejected=REJECTED), id="verdicts"),
    pytest.param(
        Row("h", "1" * 64, WIDTH, HEIGHT, 1, detections=_judged(Verdict()), rejected=REJECTED), id="no verdict"
    ),
]


def _same(one: Row, other: Row) -> None:
    for name in ("id", "sha256", "width", "height", "frames", "status", "error_kind", "error"):
        assert getattr(one, name) == getattr(other, name)
    assert [tag.label for tag in one.tags] == [tag.label for tag in other.tags]
    np.testing.assert_allclose([tag.score for tag in one.tags], [tag.score for tag in other.tags])
    assert (one.detections is None) == (other.detections is None)
    assert one.detections == other.detections and one.rejected == other.rejected


@pytest.mark.parametrize("row", ROWS)
def test_a_row_survives_the_table(row: Row) -> None:
    kind = schema(2, half=False) if row.features is not None else schema()
    back = list(from_table(to_table([row], kind)))
    assert len(back) == 1
    _same(row, back[0])
    if row.features is not None:
        np.testing.assert_array_equal(back[0].features, row.features)


def test_verdicts_of_an_earlier_version_are_read_from_their_text() -> None:
    kind = schema()
    row = Row("g", "1" * 64, WIDTH, HEIGHT, 1, detections=KEPT, rejected=REJECTED)
    (plain,) = to_table([row], kind).to_pylist()
    for name in ("detections", "rejected"):
        for one in plain[name]:
            one["verification"] = str(Verdict(**one.pop("verdict")))
    (back,) = from_table(pa.Table.from_pylist([plain]))
    assert back.detections is not None and back.rejected is not None
    assert list(map(str, back.detections.data[VERIFICATION])) == ["verified", "relabeled: was b 0.10", ""]
    assert back.rejected == REJECTED


def test_masks_come_back_bit_for_bit() -> None:
    detections = _detections(5, True)
    np.testing.assert_array_equal(np.asarray(detections.encoded().masks), detections.masks)


def test_rows_without_features_have_one_of_nan_that_every_pyarrow_reads(tmp_path: Path) -> None:
    rows = [Row("a", features=np.array([1, 0], np.float16)), Row("b", None, error_kind="empty", error="b is empty")]
    parquet.write_table(to_table(rows, schema(2)), tmp_path / "rows.parquet")
    table = parquet.read_table(tmp_path / "rows.parquet")
    np.testing.assert_array_equal(table.column("features").to_pylist(), [[1, 0], [np.nan, np.nan]])
    back = list(from_table(table))
    assert back[0].features is not None
    assert back[1].features is None


def test_rows_of_runs_whose_absent_features_are_null_are_read() -> None:
    row = Row("b", None, error_kind="empty", error="b is empty")
    last, kind = len(schema(2)) - 1, schema(2).field("features")
    table = to_table([row], schema(2)).set_column(last, kind, pa.nulls(1, kind.type))
    assert next(from_table(table)).features is None


def test_features_of_another_length_are_refused() -> None:
    with pytest.raises(BadInput, match=r"a: its features have shape \(3,\), not \(2,\)"):
        to_table([Row("a", features=np.ones(3, np.float32))], schema(2))


def test_the_hundred_likeliest_labels_are_stored_in_their_order() -> None:
    places = {f"thing {number}": number for number in range(120)}
    stored = likely_labels(Presence(places, np.linspace(0.1, 0.9, 120, dtype=np.float32)))
    assert stored is not None and list(stored) == list(places)[20:]
