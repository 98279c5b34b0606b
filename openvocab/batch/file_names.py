"""Unique, portable file names for images, in run folders and exports."""

from __future__ import annotations

import hashlib
import re

from openvocab.images.frames import split_frame

__all__ = ["FileNames"]

_MAX_STEM_BYTES = 120
"""The maximum length of a stem in bytes; the suffixes then fit the 255 bytes that file systems allow."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


class FileNames:
    """Assigns file names without a suffix: the image's stem, with a digest of its id if that name is taken.

    Names contain no character that a file system refuses, and no two differ in case only. Each takes about 70 bytes of
    memory.
    """

    def __init__(self) -> None:
        self._given: set[int] = set()

    def __call__(self, id: str) -> str:  # noqa: A002
        """Return a name for the image of that id."""
        stem, name = _stem(id), ""
        digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
        for length in (0, 8, 16, 32, 64):
            name = f"{stem}-{digest[:length]}" if length else stem
            if self._new(name):
                return name
        number = 2
        while not self._new(f"{name}-{number}"):  # the same id twice, or an id crafted to collide
            number += 1
        return f"{name}-{number}"

    def _new(self, name: str) -> bool:
        key = int.from_bytes(hashlib.blake2b(name.casefold().encode(), digest_size=8).digest())
        known = key in self._given
        self._given.add(key)
        return not known


def _stem(id: str) -> str:  # noqa: A002
    """Return the last part of an id without its suffix, as a portable file name, with the frame number."""
    name, frame = split_frame(id)
    last = re.split(r"[/\\]|::", name.rstrip("/\\"))[-1]
    stem = last[: last.rfind(".")] if last.rfind(".") > 0 else last
    safe = _UNSAFE.sub("_", stem).encode()[:_MAX_STEM_BYTES].decode("utf-8", "ignore").strip(" .")
    safe = f"_{safe}" if not safe or _RESERVED.fullmatch(safe) else safe
    return safe if frame is None else f"{safe}-frame{frame}"
