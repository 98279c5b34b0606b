"""Images: one image in every format, mode and orientation is the same array; all else is one ImageError."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from openvocab.errors import BadInput, ImageError
from openvocab.images.read import decode, read_image
from openvocab.images.sources import find_images

HEIGHT, WIDTH = 40, 60
NEAR = {"JPEG": 24, "WEBP": 40, "AVIF": 40, "MPO": 24, "GIF": 60}
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO"] + ["AVIF"] * bool(features.check("avif"))


def gradient() -> NDArray[np.uint8]:
    """An image without symmetry, so that every turn of it differs."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([columns * 4, rows * 6, (columns + rows) * 2], axis=-1).astype(np.uint8)


def gray() -> NDArray[np.uint8]:
    return gradient()[:, :, 0]


def encoded(pixels: NDArray[Any], kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def kind_of(source: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(ImageError) as caught:
        read_image(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message
    return caught.value.kind, message


def gap(one: NDArray[Any], two: NDArray[Any]) -> int:
    assert one.shape == two.shape
    return int(np.abs(one.astype(int) - two.astype(int)).max())


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_from_every_kind_of_source(tmp_path, kind):
    data = encoded(gradient(), kind)
    path = tmp_path / "image.dat"
    path.write_bytes(data)
    found = read_image(data)
    assert gap(found, gradient()) <= NEAR.get(kind, 0)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.flags.writeable
    for source in (path, str(path), Image.open(path)):
        assert np.array_equal(read_image(source), found)


@pytest.mark.parametrize(
    ("mode", "near"),
    [
        pytest.param("RGB", 0, id="RGB"),
        pytest.param("RGBA", 0, id="RGBA"),
        pytest.param("RGBX", 0, id="RGBX"),
        pytest.param("RGBa", 0, id="RGBa"),
        pytest.param("CMYK", 0, id="CMYK"),
        pytest.param("YCbCr", 3, id="YCbCr"),
        pytest.param("LAB", 30, id="LAB"),
        pytest.param("HSV", 6, id="HSV"),
        pytest.param("P", 60, id="palette"),
    ],
)
def test_every_color_mode_is_the_same_image(mode, near):
    image = Image.fromarray(gradient())
    converted = image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode)
    assert gap(read_image(converted), gradient()) <= near


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image.fromarray(gray()), id="L"),
        pytest.param(Image.fromarray(gray()).convert("LA"), id="LA"),
        pytest.param(Image.fromarray(gray()).convert("LA").convert("La"), id="La"),
        pytest.param(Image.fromarray(gray()).convert("P").convert("PA"), id="PA"),
        pytest.param(Image.fromarray(gray().astype(np.uint16) * 257), id="I;16"),
        pytest.param(Image.fromarray((gray().astype(np.uint16) * 257).astype(">u2")), id="I;16B"),
        pytest.param(Image.fromarray(gray().astype(np.int32)), id="I, 8-bit values"),
        pytest.param(Image.fromarray(gray().astype(np.int32) * 257), id="I, 16-bit values"),
        pytest.param(Image.fromarray(gray().astype(np.float32) / 255), id="F, 0 to 1"),
        pytest.param(Image.fromarray(gray().astype(np.float32)), id="F, 0 to 255"),
    ],
)
def test_every_gray_mode_is_the_same_image(image):
    assert gap(read_image(image), read_image(gray())) == 0


