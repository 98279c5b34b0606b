"""CSV read back with the csv module and pyarrow, JSON Lines with json and datasets."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from pyarrow import csv as arrow_csv

import openvocab
from openvocab.formats.tables import COLUMNS
from openvocab.pipeline.display import FORMULA, escaped
from openvocab.pipeline.verdict import VERIFICATION, Verdict


def _lines(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _plain(text):
    return text.removeprefix("'")


def test_csv_comes_back(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "rows.csv", "csv", scene.labels)
    lines = _lines(made.path)
    first = [line for line in lines if line["id"] == scene.rows[0].id]
    assert [_plain(line["label"]) for line in first if line["kind"] == "tag"] == ["犬", 'a,"b"']
    detections = [line for line in first if line["kind"] == "detection"]
    assert [_plain(line["label"]) for line in detections] == list(scene.rows[0].detections.labels)
    edges = [[float(line[name]) for name in ("left", "top", "right", "bottom")] for line in detections]
    np.testing.assert_array_equal(np.array(edges, np.float32), scene.rows[0].detections.xyxy)
    counts = tuple(_plain(line["counts"]) for line in detections)
    assert counts == scene.rows[0].detections.masks.counts
    error = next(line for line in lines if line["status"] == "error")
    assert (error["id"], error["error_kind"], error["kind"]) == (scene.rows[3].id, "truncated", "")
    assert [line["kind"] for line in lines if line["id"] == scene.rows[2].id] == [""]


def test_no_text_cell_begins_like_a_formula(tmp_path):
    texts = [f"{start}1" for start in FORMULA] + ["plain", ""]
    rows = [openvocab.Row(text, error_kind="empty", error=text) for text in texts]
    lines = _lines(openvocab.export(rows, tmp_path / "rows.csv", "csv", []).path)
    for name in ("id", "error"):
        cells = [line[name] for line in lines]
        assert not [cell for cell in cells if cell.startswith(tuple(set(FORMULA) - {"'"}))]
        assert [_plain(cell) for cell in cells] == texts


def test_raw_leaves_cells_alone(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "rows.csv", "csv", scene.labels, raw=True)
    assert '=HYPERLINK("x")' in [line["label"] for line in _lines(made.path)]
    assert escaped('=HYPERLINK("x")') == '\'=HYPERLINK("x")'


def test_pyarrow_reads_the_csv(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "rows.csv", "csv", scene.labels)
    table = arrow_csv.read_csv(made.path, parse_options=arrow_csv.ParseOptions(newlines_in_values=True))
    assert tuple(table.column_names) == COLUMNS
    assert table.num_rows == 2 + 4 + 4 + 1 + 1 + 1 + 4


def test_json_lines_come_back(scene, tmp_path):
    made = openvocab.export(scene.rows, tmp_path / "rows.jsonl", "jsonl", scene.labels)
    with open(made.path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    assert [line["id"] for line in lines] == [row.id for row in scene.rows]
    for row, line in zip(scene.rows, lines, strict=True):
        for name in ("status", "error_kind", "error", "sha256", "width", "height", "frames"):
            assert line[name] == getattr(row, name)
        assert [(tag["label"], tag["score"]) for tag in line["tags"]] == [(tag.label, tag.score) for tag in row.tags]
        assert (line["detections"] is None) == (row.detections is None)
        if row.detections is not None and len(row.detections):
            np.testing.assert_array_equal(
                np.array([one["xyxy"] for one in line["detections"]], np.float32), row.detections.xyxy
            )
            np.testing.assert_array_equal(
                np.array([one["score"] for one in line["detections"]], np.float32), row.detections.scores
            )
            assert [one["label"] for one in line["detections"]] == list(row.detections.labels)
    assert tuple(one["mask"]["counts"] for one in lines[0]["detections"]) == scene.rows[0].detections.masks.counts


def test_verdicts_are_written(scene, tmp_path):
    looks = replace(scene.rows[0].detections[:1], data={VERIFICATION: (Verdict("looks_like", "=1+1", 0.75),)})
    row = replace(scene.rows[0], detections=looks, rejected=looks, presence={"犬": 0.5}, notes=("a note",))
    with open(openvocab.export(row, tmp_path / "rows.jsonl", "jsonl", scene.labels).path, encoding="utf-8") as file:
        plain = json.loads(file.read())
    wanted = {"kind": "looks_like", "label": "=1+1", "probability": 0.75}
    assert [one["verdict"] for name in ("detections", "rejected") for one in plain[name]] == [wanted] * 2
    assert (plain["presence"], plain["notes"]) == ({"犬": 0.5}, ["a note"])
    cells = _lines(openvocab.export(row, tmp_path / "rows.csv", "csv", scene.labels).path)[-1]
    assert [cells[name] for name in COLUMNS[-3:]] == ["looks_like", "'=1+1", "0.75"]


def test_features_come_back(tmp_path):
    vector = np.random.default_rng(0).normal(size=7).astype(np.float32)
    row = openvocab.Row("a", "0" * 64, 1, 1, 1, features=vector)
    made = openvocab.export(row, tmp_path / "rows.jsonl", "jsonl")
    with open(made.path, encoding="utf-8") as file:
        np.testing.assert_array_equal(np.array(json.loads(file.read())["features"], np.float32), vector)


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_a_name_that_is_not_unicode_is_written(tmp_path, name):
    made = openvocab.export(openvocab.Row("a\udcff.png", "0" * 64, 1, 1, 1), tmp_path / "rows", name)
    with open(made.path, encoding="utf-8") as file:
        assert "bytes:a%FF.png" in file.read()
