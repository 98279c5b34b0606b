"""What an image file says of its own soundness: where it ends, and the checksums of its pixels."""

from __future__ import annotations

import os
import zlib
from typing import BinaryIO

__all__ = ["cut_short", "wrong_checksum"]


def cut_short(file: BinaryIO) -> bool:
    """Tell whether the file ends before its format says that it does."""
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
        return int.from_bytes(head[4:8], "little" if head.startswith(b"I") else "big") + 6 > size
    return head[4:8] == b"ftyp" and _boxes_overrun(file, size)


def _boxes_overrun(file: BinaryIO, size: int) -> bool:
    """Tell whether the outermost boxes of an AVIF file are longer than the file."""
    end = 0
    for _ in range(64):
        file.seek(end)
        length = int.from_bytes(file.read(4), "big")
        if length < 8:
            break
        end += length
    return end > size


def wrong_checksum(png: bytes, frame: int) -> bool:
    """Tell whether a chunk of a PNG file that holds pixels does not match its CRC.

    Pillow does not look at these, and stops before the checksum of the compressed stream once all rows are there
    (PNG specification, section 5.3).

    Args:
        frame: which is asked for; the chunks of later frames do not matter for the first.
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
