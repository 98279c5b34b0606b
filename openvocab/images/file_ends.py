"""Checks of a file against its own header: the length it declares and the checksums of its pixels."""

from __future__ import annotations

import os
import zlib
from typing import BinaryIO, Literal

__all__ = ["ends_early", "has_wrong_checksum"]

_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""The type of a TIFF value -> its bytes (TIFF 6.0, section 2)."""


def ends_early(file: BinaryIO) -> bool:
    """Return whether a file is shorter than its format declares."""
    if file.closed:
        return False
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    file.seek(max(0, size - 1024))
    tail = file.read()
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in tail
    if head.startswith(b"GIF8"):
        return not tail.endswith(b";")
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8 > size
    if head.startswith(b"BM"):
        return head[6:10] == bytes(4) and int.from_bytes(head[2:6], "little") > size
    if head.startswith((b"II*\0", b"MM\0*")):
        return _tiff_end(file, "little" if head.startswith(b"I") else "big") > size
    return head[4:8] == b"ftyp" and _boxes_overrun(file, size)


def _tiff_end(file: BinaryIO, order: Literal["little", "big"]) -> int:
    """Return where the first directory of a TIFF file ends, with the values that it points to (TIFF 6.0, section 2)."""

    def number(size: int) -> int:
        return int.from_bytes(file.read(size), order)

    start = number(file.seek(4))
    file.seek(start)
    entries = number(2)
    ends = [start + 6 + 12 * entries]
    for at in range(start + 4, start + 4 + 12 * entries, 12):
        file.seek(at)
        kind, count, offset = number(2), number(4), number(4)
        size = _TIFF_SIZES.get(kind, 0) * count
        ends.append(offset + size if size > 4 else 0)
    return max(ends)


def _boxes_overrun(file: BinaryIO, size: int) -> bool:
    """Return whether the outermost boxes of an AVIF file are longer than the file."""
    end = 0
    for _ in range(64):
        file.seek(end)
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        if 0 < len(head) < 8:
            return True
        if length < 8:
            break
        end += length
    return end > size


def has_wrong_checksum(png: bytes, frame: int) -> bool:
    """Return whether a pixel chunk of a PNG file does not match its CRC (PNG specification, section 5.3).

    Pillow does not check these CRCs, and it stops before the checksum of the compressed stream once all rows are read.

    Args:
        png: The bytes of the file.
        frame: The index of the decoded frame; the chunks of later frames are ignored for the first.
    """
    view, at = memoryview(png), 8
    kinds = (b"IDAT",) if frame == 0 else (b"IDAT", b"fdAT")
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        pixels = bytes(view[at + 4 : at + 8]) in kinds and end + 4 <= len(png)
        if pixels and zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return True
        at = end + 4
    return False
