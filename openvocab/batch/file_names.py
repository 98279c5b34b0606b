"""File names for what is written of each image, in run folders and in exports."""

from __future__ import annotations

import hashlib
import re

from openvocab.images.frames import split_frame

__all__ = ["FileNames"]

_LONGEST_STEM = 120
"""Bytes of a stem that are kept, so that what is added to it fits in the 255 that file systems allow."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


class FileNames:
    """File names without a suffix: the image's own stem, and a digest of its id where that name was taken.

    The names hold no character that a file system refuses, and no two of them differ in case only. About 70 bytes are
    kept of each.
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
        while not self._new(f"{name}-{number}"):  # one id twice, or an id made to look like this
            number += 1
        return f"{name}-{number}"

    def _new(self, name: str) -> bool:
        key = int.from_bytes(hashlib.blake2b(name.casefold().encode(), digest_size=8).digest())
        known = key in self._given
        self._given.add(key)
        return not known


def _stem(id: str) -> str:  # noqa: A002
    """Return the last part of an id without its suffix, fit for a file's name on any system, and a frame's number."""
    name, frame = split_frame(id)
    last = re.split(r"[/\\]|::", name.rstrip("/\\"))[-1]
    stem = last[: last.rfind(".")] if last.rfind(".") > 0 else last
    safe = _UNSAFE.sub("_", stem).encode()[:_LONGEST_STEM].decode("utf-8", "ignore").strip(" .")
    safe = f"_{safe}" if not safe or _RESERVED.fullmatch(safe) else safe
    return safe if frame is None else f"{safe}-frame{frame}"
