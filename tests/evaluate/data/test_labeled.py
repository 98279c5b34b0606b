"""Loaders of labeled images: what they load, and messages for bad input."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from openvocab.errors import BadInput, OpenVocabWarning, UnknownName
from openvocab.evaluate.data import LABELED, load_labeled
from tests.evaluate.conftest import write_shards

FILES = ("a/1.png", "a/deep/2.png", "b/3.png")


def png(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        png(tmp_path / "data" / name)
    return tmp_path / "data"


def seen(data: Any) -> list[tuple[str, ...]]:
    """Last part of the id and labels of each image."""
    return [(one.item.id.rpartition("/")[2], *(data.labels[row] for row in one.labels)) for one in data.images()]


def written(folder: Path, kind: str, rows: list[dict[str, Any]]) -> str:
    path = folder / f"list.{kind}"
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n", "utf-8")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def test_image_folder_is_read_as_torchvision_reads_it(image_folder):
    from torchvision.datasets import ImageFolder

    upstream, data = ImageFolder(str(image_folder)), load_labeled(str(image_folder), "imagefolder")
    assert data.labels == tuple(upstream.classes)
    assert [(one.item.path, *one.labels) for one in data.images()] == upstream.samples
    assert not data.multi_label and data.templates is None


def test_images_are_found_at_any_depth_and_hidden_ones_are_skipped(folder):
    png(folder / ".thumbs" / "no.png")
    png(folder / "a" / ".no.png")
    assert seen(load_labeled(str(folder), "imagefolder")) == [("1.png", "a"), ("2.png", "a"), ("3.png", "b")]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_lists_with_one_label(kind, folder):
    rows = [{"path": name, "label": name[0]} for name in reversed(FILES)]
    data = load_labeled(written(folder, kind, rows), "list")
    assert (data.labels, data.multi_label) == (("a", "b"), False)
    assert seen(data) == [("3.png", "b"), ("2.png", "a"), ("1.png", "a")]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_lists_with_several_labels(kind, folder):
    own: list[Any] = [["y", "x"], [], ["x"]]
    rows = [
        {"file_name": name, "labels": "|".join(labels) if kind == "csv" else labels}
        for name, labels in zip(FILES, own, strict=True)
    ]
    data = load_labeled(written(folder, kind, rows), "list")
    assert (data.labels, data.multi_label) == (("x", "y"), True)
    assert seen(data) == [("1.png", "x", "y"), ("2.png",), ("3.png", "x")]


def test_web_dataset(web_dataset, image_folder):
    data = load_labeled(str(web_dataset), "webdataset")
    assert data.templates == ("a photo of a {label}.", "art of the {label}")
    images = list(data.images())
    assert len(images) == 200
    assert len({one.item.id for one in images}) == 200
    straight = load_labeled(str(image_folder), "imagefolder")
    expected = {(Path(str(one.item.path)).read_bytes(), one.labels) for one in straight.images()}
    assert {(one.item.data, one.labels) for one in images} == expected


def _npy(row: list[int]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(row))
    return file.getvalue()


def test_web_dataset_with_several_labels(tmp_path):
    write_shards(tmp_path, [[(b"image", _npy([1, 0, 1])), (b"image", _npy([0, 0, 0]))]], "npy")
    (tmp_path / "classnames.txt").write_text("a\nb\nc\n", "utf-8")
    (tmp_path / "dataset_type.txt").write_text("multilabel", "utf-8")
    data = load_labeled(str(tmp_path), "webdataset")
    assert data.multi_label
    assert [one.labels for one in data.images()] == [(0, 2), ()]


def test_renamed_labels_and_another_vocabulary(folder):
    data = load_labeled(str(folder), "imagefolder")
    turned = data.with_labels(["dog", "cat", "b"], {"a": "cat"})
    assert turned.labels == ("dog", "cat", "b")
    assert [row for _, *row in seen(turned)] == [["cat"], ["cat"], ["b"]]
    together = data.with_labels(names={"a": "thing", "b": "thing"})
    assert together.labels == ("thing",)
    assert [one.labels for one in together.images()] == [(0,), (0,), (0,)]


@pytest.mark.parametrize(
    ("vocabulary", "names", "says"),
    [
        pytest.param(["a", "bb"], {}, "the first is 'b' (is it 'bb'?); add it", id="labels do not match"),
        pytest.param(None, {"aa": "cat"}, "names 'aa', which is not a label of the data; is it 'a'?", id="class map"),
        pytest.param(None, {"zzz": "cat"}, "is not a label of the data; correct it; '", id="class map, nothing near"),
    ],
)
def test_labels_that_do_not_match_are_refused(vocabulary, names, says, folder):
    with pytest.raises(BadInput) as caught:
        load_labeled(str(folder), "imagefolder").with_labels(vocabulary, names)
    assert says in str(caught.value)


def test_a_folder_without_an_image_is_counted_and_stays_a_label(folder):
    (folder / "c").mkdir()
    with pytest.warns(OpenVocabWarning, match="1 of 3 folders in .* contain no image, the first is 'c'"):
        data = load_labeled(str(folder), "imagefolder")
    assert data.labels == ("a", "b", "c")


def test_images_in_no_folder_are_counted(folder):
    png(folder / "loose.png")
    with pytest.warns(OpenVocabWarning, match="1 image in .* outside the labels' folders, such as 'loose.png'"):
        load_labeled(str(folder), "imagefolder")


def test_a_missing_image_of_a_list_is_counted_with_its_line(folder):
    rows = [{"path": name, "label": "a"} for name in (FILES[0], "gone.png", "gone too.png")]
    with pytest.warns(OpenVocabWarning, match=r"lists 2 images that do not exist, the first on line 3: .*gone.png"):
        data = load_labeled(written(folder, "csv", rows), "list")
    assert seen(data) == [("1.png", "a")]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("x.csv", "path,label\n", "lists no image", id="no row"),
        pytest.param("x.csv", "name,label\n1.png,a\n", "line 2, names no image", id="no column of paths"),
        pytest.param("x.csv", "path,kind\na/1.png,a\n", "line 2, has no label", id="no column of labels"),
        pytest.param("x.csv", "path,label\na/1.png,a\na/1.png,\n", "line 3, has no label", id="no label"),
        pytest.param("x.csv", "path,label\nno.png,a\n", "no image", id="all missing"),
        pytest.param("x.csv", "path,label\na/1.png,a\nb/3.png,A\n", "are the same", id="labels that are twins"),
        pytest.param("x.jsonl", '{"path": "a/1.png", "label": "a"}\n{', "line 2, is not JSON", id="broken JSON"),
        pytest.param("x.jsonl", "[1]", "line 1, is not a JSON object", id="JSON that is no object"),
        pytest.param("x.parquet", "text", "is not a Parquet file", id="no Parquet file"),
        pytest.param("x.tsv", "path\tlabel\n", r"ends in .csv, .jsonl or .parquet", id="another suffix"),
    ],
)
def test_bad_lists(name, text, says, folder):
    (folder / name).write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says):
        load_labeled(str(folder / name), "list")


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        pytest.param(None, "is not a folder", id="missing"),
        pytest.param([], "contains no folder", id="empty folder"),
        pytest.param(["a", "b"], "no folder in .* contains an image", id="no image at all"),
    ],
)
def test_bad_image_folders(folders, says, tmp_path):
    for name in folders or []:
        (tmp_path / "root" / name).mkdir(parents=True)
    if folders is not None:
        (tmp_path / "root").mkdir(exist_ok=True)
    with pytest.raises(BadInput, match=says):
        load_labeled(str(tmp_path / "root"), "imagefolder")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"classnames.txt": None}, "classnames.txt' is not a file", id="no classnames"),
        pytest.param({"classnames.txt": "\n"}, "names no label", id="empty classnames"),
        pytest.param({"test/nshards.txt": None}, "nshards.txt' is not a file", id="no count of shards"),
        pytest.param({"test/nshards.txt": "many"}, "write how many shards", id="count is no number"),
        pytest.param({"test/nshards.txt": "2"}, "1.tar' does not exist", id="a shard is missing"),
        pytest.param({"dataset_type.txt": "retrieval"}, "is a data set for 'retrieval'", id="another task"),
        pytest.param({"classnames.txt": "only\n"}, r"0.tar::s0000001' has no .cls .* 0 to 0", id="label out of range"),
        pytest.param({"test/0.tar": "no tar file"}, "0.tar' is broken", id="broken shard"),
    ],
)
def test_bad_web_datasets(change, says, tmp_path):
    write_shards(tmp_path, [[(b"image", b"0"), (b"image", b"1")]])
    (tmp_path / "classnames.txt").write_text("a\nb\n", "utf-8")
    for name, text in change.items():
        (tmp_path / name).unlink(missing_ok=True)
        if text is not None:
            (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says):
        list(load_labeled(str(tmp_path), "webdataset").images())


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(UnknownName, match="did you mean 'imagefolder'"):
        load_labeled("x", "imagefolders")
    assert sorted(LABELED) == ["imagefolder", "list", "torchvision", "webdataset"]
