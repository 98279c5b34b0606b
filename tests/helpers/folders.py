"""Folders of checkpoints with one file damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["damaged_copy"]


def damaged_copy(folder: str | Path, copy: Path, name: str, text: str | None) -> str:
    """Copy a folder with another text in one of its files, or without that file where text is None; return its path."""
    shutil.copytree(folder, copy)
    if text is None:
        (copy / name).unlink()
    else:
        (copy / name).write_text(text, "utf-8")
    return str(copy)
