"""Limits on requests and on the server's memory and disk."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on requests and on the server's memory and disk.

    Attributes:
        upload_bytes: Maximum size of an uploaded file.
        pixels: Maximum width times height of an image; the header is checked before the image is decoded.
        files: Maximum number of images in a batch.
        unpacked_bytes: Maximum total size of the unpacked archives of a batch.
        ratio: Maximum ratio of an archive's unpacked size to its file size.
        waiting: Maximum number of queued requests; further requests get "busy" at once.
        stored_bytes: Maximum total size of all uploads and downloads on disk.
        cache_bytes: Maximum total size of the images and raw scores of open pages in memory.
    """

    upload_bytes: int = 20 * 2**20
    pixels: int = 40_000_000
    files: int = 500
    unpacked_bytes: int = 2**30
    ratio: int = 100
    waiting: int = 32
    stored_bytes: int = 4 * 2**30
    cache_bytes: int = 2**30
