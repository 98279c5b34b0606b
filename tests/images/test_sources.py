"""Sources: what a name means, in order, once each."""

from __future__ import annotations

import csv
import io
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from openvocab.errors import BadInput, ImageError, MissingExtra
from openvocab.images.decode import decode_item
from openvocab.images.items import Item
from openvocab.images.shards import expand_braces
from openvocab.images.sources import items


def png(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str, data: bytes | None = None) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(png() if data is None else data)


def noise() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    return buffer.getvalue()


def ids(named: Any, **options: Any) -> list[str]:
    return [item.id for item in items(named, **options)]


def kind_of(item: Item) -> str:
    try:
        decode_item(item)
    except ImageError as error:
        return error.kind
    return "ok"


def outcomes(named: Any, **options: Any) -> dict[str, str]:
    return {item.id: kind_of(item) for item in items(named, **options)}


def shard(path: str, members: dict[str, bytes], mode: str = "w") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))


@pytest.mark.usefixtures("here")
class TestFolders:
    def test_content_decides_where_the_suffix_says_nothing(self) -> None:
        put("d/a.png", "d/IMG_0001", "d/b.PFM")
        put("d/notes.txt", data=b"words")
        put("d/list.csv", data=b"path\nd/a.png\n")
        assert ids("d") == ["d/IMG_0001", "d/a.png", "d/b.PFM"]

    @pytest.mark.parametrize(
        ("named", "found"),
        [
            pytest.param("d", ["d/a.png", "d/b/c.png", "d/b.png"], id="the order of names"),
            pytest.param(["d/b", "d"], ["d/b/c.png", "d/a.png", "d/b.png"], id="a folder, then the one it lies in"),
            pytest.param(["d", "d/b/c.png", "d/b"], ["d/a.png", "d/b/c.png", "d/b.png"], id="named again within"),
            pytest.param(["d", "d/.x.png"], ["d/a.png", "d/b/c.png", "d/b.png", "d/.x.png"], id="hidden, but named"),
            pytest.param(["d/*.png"], ["d/a.png", "d/b.png"], id="pattern"),
            pytest.param(["d/**/*.png"], ["d/a.png", "d/b.png", "d/b/c.png"], id="pattern, to the bottom"),
            pytest.param(["d/*"], ["d/a.png", "d/b/c.png", "d/b.png"], id="pattern, folders too, no list"),
            pytest.param(["d/{a,b}.png"], ["d/a.png", "d/b.png"], id="braces"),
            pytest.param(["d/[x].png"], ["d/[x].png"], id="brackets in a name"),
        ],
    )
    def test_names(self, named: Any, found: list[str]) -> None:
        put("d/a.png", "d/b.png", "d/b/c.png", "d/.x.png")
        put("d/notes.txt", data=b"a list, or words")
        if "[x]" in named[0]:
            put("d/[x].png")
        assert ids(named) == found

    def test_a_pattern_that_fits_nothing_is_refused(self) -> None:
        with pytest.raises(BadInput, match="no file matches"):
            ids("*.jpg")

    def test_the_run_folder_within_is_passed_over(self) -> None:
        put("d/a.png", "d/run/images/a.png")
        assert ids("d", without="d/run") == ["d/a.png"]

    def test_what_is_skipped_has_nothing_to_read(self) -> None:
        put("d/a.png", "d/b.png")
        assert [item.skipped for item in items("d", skip=lambda name, *_: name.endswith("a.png"))] == [True, False]


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(lambda path: path.write_bytes(noise()[:2000]), "truncated", id="cut short"),
        pytest.param(lambda path: path.write_bytes(png().replace(b"IDAT", b"IDAX")), "corrupt", id="corrupt"),
        pytest.param(lambda path: path.write_bytes(b""), "empty", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"<html>"), "not_an_image", id="HTML"),
        pytest.param(os.mkfifo, "not_a_file", id="pipe, never opened"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "not_a_file", id="device"),
        pytest.param(lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0"), "not_an_image", id="EPS as PNG"),
        pytest.param(loop, "missing", id="link to itself"),
        pytest.param(lambda path: path.symlink_to("gone"), "missing", id="dangling link"),
        pytest.param(lambda path: os.link(Path("d/a.png"), path), "ok", id="hard link"),
        pytest.param(lambda path: None, "vanished", id="gone since it was listed"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_lies_in_a_folder_has_a_row(make: Any, kind: str) -> None:
    put("d/a.png", "d/z.png")
    make(Path("d/m.png"))
    if kind == "vanished":
        put("d/m.png")
    found = list(items("d"))
    if kind == "vanished":
        Path("d/m.png").unlink()
    assert {item.id: kind_of(item) for item in found} == {"d/a.png": "ok", "d/m.png": kind, "d/z.png": "ok"}


@pytest.mark.usefixtures("here")
def test_links_to_folders_are_not_followed() -> None:
    """The walk ends."""
    put("d/a.png", "d/sub/b.png")
    Path("d/sub/up").symlink_to("..")
    Path("d/sub/up.png").symlink_to("..")
    assert ids("d") == ["d/a.png", "d/sub/b.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize(
    "name", ["\udcff.png", "a\nb.png", "%FF.png", "bytes:x.png", "x" * 251 + ".png", "a::b.png", " .png"]
)
@pytest.mark.usefixtures("here")
def test_file_names_of_any_bytes_are_ids(name: str) -> None:
    from openvocab.batch.rows import id_of, text_of

    put(f"d/{name}")
    assert outcomes("d") == {f"d/{name}": "ok"}
    for whole in (name, f"d/{name}"):
        text_of(whole).encode()
        assert id_of(text_of(whole)) == whole


@pytest.mark.usefixtures("here")
def test_a_folder_that_cannot_be_listed_is_one_item(monkeypatch: pytest.MonkeyPatch) -> None:
    put("d/a.png", "d/shut/b.png")
    listed, allowed = os.scandir, os.access

    def scandir(path: Any) -> Any:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("shut") and allowed(path, mode))
    assert outcomes("d") == {"d/a.png": "ok", "d/shut": "unreadable"}


LISTS = [
    pytest.param("l.txt", b"d/a.png\r\n\nd/b.png\nd/a.png\n", id="text, one twice"),
    pytest.param("l.txt", b"\xef\xbb\xbfd/a.png\nd/b.png", id="text with a byte order mark"),
    pytest.param("l.csv", b"d/a.png\nd/b.png\n", id="CSV, one column without a head"),
    pytest.param("l.csv", b"n,Path\n1,d/a.png\n2,d/b.png\n3\n", id="CSV, by the head"),
]


@pytest.mark.parametrize(("name", "data"), LISTS)
@pytest.mark.usefixtures("here")
def test_lists(name: str, data: bytes) -> None:
    put("d/a.png", "d/b.png")
    put(name, data=data)
    assert outcomes(name) == {"d/a.png": "ok", "d/b.png": "ok"}


@pytest.mark.usefixtures("here")
def test_parquet_lists_and_names_of_any_bytes() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    put("d/a.png", "d/\udcff.png")
    pq.write_table(pa.table({"file_name": ["d/a.png", None], "n": [1, 2]}), "l.parquet")
    put("l.txt", data=os.fsencode("d/\udcff.png\nd\nnone.png\nhttps://example.org/a.png\n"))
    assert outcomes("l.parquet") == {"d/a.png": "ok"}
    assert outcomes("l.txt") == {
        "d/\udcff.png": "ok",
        "d": "not_a_file",
        "none.png": "missing",
        "https://example.org/a.png": "unreadable",
    }


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param("l.csv", b"a,b\n1,2\n", "name the column that holds the paths", id="no known column"),
        pytest.param("l.parquet", b"PAR1", "not a Parquet file", id="no Parquet"),
    ],
)
@pytest.mark.usefixtures("here")
def test_lists_that_cannot_be_used(name: str, data: bytes, words: str) -> None:
    put(name, data=data)
    with pytest.raises(BadInput, match=words):
        ids(name)


