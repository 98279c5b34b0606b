"""Ordinary JPEG files have Pillow's pixels, at every scale; what is odd or broken is left to Pillow."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from openvocab.errors import ImageError
from openvocab.images import jpeg as plain
from openvocab.images.jpeg import plain_jpeg
from openvocab.images.read import decode, read_image

pytest.importorskip("simplejpeg")

SIZES = [(1, 1), (5, 7), (16, 16), (33, 17), (150, 201)]
SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


def soft(height: int, width: int, seed: int = 0) -> Image.Image:
    """Colors that change softly, with an edge."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    image.paste((200, 30, 90), (width // 3, height // 3, width // 2, height // 2))
    return image


def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    data = BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def quick(data: bytes, draft: tuple[int, int] | None = None) -> NDArray[np.uint8] | None:
    image = Image.open(BytesIO(data))
    full = image.size
    if draft:
        image.draft(None, draft)
    return plain_jpeg(image, data, scaled=image.size != full)


def by_pillow(data: bytes, draft: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    image = Image.open(BytesIO(data))
    if draft:
        image.draft(None, draft)
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("subsampling", SUBSAMPLING, ids=SUBSAMPLING.get)
@pytest.mark.parametrize("quality", [5, 50, 90, 100])
def test_pixels_are_those_of_pillow(quality: int, subsampling: int, progressive: bool, size: tuple[int, int]) -> None:
    data = saved(soft(*size), quality=quality, subsampling=subsampling, progressive=progressive)
    np.testing.assert_array_equal(quick(data), by_pillow(data), strict=True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(soft(33, 47).convert("L")), id="gray"),
        pytest.param(saved(soft(33, 47), restart_marker_blocks=2), id="restart markers"),
        pytest.param(saved(soft(33, 47), optimize=True), id="tables of its own"),
        pytest.param(saved(soft(33, 47)) + b"more", id="bytes behind the end"),
    ],
)
def test_other_ordinary_files(data: bytes) -> None:
    np.testing.assert_array_equal(quick(data), by_pillow(data), strict=True)


@pytest.mark.parametrize("draft", [(320, 240), (200, 150), (100, 80)], ids=["half", "quarter", "eighth"])
@pytest.mark.parametrize("size", [(640, 853), (601, 801)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("subsampling", SUBSAMPLING, ids=SUBSAMPLING.get)
def test_scaled_pixels_are_those_of_pillow(subsampling: int, size: tuple[int, int], draft: tuple[int, int]) -> None:
    data = saved(soft(*size), subsampling=subsampling)
    wanted = by_pillow(data, draft)
    assert wanted.shape[0] < size[0]
    np.testing.assert_array_equal(quick(data, draft), wanted, strict=True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(soft(33, 47).convert("CMYK")), id="CMYK"),
        pytest.param(saved(soft(33, 47), keep_rgb=True), id="RGB that was not turned into YCbCr"),
        pytest.param(saved(soft(33, 47), "PNG"), id="PNG"),
        pytest.param(saved(soft(33, 47), "MPO", save_all=True, append_images=[soft(33, 47, 1)]), id="two frames"),
        pytest.param(saved(soft(99, 99))[:-200], id="cut short"),
    ],
)
def test_the_rest_is_left_to_pillow(data: bytes) -> None:
    assert quick(data) is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("min_side", [None, 75], ids=["full", "scaled"])
def test_images_are_turned_upright(orientation: int, min_side: int | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(soft(150, 200), exif=exif)
    got = decode(data, "x", min_side=min_side)
    assert got.pixels.flags.c_contiguous
    assert (got.height, got.width) == read_image(data).shape[:2]
    if min_side is None:
        np.testing.assert_array_equal(got.pixels, read_image(data))


def _outcome(read: Callable[[bytes], NDArray[np.uint8]], data: bytes) -> tuple[str, NDArray[np.uint8] | None]:
    try:
        return "ok", read(data)
    except ImageError as error:
        return error.kind, None


def _damaged(count: int) -> list[bytes]:
    rng = np.random.default_rng(5)
    seeds = [saved(soft(61, 97), **options) for options in ({}, {"progressive": True}, {"restart_marker_blocks": 2})]
    made = []
    for number in range(count):
        data = bytearray(seeds[number % len(seeds)])
        for at in rng.integers(2, len(data), 1 + number % 3):
            data[at] = rng.integers(256)
        made.append(bytes(data[: rng.integers(20, len(data))] if number % 4 == 0 else data))
    return made


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.long)])
def test_damaged_files_have_the_verdict_and_the_pixels_of_pillow(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of decoding are held against each other: with the quick one in front, and without it."""
    quick = [_outcome(read_image, data) for data in _damaged(count)]
    monkeypatch.setattr(plain, "simplejpeg", None)
    for data, (verdict, got) in zip(_damaged(count), quick, strict=True):
        wanted, pixels = _outcome(read_image, data)
        assert verdict == wanted
        np.testing.assert_array_equal(got, pixels)