def test_one_bit_is_black_and_white():
    found = read_image(Image.fromarray(gray() > 99))
    assert np.array_equal(found, read_image(np.where(gray() > 99, 255, 0).astype(np.uint8)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_files_are_scaled(kind):
    data = encoded(gray().astype(np.uint16) * 257, kind)
    assert np.array_equal(read_image(data), read_image(gray()))


def test_values_beyond_sixteen_bits_are_clipped():
    found = read_image(Image.fromarray(np.array([[-5, 70_000]], np.int32)))
    assert found[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("value", [-1.0, 256.0, float("nan"), float("inf")])
def test_floats_without_a_known_white_are_refused(value):
    kind, message = kind_of(Image.fromarray(np.array([[0.5, value]], np.float32)))
    assert kind == "unsupported"
    assert "scale them to 0 to 1" in message


def transparent_palette(kind: str) -> bytes:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.putpixel((0, 0), 0)
    buffer = BytesIO()
    image.save(buffer, kind, transparency=0)
    return buffer.getvalue()


def see_through(mode: str) -> bytes:
    image = Image.new("RGBA", (3, 2), (255, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 255, 0))
    buffer = BytesIO()
    image.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "opaque"),
    [
        pytest.param(transparent_palette("PNG"), [255, 0, 0], id="palette PNG"),
        pytest.param(transparent_palette("GIF"), [255, 0, 0], id="GIF"),
        pytest.param(see_through("RGBA"), [255, 0, 0], id="RGBA"),
        pytest.param(see_through("LA"), [76, 76, 76], id="LA"),
        pytest.param(
            encoded(np.array([[[0, 0, 255], [255, 0, 0]]], np.uint8), "PNG", transparency=(0, 0, 255)),
            [255, 0, 0],
            id="one color of RGB",
        ),
    ],
)
def test_what_is_transparent_is_white(data, opaque):
    found = read_image(data)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[-1, -1].tolist() == opaque


TURNS: dict[int, Any] = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: np.transpose(p, (1, 0, 2)),
    6: np.rot90,
    7: lambda p: np.transpose(np.rot90(p, 2), (1, 0, 2)),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_every_orientation_comes_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = np.ascontiguousarray(TURNS[orientation](gradient()))
    assert np.array_equal(read_image(encoded(stored, kind, exif=exif, **options)), gradient())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_turns_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_image(encoded(gradient(), "PNG", exif=exif)), gradient())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_taken(kind):
    second = Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    data = encoded(gradient(), kind, save_all=True, append_images=[second])
    assert gap(read_image(data), gradient()) <= NEAR.get(kind, 0)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"<!DOCTYPE html><p>404", "not_an_image", id="HTML"),
        pytest.param(b"a few words, no image", "not_an_image", id="text"),
        pytest.param(b"BM stands for a name", "not_an_image", id="text that begins like BMP"),
        pytest.param(b"Python is a language", "not_an_image", id="text that begins like PPM"),
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "corrupt", id="HEIC header alone"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image", id="EPS"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image", id="SVG"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "truncated", id="PNG signature alone"),
        pytest.param(png_header(50_000, 50_000), "too_large", id="header bomb"),
        pytest.param(png_header(2**31 - 1, 2**31 - 1), "too_large", id="largest header"),
        pytest.param(png_header(9, 9), "truncated", id="no pixels behind the header"),
        pytest.param(encoded(gradient(), "PNG").replace(b"IHDR", b"IHDX"), "corrupt", id="broken header"),
    ],
)
def test_data_that_holds_no_image_is_refused_before_many_pixels_are_decoded(tmp_path, data, kind, decoded_sizes):
    path = tmp_path / "image.png"
    path.write_bytes(data)
    for source in (data, path):
        assert kind_of(source)[0] == kind
    assert repr(str(path)) in kind_of(path)[1]
    assert max(decoded_sizes, default=(0, 0)) <= (60, 40)


def float_tiff(channels: int, bits: int) -> bytes:
    """A TIFF of floats, 4 by 4 pixels, written by hand: Pillow has no mode for most of them."""
    size = 16 * channels * bits // 8
    entries = [
        *((tag, 3, 1, value) for tag, value in ((256, 4), (257, 4), (258, bits), (259, 1), (262, 1 + (channels > 1)))),
        *((273, 4, 1, 200), (277, 3, 1, channels), (278, 3, 1, 4), (279, 4, 1, size), (339, 3, 1, 3)),
    ]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)
    return head.ljust(200, b"\0") + bytes(size)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"\xff\x0a" + bytes(30), "is a JPEG XL image", id="JPEG XL, bare"),
        pytest.param(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30), "is a JPEG XL image", id="JPEG XL, boxed"),
        pytest.param(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(30), "is a JPEG 2000 image", id="JPEG 2000"),
        pytest.param(float_tiff(3, 32), "is a TIFF of 32-bit floats in 3 channels", id="TIFF, three floats"),
        pytest.param(float_tiff(1, 64), "is a TIFF of 64-bit floats in 1 channels", id="TIFF, doubles"),
        pytest.param(float_tiff(1, 16), "is a TIFF of 16-bit floats in 1 channels", id="TIFF, halves"),
    ],
)
def test_an_image_of_another_format_is_called_what_it_is(data, words):
    kind, message = kind_of(data)
    assert kind == "unsupported"
    assert words in message
    assert "convert it to" in message or "save it as" in message


