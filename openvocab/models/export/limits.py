"""How far an export may lie from the torch model."""

from __future__ import annotations

__all__ = ["MAX_LOSS", "MIN_COSINE"]

MIN_COSINE = 0.999
"""Between features of an exported image tower in float32 and those of torch."""

MAX_LOSS = 0.3
"""Points of top-1 that an int8 image tower may lose."""
