"""The memory that arrays and tensors take, wherever they are in a value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["nbytes_of"]


def nbytes_of(value: Any) -> int:
    """Return the bytes of the arrays and tensors in a value, its items and its fields; one held twice counts once."""
    return sum({id(each): int(each.nbytes) for each in _arrays(value)}.values())


def _arrays(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        parts = list(value)
    elif is_dataclass(value):
        parts = [getattr(value, each.name) for each in fields(value)]
    else:
        parts = []
        if hasattr(value, "nbytes"):
            yield value
    for part in parts:
        yield from _arrays(part)