def test_heic_is_read_with_the_extra(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    heif.from_pillow(Image.fromarray(gradient())).save(path, quality=-1, chroma=444)
    for name in ("a.heic", "b.heic"):  # the second one names another brand first, as many programs write it
        (tmp_path / name).write_bytes(path.read_bytes().replace(b"ftypheic", b"ftypmif1"))
        assert gap(read_image(tmp_path / name), gradient()) <= 8
    assert [found.name for found in find_images(tmp_path)] == ["a.heic", "b.heic"]
    assert "HEIF" not in Image.OPEN
    assert kind_of(path.read_bytes()[:-200])[0] in ("truncated", "corrupt")
    assert kind_of(path, max_pixels=100)[0] == "too_large"


def test_heic_without_the_extra_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    kind, message = kind_of(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert (kind, "pip install 'openvocab[heif]'" in message) == ("unsupported", True)


def test_avif_without_a_plugin_says_what_to_upgrade(monkeypatch):
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    kind, message = kind_of(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf")
    assert (kind, "upgrade Pillow" in message) == ("unsupported", True)


def test_what_libtiff_says_does_not_reach_the_terminal(capfd):
    data = bytearray(
        encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), "TIFF", compression="tiff_lzw")
    )
    data[100:4000] = b"U" * 3900
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: kind_of(bytes(data))[0], range(16)))
    assert set(found) == {"corrupt"}
    assert capfd.readouterr() == ("", "")
    with suppress(OSError):
        Image.open(BytesIO(bytes(data))).load()
    assert "code not yet in table" in capfd.readouterr().err  # the caller's own use of Pillow is as it was


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("end", [16, 33, 60, 0.5, 0.9])
def test_a_part_of_a_file_is_never_a_part_of_an_image(kind, end):
    data = encoded(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), kind)
    found = kind_of(data[: end if end > 1 else int(len(data) * end)])
    assert found == ("truncated", "the image given is truncated: its data ends too early; copy or download it again")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg"])
@pytest.mark.parametrize("missing", [1, 30, 120])
def test_a_tiff_without_the_end_of_its_directory_is_truncated(compression, missing):
    assert kind_of(encoded(gradient(), "TIFF", compression=compression)[:-missing])[0] == "truncated"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        pytest.param(
            encoded(gradient(), "PNG").replace(b"IHDR", b"IHDX"),
            " (broken PNG file (bad header checksum in 'IHDX'))",
            id="PNG",
        ),
        pytest.param(b"\xff\xd8\xff\xc0\0\3\x08\xff\xd9", "", id="Python's words are left out"),
    ],
)
def test_damage_is_told_in_the_words_of_the_format(data, cause):
    assert kind_of(data)[1] == f"the image given is damaged{cause}; copy or save it again"


