"""The memory that arrays and tensors take, wherever they are in a value."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["nbytes_of"]


def nbytes_of(value: Any) -> int:
    """Return the bytes of the arrays and tensors in a value, its items and its fields."""
    if isinstance(value, tuple | list):
        return sum(map(nbytes_of, value))
    if is_dataclass(value):
        return sum(nbytes_of(getattr(value, each.name)) for each in fields(value))
    return int(getattr(value, "nbytes", 0))
