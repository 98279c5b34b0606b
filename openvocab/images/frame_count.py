"""The number of frames or pages in an image file, counted in bounded time."""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["MAX_FRAMES", "count_frames"]

MAX_FRAMES = 10_000
"""The number of frames at which counting stops."""


def count_frames(image: Any, data: bytes) -> int:
    """Return the number of frames or pages, at most MAX_FRAMES; 1 for a file that is too damaged to count.

    Pillow parses every frame of a GIF or TIFF to count them, which takes minutes for a malicious file. For these two
    formats, this function steps over the blocks instead (GIF89a, TIFF 6.0 and BigTIFF specifications).

    Args:
        image: A Pillow image whose header is read.
        data: The bytes of its file.
    """
    kind = image.format
    if kind == "GIF":
        return max(1, _gif(data))
    if kind == "TIFF":
        return max(1, _tiff(data))
    return min(MAX_FRAMES, max(1, int(getattr(image, "n_frames", 1))))


def _colors(flags: int) -> int:
    """Return the size in bytes of the color table that a packed field declares."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif(data: bytes) -> int:
    frames = 0
    try:
        at = 13 + _colors(data[10])
        while frames < MAX_FRAMES and data[at] != 0x3B:
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
    """Return the offset after a chain of length-prefixed blocks that an empty block ends."""
    while length := data[at]:
        at += length + 1
    return at + 1


def _tiff(data: bytes) -> int:
    order = "<" if data[:1] == b"I" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    offset, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    frames, visited, at = 0, set[int](), 8 if big else 4
    try:
        at = struct.unpack_from(order + offset, data, at)[0]
        while at and at not in visited and frames < MAX_FRAMES:
            visited.add(at)
            frames += 1
            entries = struct.unpack_from(order + count, data, at)[0]
            at = struct.unpack_from(order + offset, data, at + struct.calcsize(order + count) + entry * entries)[0]
    except (struct.error, OverflowError):
        pass
    return frames