def test_the_limit_holds_before_decoding_and_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind, message = kind_of(png_header(10_000, 10_000), max_pixels=1_000)
        assert (kind, "10000 x 10000" in message) == ("too_large", True)
        assert kind_of(png_header(10_000, 10_000))[0] != "too_large"
    assert read_image(gradient(), max_pixels=HEIGHT * WIDTH).shape == (HEIGHT, WIDTH, 3)
    for source in (gradient(), Image.fromarray(gradient()), encoded(gradient(), "PNG")):
        assert kind_of(source, max_pixels=HEIGHT * WIDTH - 1)[0] == "too_large"


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(lambda path: None, "missing", id="nothing"),
        pytest.param(lambda path: path.mkdir(), "not_a_file", id="folder"),
        pytest.param(make_fifo, "not_a_file", id="pipe"),
        pytest.param(make_socket, "not_a_file", id="socket"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "not_a_file", id="device"),
        pytest.param(lambda path: path.symlink_to("gone.png"), "missing", id="dangling link"),
        pytest.param(lambda path: path.symlink_to(path.name), "missing", id="link to itself"),
    ],
)
def test_paths_that_are_no_files(tmp_path, monkeypatch, make, kind):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "image.png")
    found, message = kind_of("image.png")
    assert found == kind
    assert message.startswith("'image.png' ")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("", "''", id="empty"),
        pytest.param("a\0b.png", "'a\\x00b.png'", id="NUL"),
        pytest.param("a\nb.png", "'a\\nb.png'", id="line end in the name"),
        pytest.param("x" * 300 + ".png", "does not exist", id="name too long"),
        pytest.param("\udcff.png", "'\\udcff.png'", id="name that is not UTF-8"),
        pytest.param("https://example.org/a.png", "download", id="web address"),
    ],
)
def test_paths_that_lead_nowhere(path, words):
    kind, message = kind_of(path)
    assert kind == "missing"
    assert words in message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(encoded(gradient(), "PNG"))
    path.chmod(0)
    assert kind_of(path)[0] == "unreadable"


def test_arrays_are_copied():
    given = gradient()
    found = read_image(given)
    given[:] = 0
    assert np.array_equal(found, gradient())
    assert np.array_equal(read_image(gradient()[:, ::-1]), gradient()[:, ::-1])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        pytest.param(np.zeros((4, 5, 3), np.float32), ["float32", "(array * 255).astype('uint8')"], id="float"),
        pytest.param(np.zeros((4, 5), np.bool_), ["bool", "(array * 255).astype('uint8')"], id="bool"),
        pytest.param(np.zeros((4, 5), np.uint16), ["uint16", "(array // 257).astype('uint8')"], id="16-bit"),
        pytest.param(np.zeros((4, 5, 3), np.int64), ["int64", "array.astype('uint8')"], id="int64"),
        pytest.param(np.zeros((4, 5, 4), np.uint8), ["(4, 5, 4)", "array[:, :, :3]"], id="RGBA"),
        pytest.param(np.zeros((4, 5, 1), np.uint8), ["(4, 5, 1)", "array[:, :, 0]"], id="one channel"),
        pytest.param(np.zeros((3, 4, 5), np.uint8), ["(3, 4, 5)", "transpose(1, 2, 0)"], id="channels first"),
        pytest.param(np.zeros((2, 4, 5, 3), np.uint8), ["(2, 4, 5, 3)", "one by one"], id="batch"),
        pytest.param(np.zeros((0, 5, 3), np.uint8), ["(0, 5, 3)", "no pixel"], id="no row"),
        pytest.param(np.zeros(5, np.uint8), ["(5,)", "height, width"], id="one axis"),
    ],
)
def test_other_arrays_are_refused_with_the_remedy(array, words):
    with pytest.raises(BadInput) as caught:
        read_image(array)
    assert not isinstance(caught.value, ImageError)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("source", [pytest.param(None, id="None"), pytest.param([[0]], id="list")])
