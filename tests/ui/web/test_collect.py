from __future__ import annotations

import io
import stat
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import openvocab
from openvocab.errors import BadInput, ImageError
from openvocab.ui.web.context import Limits
from openvocab.ui.web.uploads.collect import collect_images
from tests.ui.web.payloads import TRAVERSALS


def png(side=8):
    file = io.BytesIO()
    Image.new("RGB", (side, side), (side, 20, 30)).save(file, "PNG")
    return file.getvalue()


def zipped(path, *members, **options):
    """Write an archive of (name or ZipInfo, bytes); names are kept as they are, whatever they hold."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members:
            info = name if isinstance(name, zipfile.ZipInfo) else member(name)
            archive.writestr(info, data)
    return path


def member(name, mode=0, method=zipfile.ZIP_DEFLATED):
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    info.external_attr, info.compress_type = mode << 16, method
    return info


def patched(path, old, new, count=-1):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))
    return path


@pytest.fixture
def collect(tmp_path):
    """Collect images from uploads into an empty folder: collect(*uploads, **limits)."""

    def collect(*uploads, **limits):
        folder = tempfile.mkdtemp(dir=tmp_path)
        return collect_images([str(each) for each in uploads], Path(folder), Limits(**limits))

    return collect


def test_images_of_an_archive_keep_their_names_and_order(tmp_path, collect):
    path = zipped(tmp_path / "a.zip", ("b/2.png", png(2)), ("a.png", png(3)), ("no suffix", png(4)), ("b/", b""))
    found = collect(path)
    assert list(found) == ["b/2.png", "a.png", "no suffix"]
    assert [openvocab.read_image(file).shape[0] for file in found.values()] == [2, 3, 4]


def test_hidden_members_and_other_files_are_skipped(tmp_path, collect):
    odd = ("readme.txt", "__MACOSX/._a.png", ".DS_Store", ".git/a.png", "b/.a.png", "script.html")
    assert list(collect(zipped(tmp_path / "a.zip", ("a.png", png()), *((name, b"x") for name in odd)))) == ["a.png"]


def test_uploaded_files_are_never_skipped(tmp_path, collect):
    for name in ("notes.txt", "empty.png"):
        (tmp_path / name).write_bytes(b"")
    assert list(collect(tmp_path / "notes.txt", tmp_path / "empty.png")) == ["notes.txt", "empty.png"]


def test_duplicate_names_become_unique(tmp_path, collect):
    (tmp_path / "b").mkdir()
    one, two = tmp_path / "a.png", tmp_path / "b" / "a.png"
    for path in (one, two):
        path.write_bytes(png())
    archive = zipped(tmp_path / "a.zip", ("a.png", png()), ("d/a.png", png()))
    assert list(collect(one, two, archive)) == ["a.png", "a-2.png", "a-3.png", "d/a.png"]


@pytest.mark.parametrize("name", TRAVERSALS, ids=ascii)
def test_path_traversal_writes_nothing(tmp_path, collect, name):
    before = {each for each in tmp_path.rglob("*") if each.is_file()}
    found = collect(zipped(tmp_path / "a.zip", (name, png()), ("fine.png", png())))
    files = {each for each in tmp_path.rglob("*") if each.is_file()} - before - {tmp_path / "a.zip"}
    assert files == {found["fine.png"]}
    for other, refused in found.items():
        assert other == "fine.png" or (isinstance(refused, ImageError) and refused.kind == "unreadable")


def test_there_are_fifty_traversal_names():
    assert len(set(TRAVERSALS)) == 50


@pytest.mark.parametrize(
    ("info", "data", "kind", "words"),
    [
        pytest.param(member("link.png", stat.S_IFLNK | 0o777), b"/etc/passwd", "not_a_file", "is a link", id="link"),
        pytest.param(member("disk.png", stat.S_IFBLK | 0o666), b"", "not_a_file", "or a device", id="device"),
        pytest.param(member("pipe.png", stat.S_IFIFO | 0o666), b"", "not_a_file", "not a file", id="pipe"),
        pytest.param("inner.zip", b"PK\3\4", "not_an_image", "is a nested archive", id="nested zip"),
        pytest.param("inner.tar.gz", b"\x1f\x8b", "not_an_image", "unpack it first", id="nested tar"),
        pytest.param(member("a.png", method=zipfile.ZIP_LZMA), png(), "unreadable", "use deflate", id="lzma"),
        pytest.param(member("a.png", method=zipfile.ZIP_BZIP2), png(), "unreadable", "use deflate", id="bzip2"),
    ],
)
def test_an_unsupported_member_is_one_error(tmp_path, collect, info, data, kind, words):
    found = collect(zipped(tmp_path / "a.zip", (info, data), ("fine.png", png())))
    refused = next(iter(found.values()))
    assert (refused.kind, len(found)) == (kind, 2)
    assert words in str(refused)
    assert openvocab.read_image(found["fine.png"]).shape == (8, 8, 3)


def encrypted(path):
    """Set the flag of encryption in both headers of the first member."""
    data = bytearray(zipped(path, ("a.png", png()), ("fine.png", png())).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)


def shorter(path):
    """Make both headers of the first member say that it is shorter than it is."""
    data = bytearray(zipped(path, ("a.png", png()), ("fine.png", png())).read_bytes())
    for at in (22, data.index(b"PK\1\2") + 24):
        data[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(data)


def longer(path):
    """Make both headers of the first member say that it is longer than it is."""
    data = bytearray(zipped(path, ("a.png", png()), ("fine.png", png())).read_bytes())
    for at in (22, data.index(b"PK\1\2") + 24):
        data[at : at + 4] = struct.pack("<I", 10_000)
    path.write_bytes(data)


def renamed(path):
    """Let the header before the data name another file than the table of contents does."""
    patched(zipped(path, ("a.png", png()), ("fine.png", png())), b"a.png", b"b.png", 1)


def flipped(path):
    """Change the packed bytes."""
    data = bytearray(zipped(path, ("a.png", png()), ("fine.png", png())).read_bytes())
    data[40] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        pytest.param(encrypted, "unreadable", "is encrypted", id="encrypted"),
        pytest.param(shorter, "corrupt", "damaged in its archive", id="header says less"),
        pytest.param(longer, "corrupt", "damaged in its archive", id="header says more"),
        pytest.param(renamed, "corrupt", "damaged in its archive", id="two names"),
        pytest.param(flipped, "corrupt", "damaged in its archive", id="packed bytes changed"),
    ],
)
def test_a_member_with_a_wrong_header_is_one_error(tmp_path, collect, make, kind, words):
    make(tmp_path / "a.zip")
    found = collect(tmp_path / "a.zip")
    assert (found["a.png"].kind, list(found)) == (kind, ["a.png", "fine.png"])
    assert words in str(found["a.png"])


def many(path):
    zipped(path, *((f"{number}.png", b"") for number in range(60)))


def bomb(path):
    zipped(path, ("a.bmp", bytes(40_000_000)))


def cut(path):
    path.write_bytes(zipped(path, ("a.png", png())).read_bytes()[:-30])


def long_table(path):
    data = bytearray(zipped(path, ("a.png", png())).read_bytes())
    at = data.rindex(b"PK\5\6") + 12
    data[at : at + 4] = struct.pack("<I", 5 * 2**20)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "limits", "words"),
    [
        pytest.param(bomb, {}, "unpacks to over 100 times its size", id="ratio"),
        pytest.param(bomb, {"unpacked_bytes": 30_000_000}, "unpacks to more than 30 MB", id="size"),
        pytest.param(many, {"files": 50}, "more than 50 images", id="images"),
        pytest.param(many, {"files": 2}, "has 60 files", id="members"),
        pytest.param(cut, {}, "is truncated", id="cut off"),
        pytest.param(long_table, {}, "too many files", id="table of contents"),
        pytest.param(lambda path: path.write_bytes(b"PK\3\4 and no archive"), {}, "is truncated", id="no archive"),
        pytest.param(lambda path: zipped(path), {}, "no image in the uploaded files", id="empty"),
        pytest.param(lambda path: zipped(path, ("a.txt", b"a")), {}, "no image in the uploaded", id="no image"),
    ],
)
def test_an_invalid_archive_is_one_sentence(tmp_path, collect, make, limits, words):
    make(tmp_path / "a.zip")
    with pytest.raises(BadInput, match=words):
        collect(tmp_path / "a.zip", **limits)


def test_archives_share_the_unpacked_limit(tmp_path, collect):
    one, two = (zipped(tmp_path / f"{name}.zip", ("a.bmp", bytes(9_000_000))) for name in "ab")
    assert len(collect(one, unpacked_bytes=10_000_000)) == 1
    with pytest.raises(BadInput, match="unpacks to more than 10 MB"):
        collect(one, two, unpacked_bytes=10_000_000)


def test_other_archive_types_are_one_error(tmp_path, collect):
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf")
    assert "pack the images into a .zip" in str(collect(tmp_path / "a.7z")["a.7z"])


def tarred(path, *members, mode="w"):
    """Write a tar archive of (name or TarInfo, bytes)."""
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return path


def special(name, kind, **more):
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("txz", "w:xz")])
def test_images_of_a_tar_keep_their_names_and_order(tmp_path, collect, suffix, mode):
    members = (("b/2.png", png(2)), ("./a.png", png(3)), ("no suffix", png(4)), (".b/x.png", png()), ("a.txt", b"x"))
    found = collect(tarred(tmp_path / f"a.{suffix}", *members, mode=mode))
    assert list(found) == ["b/2.png", "./a.png", "no suffix"]
    assert [openvocab.read_image(file).shape[0] for file in found.values()] == [2, 3, 4]


@pytest.mark.parametrize("name", TRAVERSALS, ids=ascii)
def test_path_traversal_in_a_tar_writes_nothing(tmp_path, collect, name):
    if "\0" in name:
        pytest.skip("a name in a tar ends at a NUL")
    before = {each for each in tmp_path.rglob("*") if each.is_file()}
    found = collect(tarred(tmp_path / "a.tar", (name, png()), ("fine.png", png())))
    files = {each for each in tmp_path.rglob("*") if each.is_file()} - before - {tmp_path / "a.tar"}
    assert files == {found["fine.png"]}
    assert all(other == "fine.png" or refused.kind == "unreadable" for other, refused in found.items())


@pytest.mark.parametrize(
    ("info", "data", "kind"),
    [
        pytest.param(special("a.png", tarfile.SYMTYPE, linkname="/etc/passwd"), b"", "not_a_file", id="symlink"),
        pytest.param(special("a.png", tarfile.LNKTYPE, linkname="fine.png"), b"", "not_a_file", id="hard link"),
        pytest.param(special("a.png", tarfile.CHRTYPE), b"", "not_a_file", id="device"),
        pytest.param(special("a.png", tarfile.FIFOTYPE), b"", "not_a_file", id="pipe"),
        pytest.param("inner.zip", b"PK\3\4", "not_an_image", id="nested"),
    ],
)
def test_an_unsupported_member_of_a_tar_is_one_error(tmp_path, collect, info, data, kind):
    found = collect(tarred(tmp_path / "a.tar", (info, data), ("fine.png", png())))
    refused = next(iter(found.values()))
    assert (refused.kind, len(found)) == (kind, 2)
    assert openvocab.read_image(found["fine.png"]).shape == (8, 8, 3)


def long_header(path):
    """A name of 2 MB in an extended header, which tarfile would read whole."""
    tarred(path, ("a" * 2**21, b"x"), mode="w:gz")


@pytest.mark.parametrize(
    ("make", "limits", "words"),
    [
        pytest.param(lambda p: tarred(p, ("a.bmp", bytes(40_000_000)), mode="w:xz"), {}, "over 100 times", id="ratio"),
        pytest.param(
            lambda p: tarred(p, ("a.bmp", bytes(40_000_000)), mode="w:gz"),
            {"unpacked_bytes": 10_000_000},
            "unpacks to more than 10 MB",
            id="size",
        ),
        pytest.param(
            lambda p: tarred(p, *((f"{n}.png", b"") for n in range(60))), {"files": 2}, "than 40 files", id="many"
        ),
        pytest.param(long_header, {}, "damaged archive", id="long header"),
        pytest.param(lambda p: p.write_bytes(b"\x1f\x8b and no archive"), {}, "damaged archive", id="no gzip"),
        pytest.param(
            lambda p: p.write_bytes(tarred(p, ("a.png", png(200))).read_bytes()[:700]), {}, "damaged archive", id="cut"
        ),
    ],
)
def test_an_invalid_tar_is_one_sentence(tmp_path, collect, make, limits, words):
    make(tmp_path / "a.tar")
    with pytest.raises(BadInput, match=words):
        collect(tmp_path / "a.tar", **limits)
    assert not list(tmp_path.rglob("plain.tar"))


def test_two_archives_of_which_one_has_no_image(tmp_path, collect):
    one, two = zipped(tmp_path / "a.zip", ("a.txt", b"a")), zipped(tmp_path / "b.zip", ("a.png", png()))
    assert list(collect(one, two)) == ["a.png"]


def test_no_upload_is_one_sentence(collect):
    with pytest.raises(BadInput, match="there is no image; choose images or a zip file"):
        collect()
