"""File names for annotated pictures."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["PictureNames"]

_LONGEST_STEM = 200
"""Bytes of a file's name that are kept; file systems allow 255."""


class PictureNames:
    """File names for annotated pictures: NAME.png, then NAME-2.png, each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, source: str) -> str:
        """Return a name for the picture of that path; names that differ in case only are taken as the same."""
        stem = os.fsencode(Path(source).stem)[:_LONGEST_STEM].decode("utf-8", "ignore") or "picture"
        number, name = 1, stem
        while name.casefold() in self._given:
            number += 1
            name = f"{stem}-{number}"
        self._given.add(name.casefold())
        return f"{name}.png"
