"""A tiny CoCa as an open_clip folder."""

from __future__ import annotations

from pathlib import Path

from tests.tiny.open_clip import write_kind

__all__ = ["write"]


def write(folder: Path) -> str:
    """Write the model; return the rest of the SPEC."""
    return write_kind(folder, "coca")
