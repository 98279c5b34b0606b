"""The frames or pages of an image file: how many there are, told in bounded time, and one input for each."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

from openvocab.errors import BadInput
from openvocab.images.sources import Item

__all__ = ["MOST", "Frames", "check_frames", "count_frames", "each_frame", "file_id", "split_frame", "whole_files"]

Frames = Literal["first", "all"] | int
"""Which frames of an image are answered; a number means that many from the first on."""

_FRAME_ID = "{}#frame={}"
_FRAME = re.compile(r"(.+)#frame=([0-9]+)", re.DOTALL)

MOST = 10_000
"""Frames beyond this number are not counted."""


def count_frames(image: Any, data: bytes) -> int:
    """Return the number of frames or pages, MOST at most, and 1 where the file is too broken to tell.

    Pillow parses every frame of a GIF or TIFF to count them, which takes minutes for a file made to be slow; these two
    are counted here by stepping over their blocks (GIF89a, TIFF 6.0 and BigTIFF specifications).

    Args:
        image: a Pillow image whose header is read.
        data: the file it was read from.
    """
    kind = image.format
    if kind == "GIF":
        return max(1, _gif(data))
    if kind == "TIFF":
        return max(1, _tiff(data))
    return min(MOST, max(1, int(getattr(image, "n_frames", 1))))


def _colors(flags: int) -> int:
    """Bytes of the color table that a packed field announces."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif(data: bytes) -> int:
    frames = 0
    try:
        at = 13 + _colors(data[10])
        while frames < MOST and data[at] != 0x3B:
            if data[at] == 0x2C:
                frames += 1
                at = _after_blocks(data, at + 11 + _colors(data[at + 9]))
            elif data[at] == 0x21:
                at = _after_blocks(data, at + 2)
            else:
                at += 1
    except IndexError:
        pass
    return frames


def _after_blocks(data: bytes, at: int) -> int:
    """Return the place after a chain of blocks, each with its length in front, the last one empty."""
    while length := data[at]:
        at += length + 1
    return at + 1


def _tiff(data: bytes) -> int:
    order = "<" if data[:1] == b"I" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    place, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    frames, seen, at = 0, set[int](), 8 if big else 4
    try:
        at = struct.unpack_from(order + place, data, at)[0]
        while at and at not in seen and frames < MOST:
            seen.add(at)
            frames += 1
            entries = struct.unpack_from(order + count, data, at)[0]
            at = struct.unpack_from(order + place, data, at + struct.calcsize(order + count) + entry * entries)[0]
    except (struct.error, OverflowError):
        pass
    return frames


def check_frames(frames: object) -> None:
    """Look at a choice of frames.

    Raises:
        BadInput: it is neither "first" nor "all" nor a whole number of at least 1.
    """
    number = isinstance(frames, int) and not isinstance(frames, bool) and frames >= 1
    if not number and frames not in ("first", "all"):
        raise BadInput(f"frames must be 'first', 'all' or a whole number of at least 1, got {frames!r}")


def each_frame(items: Iterator[Item], frames: Frames, skip: Callable[[str], bool]) -> Iterator[Item]:
    """Yield an input for each frame that is asked for, with the id ID#frame=N; of one frame, the input itself.

    Each file is read for it; what is fetched from a web address has one.

    Args:
        items: of the files, none of them skipped.
        skip: tells the ids, those of frames too, that are yielded with nothing to read.
    """
    for item in items:
        there = 1 if item.error is not None or item.url is not None else _frames_of(item)
        for number in range(there if frames == "all" or frames == "first" else min(there, frames)):
            name = _FRAME_ID.format(item.id, number) if there > 1 else file_id(item.id)
            yield Item(name) if skip(name) else replace(item, id=name, frame=number)


def whole_files(read: Callable[[Callable[[str], bool]], Iterator[Item]], skip: Callable[[str], bool]) -> Iterator[Item]:
    """Yield the inputs that read gives for a skip, each under its file_id, where frames are no inputs of their own."""
    for item in read(lambda name: skip(file_id(name))):
        name = file_id(item.id)
        yield item if name == item.id else replace(item, id=name)


def file_id(name: str) -> str:
    """Return the id of a whole file: its name, with #frame=0 where the name itself ends like the id of a frame.

    So an id that ends in #frame=N is always frame N of what stands before it, and no two inputs share one.
    """
    return _FRAME_ID.format(name, 0) if _FRAME.fullmatch(name) else name


def split_frame(name: str) -> tuple[str, int | None]:
    """Return an id without its #frame=N, and N; None where there is none."""
    found = _FRAME.fullmatch(name)
    return (found[1], int(found[2])) if found else (name, None)


def _frames_of(item: Item) -> int:
    """Return how many frames the file of an item holds; 1 where it cannot be read, which decoding will tell of."""
    from openvocab.images.decode import read_item
    from openvocab.images.read import frames_in

    try:
        return frames_in(read_item(item))
    except Exception:
        return 1
