"""Whether a picture file ends before its format says that it does."""

from __future__ import annotations

import os
from typing import BinaryIO

__all__ = ["cut_short"]


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