def test_csv_fields_may_hold_anything(here: Path) -> None:
    put('d/a,"b"\n.png')
    with (here / "l.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "n"], ['d/a,"b"\n.png', 1]])
    assert outcomes("l.csv") == {'d/a,"b"\n.png': "ok"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        pytest.param("s-{008..011}.tar", ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"], id="zeros"),
        pytest.param("s-{9..11}.tar", ["s-9.tar", "s-10.tar", "s-11.tar"], id="no zeros"),
        pytest.param("{a,b}-{1..2}", ["a-1", "a-2", "b-1", "b-2"], id="two"),
        pytest.param("plain{x}", ["plain{x}"], id="no list and no range"),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert list(expand_braces(pattern)) == names


@pytest.mark.parametrize("pattern", ["{5..1}", "{0..99999999}"])
def test_braces_that_make_no_sense(pattern: str) -> None:
    with pytest.raises(BadInput, match="must count upwards"):
        list(expand_braces(pattern))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.usefixtures("here")
def test_shards_are_streams_of_their_images(mode: str) -> None:
    members = {"0.jpg": png(1), "0.json": b"{}", "1.png": b"no image", "a/../../../etc/x.png": png(2)}
    for number in (0, 1):
        shard(f"s/x-{number:03}.tar", members, mode)
    found = outcomes("s/x-{000..002}.tar")
    assert found == {
        **{
            f"s/x-{number:03}.tar::{name}": kind
            for number in (0, 1)
            for name, kind in (("0.jpg", "ok"), ("1.png", "not_an_image"), ("a/../../../etc/x.png", "ok"))
        },
        "s/x-002.tar": "missing",
    }
    assert not (Path.cwd().parent / "etc").exists()


@pytest.mark.usefixtures("here")
def test_members_of_one_name_are_told_apart() -> None:
    with tarfile.open("s.tar", "w") as file:
        for shade in (1, 2):
            entry = tarfile.TarInfo("a.png")
            entry.size = len(png(shade))
            file.addfile(entry, io.BytesIO(png(shade)))
        link = tarfile.TarInfo("l.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    assert ids("s.tar") == ["s.tar::a.png", "s.tar::a.png#2"]


@pytest.mark.parametrize("cut", [0.1, 0.35, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.usefixtures("here")
def test_a_truncated_shard_ends_in_an_error_item(cut: float, mode: str) -> None:
    shard("s.tar", {f"{number}.png": os.urandom(3000) for number in range(8)}, mode)
    data = Path("s.tar").read_bytes()
    Path("s.tar").write_bytes(data[: int(len(data) * cut)])
    found = list(items("s.tar"))
    assert (found[-1].id, kind_of(found[-1])) == ("s.tar", "truncated")


@pytest.mark.usefixtures("here")
def test_a_shard_that_is_none_is_a_row() -> None:
    put("s.tar", data=b"no tar file at all" * 100)
    assert outcomes("s.tar") == {"s.tar": "corrupt"}


@pytest.mark.usefixtures("here")
def test_a_dataset_saved_to_disk() -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"n": [1, 2, 3], "image": [{"bytes": png(5), "path": None}, {"bytes": b"x", "path": None}, None]}
    kinds = datasets.Features({"n": datasets.Value("int64"), "image": datasets.Image()})
    made = datasets.Dataset.from_dict(rows, features=kinds)
    made.save_to_disk("ds")
    datasets.DatasetDict(train=made.select([0])).save_to_disk("both")
    assert outcomes("ds") == {"ds::0": "ok", "ds::1": "not_an_image", "ds::2": "empty"}
    assert outcomes("both") == {"both/train::0": "ok"}
    assert [item.data for item in items("ds", skip=lambda *_: True)] == [None] * 3


@pytest.mark.usefixtures("here")
def test_a_dataset_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    put("ds/dataset_dict.json", data=b"{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises((MissingExtra, ModuleNotFoundError)):
        ids("ds")


def test_web_addresses_are_off_by_default() -> None:
    with pytest.raises(BadInput, match="give allow_urls=True"):
        ids("https://example.org/a.png")
    (item,) = items(["https://example.org/a.png"] * 2, allow_urls=True)
    assert (item.id, item.url) == ("https://example.org/a.png",) * 2
