"""Every entry decodes a file alike: the same verdict and the same pixels, whatever is wrong with the file."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.batch.engine import Engine, Reading
from openvocab.errors import ImageError
from openvocab.evaluate.runs.images import decode_images
from openvocab.images.decode import Isolated
from openvocab.images.items import Item
from openvocab.images.read import Decoded
from openvocab.images.sources import items
from openvocab.ui.web.images import read_upload
from tests.helpers.stages import LABELS, tagging

Verdict = tuple[str, Any]
"""What became of a file: "ok" and its pixels, or the kind of its ImageError and None."""

MAX_PIXELS = 1_000_000


def soft() -> Image.Image:
    """An image of some detail."""
    small = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize((67, 45), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes, promised: int | None = None) -> bytes:
    """A PNG chunk, which may promise more bytes than it has."""
    length = len(data) if promised is None else promised
    return struct.pack(">I", length) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 20, 8, 2, 0, 0, 0)) + b"".join(chunks)


def stream(shade: int = 90) -> bytes:
    return zlib.compress((b"\0" + bytes([shade, 30, 200]) * 20) * 20, 0)


END = chunk(b"IEND", b"")
CONTROL = struct.pack(">IIIIIHHBB", 0, 20, 20, 0, 0, 1, 10, 0, 0)
BROKEN = {
    "broken data stream": png(chunk(b"IDAT", stream()[:300] + b"\xff" * 200 + stream()[500:]), END),
    "wrong checksum of the pixels": png(chunk(b"IDAT", stream()[:-4] + b"\0\0\0\0"), END),
    "data stream that ends early": png(chunk(b"IDAT", stream()[:600]), END),
    "truncated end chunk": png(chunk(b"IDAT", stream()), chunk(b"tEXt", b"Comment\0some", 500)),
    "APNG without fcTL": png(
        chunk(b"acTL", struct.pack(">II", 2, 0)),
        chunk(b"IDAT", stream()),
        chunk(b"fdAT", struct.pack(">I", 0) + stream(7)),
        END,
    ),
    "APNG whose frames are out of order": png(
        chunk(b"acTL", struct.pack(">II", 2, 0)),
        chunk(b"fcTL", CONTROL),
        chunk(b"IDAT", stream()),
        chunk(b"fdAT", struct.pack(">I", 9) + stream(7)),
        END,
    ),
    "compressed text that unpacks to too much": png(
        chunk(b"IDAT", stream()), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2_000_000))), END
    ),
    "two headers": png(chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0)), chunk(b"IDAT", stream()), END),
}
SEEDS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: saved(soft(), "PNG"),
    "PNG, palette": lambda: saved(soft().convert("P"), "PNG", transparency=3),
    "PNG, 16 bits": lambda: saved(soft().convert("L").convert("I;16"), "PNG"),
    "PNG, two frames": lambda: saved(soft(), "PNG", save_all=True, append_images=[soft().rotate(180)]),
    "JPEG": lambda: saved(soft(), "JPEG"),
    "JPEG, progressive": lambda: saved(soft(), "JPEG", progressive=True),
    "WEBP": lambda: saved(soft(), "WEBP"),
    "GIF, two frames": lambda: saved(soft(), "GIF", save_all=True, append_images=[soft().rotate(180)]),
    "TIFF, LZW": lambda: saved(soft(), "TIFF", compression="tiff_lzw"),
    "TIFF, turned": lambda: saved(soft(), "TIFF", exif=turned()),
    "BMP": lambda: saved(soft(), "BMP"),
}


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def verdict(read: Callable[[], Any]) -> Verdict:
    try:
        return "ok", read()
    except ImageError as error:
        return error.kind, None


def pixels_of(outcome: Decoded | Exception) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome.pixels


def by_engine(named: Any, isolate: bool = False) -> list[Verdict]:
    pipe = tagging()
    reading = Reading(workers=1, isolate=isolate, max_pixels=MAX_PIXELS)
    engine = Engine(pipe, pipe.vocabulary(LABELS), reading, pixels=True)
    outcomes = [answer.error or answer.decoded for answer in engine.answers(items(named))]
    return [verdict(lambda one=one: pixels_of(one)) for one in outcomes if one is not None]  # type: ignore[misc]


def by_evaluation(paths: list[Path]) -> list[Verdict]:
    found = decode_images((Item(str(path), str(path)) for path in paths), 8)
    return [verdict(lambda one=one: pixels_of(one)) for _, one in found]  # type: ignore[misc]


def by_shard(paths: list[Path]) -> list[Verdict]:
    shard = paths[0].parent / "all.tar"
    with tarfile.open(shard, "w") as file:
        for path in paths:
            file.add(path, path.name)
    return by_engine(shard)


ENTRIES: dict[str, Callable[[list[Path]], list[Verdict]]] = {
    "bytes": lambda paths: [
        verdict(lambda path=path: openvocab.read_image(path.read_bytes(), max_pixels=MAX_PIXELS))  # type: ignore[misc]
        for path in paths
    ],
    "web page": lambda paths: [verdict(lambda path=path: read_upload(str(path), MAX_PIXELS)) for path in paths],  # type: ignore[misc]
    "engine": by_engine,
    "engine, isolated": lambda paths: by_engine(paths, isolate=True),
    "shard": by_shard,
    "evaluation": by_evaluation,
}


def by_pillow(path: Path) -> Any:
    """What Pillow itself says: the pixels of the first frame, upright, or an error."""
    with Image.open(path) as image:
        image.load()
        return openvocab.read_image(image, max_pixels=MAX_PIXELS)


def write_all(folder: Path, files: Iterator[bytes]) -> list[Path]:
    folder.mkdir()
    paths = []
    for number, data in enumerate(files):
        paths.append(folder / f"{number:05}.png")
        paths[-1].write_bytes(data)
    return paths


def compared(paths: list[Path]) -> list[Verdict]:
    """Hold every entry to read_image of the path, and return what that said."""
    everything = wanted = [
        verdict(lambda path=path: openvocab.read_image(path, max_pixels=MAX_PIXELS))  # type: ignore[misc]
        for path in paths
    ]
    for entry, read in ENTRIES.items():
        if entry == "evaluation":  # its limit of pixels cannot be set
            kept = [number for number, (kind, _) in enumerate(wanted) if kind != "too_large"]
            paths, wanted = [paths[number] for number in kept], [wanted[number] for number in kept]
        found = read(paths)
        assert [kind for kind, _ in found] == [kind for kind, _ in wanted], entry
        for (_, one), (_, other) in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=entry)
    return everything


def damaged(count: int) -> Iterator[bytes]:
    """Files with one bit flipped, and of every third kind of damage a byte changed or the end cut off."""
    rng, seeds = np.random.default_rng(17), [make() for make in SEEDS.values()]
    for number in range(count):
        data = bytearray(seeds[number % len(seeds)])
        at = int(rng.integers(len(data)))
        match number // len(seeds) % 4:
            case 2:
                data[at] = int(rng.integers(256))
            case 3:
                del data[max(1, at) :]
            case _:
                data[at] ^= 1 << int(rng.integers(8))
        yield bytes(data)


@pytest.mark.filterwarnings("ignore")
def test_broken_png_files_are_refused_by_every_entry(tmp_path: Path) -> None:
    paths = write_all(tmp_path / "p", iter(BROKEN.values()))
    said = dict(zip(BROKEN, (kind for kind, _ in compared(paths)), strict=True))
    assert {name: kind for name, kind in said.items() if kind not in ("corrupt", "truncated", "too_large")} == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [220, pytest.param(6_600, marks=pytest.mark.long)])
def test_damaged_files_have_one_verdict_and_the_same_pixels_everywhere(tmp_path: Path, count: int) -> None:
    paths = write_all(tmp_path / "p", damaged(count))
    for path, (kind, pixels) in zip(paths, compared(paths), strict=True):
        try:
            wanted = by_pillow(path)
        except Exception:
            wanted = None
        if kind == "ok":
            np.testing.assert_array_equal(pixels, wanted, err_msg=str(path))
        else:  # checksums of pixels in a PNG are held here, and not by Pillow
            assert wanted is None or path.read_bytes().startswith(b"\x89PNG"), path


@pytest.mark.filterwarnings("ignore")
def test_a_flipped_bit_in_the_pixels_of_a_png_is_never_an_answer(tmp_path: Path) -> None:
    seed, rng = saved(soft(), "PNG"), np.random.default_rng(3)
    start, end = seed.index(b"IDAT") + 4, len(seed) - 16
    files = []
    for at in rng.integers(start, end, 200):
        data = bytearray(seed)
        data[at] ^= 1 << int(rng.integers(8))
        files.append(bytes(data))
    assert {kind for kind, _ in by_engine(write_all(tmp_path / "p", iter(files)))} == {"corrupt"}


def test_an_isolated_decoder_reads_the_frame_that_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(SEEDS["GIF, two frames"]())
    with Isolated().running() as isolated:
        first, second = (isolated(Item("x", str(path), frame=number)).pixels for number in (0, 1))
    assert np.array_equal(first, openvocab.read_image(path)) and not np.array_equal(first, second)
