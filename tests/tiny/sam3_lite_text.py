"""A tiny SAM 3 LiteText checkpoint; it is loaded by the family of SAM 3."""

from __future__ import annotations

from pathlib import Path

from tests.tiny import sam3

__all__ = ["FAMILY", "write"]

FAMILY = "sam3"


def write(folder: Path) -> str:
    """Write a Sam3LiteTextModel with its processor and return the REST of its SPEC."""
    return sam3.write(folder, lite=True)
