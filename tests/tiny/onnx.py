"""Tiny checkpoints, exported as onnx."""

from __future__ import annotations

from pathlib import Path

from tests.tiny.exported import export_tiny

__all__ = ["write"]


def write(folder: Path) -> str:
    """Export all stages; return what a SPEC says after the family."""
    return export_tiny("onnx", folder).spec.partition(":")[2]
