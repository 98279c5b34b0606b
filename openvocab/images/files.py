"""Image files on disk: which files are images, and opening regular files."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import BinaryIO

__all__ = ["SUFFIXES", "begins_like_image", "looks_like_image", "open_regular", "touched"]

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".heic", ".heif", ".hif", ".jxl"),
)
_STRONG = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


def looks_like_image(path: str) -> bool:
    """Return whether a file is an image by its suffix, or by its first bytes."""
    return path.lower().endswith(SUFFIXES) or begins_like_image(path)


def begins_like_image(path: str) -> bool:
    with suppress(OSError, ValueError), open_regular(path) as file:
        return is_image_head(file.read(12))
    return False


def is_image_head(head: bytes) -> bool:
    """Return whether 12 bytes are the first ones of an image."""
    return head.startswith(_STRONG) or (head[:4], head[8:]) == (b"RIFF", b"WEBP") or head[4:] == b"ftypavif"


def touched(found: os.stat_result) -> float:
    """Return the later of a file's modification and status change times, in seconds since the epoch."""
    return max(found.st_mtime, found.st_ctime)


def open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading.

    Pipes, devices and sockets are never opened, not even one that replaces the file in the meantime.

    Raises:
        OSError: The file does not exist or cannot be read.
        IsADirectoryError: The path is not a regular file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise IsADirectoryError(f"{path!r} is not a regular file")
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise IsADirectoryError(f"{path!r} is not a regular file")
    return file
