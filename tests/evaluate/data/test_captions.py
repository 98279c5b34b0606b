"""Images with captions: lists, CLIP_benchmark's WebDataset layout, and messages for bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.evaluate.data import load_captions
from tests.evaluate.conftest import write_shards

OWN = {"a.png": ("a dog, brown", "two | dogs"), "b.png": ("a cat",)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in OWN:
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def written(folder: Path, kind: str, column: str) -> str:
    """A list with one row per caption, or one row per image."""
    rows: list[dict[str, Any]] = [
        {"path": name, column: said}
        for name, own in OWN.items()
        for said in (own if column == "caption" else [list(own)])
    ]
    path = folder / f"list.{kind}"
    if kind == "csv":
        import csv

        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["path", column])
            writer.writeheader()
            for row in rows:
                said = row[column]
                writer.writerow(row | {column: said if isinstance(said, str) else json.dumps(said)})
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["caption", "captions"])
def test_lists(kind, column, folder):
    data = load_captions(written(folder, kind, column))
    assert {Path(str(one.item.path)).name: one.captions for one in data.images()} == OWN


def test_web_dataset(tmp_path):
    shards = [[(b"one", b"a dog\na brown dog")], [(b"two", b"a cat\n")]]
    write_shards(tmp_path, shards, "txt")
    (tmp_path / "dataset_type.txt").write_text("retrieval\n", "utf-8")
    data = load_captions(str(tmp_path))
    found = [(one.item.data, one.captions) for one in data.images()]
    assert found == [(b"one", ("a dog", "a brown dog")), (b"two", ("a cat",))]


def test_a_missing_image_of_a_list_is_counted_with_its_line(folder):
    path = written(folder, "csv", "caption")
    (folder / "b.png").unlink()
    with pytest.warns(OpenVocabWarning, match=r"lists 1 image that does not exist, the first on line 4: .*b.png"):
        assert len(list(load_captions(path).images())) == 1


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("x.csv", "path,caption\n", "lists no image", id="no row"),
        pytest.param("x.csv", "path,caption\na.png,\n", "line 2, has no caption that is a string", id="empty"),
        pytest.param("x.csv", "path,label\na.png,dog\n", "line 2, has no caption", id="no column of captions"),
        pytest.param("x.csv", "file,captions\na.png,a dog\n", "has captions that are not a list", id="no JSON"),
        pytest.param("x.csv", "name,caption\na.png,a dog\n", "line 2, names no image", id="no column of paths"),
        pytest.param("x.jsonl", '{"path": "a.png", "captions": []}', "line 1, has no caption", id="an empty list"),
        pytest.param("x.csv", "path,caption\nno.png,dog\n", "no image", id="all missing"),
        pytest.param("x.txt", "", "is not an existing list", id="another suffix"),
    ],
)
def test_bad_lists(name, text, says, folder):
    (folder / name).write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says):
        load_captions(str(folder / name))


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        pytest.param(None, b"a dog", "dataset_type.txt' is not a file", id="no type"),
        pytest.param("classification", b"a dog", "is a data set for 'classification'", id="another task"),
        pytest.param("retrieval", b" \n", r"0.tar::s0000000' has no .txt with a caption", id="no caption"),
    ],
)
def test_bad_web_datasets(kind, text, says, tmp_path):
    write_shards(tmp_path, [[(b"one", text)]], "txt")
    if kind is not None:
        (tmp_path / "dataset_type.txt").write_text(kind, "utf-8")
    with pytest.raises(BadInput, match=says):
        list(load_captions(str(tmp_path)).images())
