"""Tiny checkpoints of the three stages, exported once a process for each format."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Exports", "export_tiny", "need"]

PACKAGES = {"openvino": ("openvino",), "onnx": ("onnx", "onnxruntime", "onnxscript")}
"""Format -> what writes and runs it."""


@dataclass(frozen=True)
class Exports:
    """The exports of a format.

    Attributes:
        sources: Stage -> SPEC of the torch model.
        spec: SPEC of the export, the same for all stages.
        records: Stage -> its record.
    """

    sources: dict[str, str]
    spec: str
    records: Any


_written: dict[str, Exports] = {}


def need(form: str, *more: str) -> None:
    """Skip the test where a package of a format is not installed."""
    for name in (*PACKAGES[form], *more):  # looked for, not imported: OpenVINO reports each import if it is let to
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed; it comes with the extra {form}")


def export_tiny(form: str, folder: Path) -> Exports:
    """Export a CLIP, an OWLv2 and a SAM into a folder, or return what another test has exported."""
    import openvocab

    need(form)
    if form not in _written:
        families = {"tagger": "open_clip", "detector": "owlv2", "segmenter": "sam"}
        sources: Any = {
            stage: f"{family}:{import_module(f'tests.tiny.{family}').write(folder / family)}"
            for stage, family in families.items()
        }
        made = openvocab.export_model(out=folder, format=form, labels=["cat", "red dog"], **sources)
        _written[form] = Exports(sources, f"{form}:{folder}", made)
    return _written[form]