def test_other_types_are_refused(source):
    with pytest.raises(BadInput, match=type(source).__name__):
        read_image(source)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Change up to 8 bytes, and cut, repeat or drop a piece now and then."""
    bytes_ = bytearray(data)
    for place in rng.integers(0, min(len(data), 400), rng.integers(1, 9)):
        bytes_[place] = rng.integers(0, 256)
    start, end = sorted(rng.integers(0, len(data), 2))
    match rng.integers(0, 6):
        case 0:
            del bytes_[start:]
        case 1:
            del bytes_[start:end]
        case 2:
            bytes_[start:start] = bytes_[start:end]
    return bytes(bytes_)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_files_give_an_image_or_an_image_error(kind):
    rng = np.random.default_rng(FORMATS.index(kind))
    seed = encoded(gradient(), kind)
    for _ in range(300 // len(FORMATS) + 1):
        try:
            found = read_image(mutated(seed, rng), max_pixels=1_000_000)
        except ImageError:
            continue
        assert found.dtype == np.uint8
        assert found.shape[2:] == (3,)


SEEDS: dict[str, Any] = {
    **{kind: lambda kind=kind: encoded(gradient(), kind) for kind in FORMATS},
    "PNG, palette": lambda: transparent_palette("PNG"),
    "PNG, 16 bits": lambda: encoded(gray().astype(np.uint16) * 257, "PNG"),
    "JPEG, progressive": lambda: encoded(gradient(), "JPEG", progressive=True),
    "TIFF, LZW": lambda: encoded(gradient(), "TIFF", compression="tiff_lzw"),
    "TIFF, float": lambda: encoded(gray().astype(np.float32), "TIFF"),
    "WEBP, lossless": lambda: encoded(gradient(), "WEBP", lossless=True),
    "GIF, animated": lambda: encoded(gradient(), "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40))]),
}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_20_000_mutated_files_decode_or_raise_an_image_error(capfd):
    rng = np.random.default_rng(0)
    slowest, said = 0.0, {"ok": 0}
    largest = encoded(np.zeros((1000, 1000, 3), np.uint8), "PNG")
    started = time.process_time()
    for _ in range(10):
        decode(largest, "largest", max_pixels=1_000_000)
    intact = (time.process_time() - started) / 10
    for name, make in SEEDS.items():
        seed = make()
        for _ in range(20_000 // len(SEEDS) + 1):
            started = time.process_time()
            try:
                decode(mutated(seed, rng), name, max_pixels=1_000_000, min_side=16)
                said["ok"] += 1
            except ImageError as error:
                said[error.kind] = said.get(error.kind, 0) + 1
            slowest = max(slowest, time.process_time() - started)
    with capfd.disabled():
        ratio = f"{slowest / intact:.1f} times an intact one"
        sys.stdout.write(f"\n{sum(said.values())} files of {len(SEEDS)} kinds: {said}, slowest {ratio}\n")
    assert sum(said.values()) >= 20_000
    assert len(SEEDS) >= 12
    assert slowest < 10 * intact


def test_reading_in_threads_gives_each_its_own():
    seeds = [np.full((8, 8, 3), shade, np.uint8) for shade in range(64)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read_image, [encoded(seed, "PNG") for seed in seeds]))
    assert all(np.array_equal(one, two) for one, two in zip(found, seeds, strict=True))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of names, and the current one."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.png",
        "sub/c.webp",
        "sub/.git/d.png",
        "b/e.gif",
        "odd.png/f.bmp",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    return tmp_path


ALL = ["a.png", "b/e.gif", "b.JPG", "odd.png/f.bmp", "sub/c.webp"]


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        pytest.param(["."], ALL, id="folder"),
        pytest.param(["b.JPG", "a.png"], ["b.JPG", "a.png"], id="files keep their order"),
        pytest.param(
            ["sub", "b.JPG", "."], ["sub/c.webp", "b.JPG", "a.png", "b/e.gif", "odd.png/f.bmp"], id="each once"
        ),
        pytest.param(["a.png", "./a.png", "sub/../a.png"], ["a.png"], id="one path in three ways"),
        pytest.param(["notes.txt", ".hidden.png", "gone.png"], ["notes.txt", ".hidden.png", "gone.png"], id="named"),
        pytest.param("a.png", ["a.png"], id="one path alone"),
        pytest.param([], [], id="none"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_find_images(paths, found):
    assert [path.as_posix() for path in find_images(paths)] == found


def test_a_folder_is_found_wherever_it_is(folder):
    assert find_images([folder]) == [folder / name for name in ALL]
