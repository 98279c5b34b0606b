"""Images found again by their rows: whole files, members, dataset rows and frames, each of them or a clear reason."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.batch.originals import Original, Originals
from openvocab.batch.rows import Row
from openvocab.errors import ImageError
from openvocab.images.decode import decode_item, read_item
from openvocab.images.frames import frame_items, split_frame
from openvocab.images.items import Item
from openvocab.images.shards import members
from openvocab.images.sources import items
from tests.helpers.stages import LABELS, chain

COLORS = ["red", "lime", "blue"]


def _bytes(color: str, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 16), color).save(file, kind)
    return file.getvalue()


def _animation() -> bytes:
    file = io.BytesIO()
    first, *others = (Image.new("RGB", (24, 16), color) for color in COLORS)
    first.save(file, "GIF", save_all=True, append_images=others, duration=100)
    return file.getvalue()


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """A folder, a shard with a member's name twice, and a dataset on disk; animations in the first two."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a::b.png").write_bytes(_bytes("red"))
    (folder / "walk.gif").write_bytes(_animation())
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as file:
        for name, data in (("x/a.jpg", _bytes("red", "JPEG")), ("walk.gif", _animation()), ("x/a.jpg", _bytes("blue"))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    images = [{"bytes": _bytes(color), "path": None} for color in COLORS]
    made = datasets.Dataset.from_dict({"image": images}, datasets.Features({"image": datasets.Image(decode=False)}))
    made = made.cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": made, "test": made.select([1])}).save_to_disk(tmp_path / "saved")
    return [folder, shard, tmp_path / "saved"]


def _rows(sources: list[Path]) -> Iterator[tuple[Row, Item]]:
    for item in frame_items(items(sources), "all", lambda *_: False):
        seen = decode_item(item, 10**6, None)
        yield Row(item.id, seen.sha256, seen.width, seen.height, seen.frames), item


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_every_image_of_every_source_is_found(sources: list[Path], order: int) -> None:
    found, rows = Originals(), list(_rows(sources))[::order]
    assert len(rows) == 4 + 5 + 4
    for row, item in rows:
        original = found.find(row)
        assert original.path is None and original.data is not None
        if "#frame=" in row.id:
            with Image.open(io.BytesIO(original.data)) as image:
                assert image.format == "PNG" and original.suffix == ".png"
            assert np.array_equal(openvocab.read_image(original.data), decode_item(item, 10**6, None).pixels)
        else:
            assert original.data == read_item(item)
            assert original.suffix == (".jpg" if row.id.endswith(".jpg") else ".png")  # a.jpg#2 is a PNG
    found.close()


def test_a_file_is_only_named_where_its_bytes_are_not_asked_for(sources: list[Path]) -> None:
    path = str(sources[0] / "a::b.png")
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    for known in (digest, None):
        assert Originals().find(Row(path, known, 24, 16, 1), read=False) == Original(path, None, ".png")


def test_a_file_that_has_changed_is_not_named_either(sources: list[Path]) -> None:
    path = str(sources[0] / "a::b.png")
    with pytest.raises(ImageError, match="has changed since it was answered"):
        Originals().find(Row(path, "0" * 64, 24, 16, 1), read=False)


@pytest.mark.parametrize("images", ["link", "copy"])
def test_an_export_leaves_out_what_has_changed(tmp_path: Path, images: str) -> None:
    for name, color in (("a.png", "red"), ("b.png", "blue")):
        (tmp_path / name).write_bytes(_bytes(color))
    rows = [
        Row(str(tmp_path / name), hashlib.sha256(_bytes("red")).hexdigest(), 24, 16, 1) for name in ("a.png", "b.png")
    ]
    made = openvocab.export(rows, tmp_path / "out", "yolo", ["a"], images=images)
    assert made.unlinked == 1
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["a.png"]


def test_a_shard_is_read_once_for_rows_in_its_order(sources: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def counted(path: str, skip: object) -> Iterator[Item]:
        opened.append(path)
        return members(path, skip)  # type: ignore[arg-type]

    rows = [row for row, _ in _rows([sources[1]])]
    monkeypatch.setattr("openvocab.images.shards.members", counted)
    found = Originals()
    for row in rows:
        found.find(row)
    assert opened == [str(sources[1])]
    for number in range(20):
        with pytest.raises(ImageError, match="restore it"):
            found.find(Row(f"{sources[1]}::gone{number}.jpg", None, 8, 8, 1))
    assert len(opened) == 2  # what a shard lacks does not have it read again for each image


BROKEN = [
    pytest.param("gone.png", b"", "missing", "restore it", id="gone"),
    pytest.param("https://e.org/y.png?v=1", b"", "missing", "restore it", id="a web address"),
    pytest.param(
        "photos/a::b.png", _bytes("blue"), "vanished", "has changed since it was answered", id="another by now"
    ),
    pytest.param("photos/walk.gif#frame=1", _bytes("blue"), "vanished", "has changed", id="a frame of another by now"),
    pytest.param("s.tar::x/a.jpg", b"no tar file", "missing", "restore it", id="another shard by now"),
]


@pytest.mark.parametrize(("name", "data", "kind", "told"), BROKEN)
def test_what_is_not_there_or_another_has_one_reason(
    sources: list[Path], monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, kind: str, told: str
) -> None:
    monkeypatch.chdir(sources[0].parent)
    row = Row(name, hashlib.sha256(b"as it was").hexdigest(), 24, 16, 1)
    if data:
        Path(split_frame(name)[0].partition("::x/")[0]).write_bytes(data)
    with pytest.raises(ImageError, match=told) as caught:
        Originals().find(row)
    assert caught.value.kind == kind


def test_a_folder_for_training_has_frames_members_and_rows_as_files(sources: list[Path], tmp_path: Path) -> None:
    rows = [row for row, _ in _rows(sources)]
    rows.append(Row("https://e.org/y.png", "0" * 64, 8, 8, 1))
    made = openvocab.export(rows, tmp_path / "out", "yolo", ["a"], images="link")
    images = Path(made.path, "images")
    assert made.unlinked == 1 and len(list(images.iterdir())) == len(rows) - 1
    assert {"walk-frame0.png", "walk-frame1.png", "walk-frame2.png", "b.png"} <= {
        each.name for each in images.iterdir()
    }
    assert {path.stem for path in images.iterdir()} < {path.stem for path in Path(made.path, "labels").iterdir()}
    lines = [json.loads(line) for line in Path(made.path, "images.jsonl").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines if "left_out" in line] == ["https://e.org/y.png"]
    for line, row in zip(lines, rows[:-1], strict=False):
        again = decode_item(Item("x", str(Path(made.path, line["file"]))))
        assert (again.width, again.height) == (row.width, row.height)


LOOKALIKES = [
    pytest.param("s.tar::a.png", ".//s.tar::a.png", id="beside the shard"),
    pytest.param("s.tar::d/b.png", ".//s.tar::d/b.png", id="in a folder named like the shard"),
]


@pytest.mark.parametrize(("name", "marked"), LOOKALIKES)
@pytest.mark.parametrize("shard", ["s.tar", ".//s.tar"])
def test_a_file_named_like_a_member_and_the_member_have_ids_of_their_own(
    name: str, marked: str, shard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with tarfile.open("s.tar", "w") as file:
        info = tarfile.TarInfo(name.removeprefix("s.tar::"))
        info.size = len(_bytes("red"))
        file.addfile(info, io.BytesIO(_bytes("red")))
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(_bytes("blue"))
    chain().run_to("run", [shard, name], LABELS)
    rows, found = list(openvocab.read_run("run")), Originals()
    assert [row.id for row in rows] == [name, marked]
    assert [found.find(row).data for row in rows] == [_bytes("red"), _bytes("blue")]
    assert found.find(Row(name)).data == _bytes("red")
    Path(name).unlink()
    summary = chain().run_to("run", [shard], LABELS)
    assert (summary.skipped, summary.changed) == (1, {"removed": 1})


def test_a_file_named_like_a_row_of_a_dataset_is_marked(tmp_path: Path) -> None:
    (tmp_path / "saved::0").write_bytes(_bytes("red"))
    assert [item.id for item in items(tmp_path)] == [f"{tmp_path}/.//saved::0"]
    assert openvocab.find_images(tmp_path) == [tmp_path / "saved::0"]
