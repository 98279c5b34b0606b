"""Read manifest.toml: checkpoints as records of file, size and sha256, and presets."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from openvocab.errors import unknown
from openvocab.weights.files import verify

__all__ = ["Checkpoint", "PresetRecord", "checkpoint", "preset_records"]

_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One embedded checkpoint: its file, size in bytes, pinned sha256 and licence."""

    name: str
    path: Path
    size: int
    sha256: str
    licence: str

    def verified(self) -> Path:
        """Return the file if it is byte for byte the pinned one.

        Raises:
            BadWeights: it is absent or another.
        """
        verify(self.path, self.sha256, self.name)
        return self.path


@dataclass(frozen=True, slots=True)
class PresetRecord:
    """One SPEC for each stage, the settings that go with them, and what a user should know."""

    name: str
    tagger: str
    detector: str
    segmenter: str
    licence: str
    description: str
    settings: Mapping[str, Any]
    size: int


@cache
def _manifest() -> Mapping[str, Any]:
    return MappingProxyType(tomllib.loads((_PACKAGE / "manifest.toml").read_text(encoding="utf-8")))


def checkpoint(name: str) -> Checkpoint:
    """Return the record of an embedded checkpoint.

    Raises:
        UnknownName: there is none of that name.
    """
    table = _manifest()["checkpoints"]
    if name not in table:
        raise unknown("checkpoint", name, table)
    record = table[name]
    return Checkpoint(name, _PACKAGE / record["file"], record["size"], record["sha256"], record["licence"])


def preset_records() -> dict[str, PresetRecord]:
    """Name -> preset, in the order of the manifest."""
    return {name: _preset(name, record) for name, record in _manifest()["presets"].items()}


def _preset(name: str, record: Mapping[str, Any]) -> PresetRecord:
    stages = {stage: record[stage] for stage in ("tagger", "detector", "segmenter")}
    size = sum(checkpoint(f"{spec}-{stage}").size for stage, spec in stages.items() if spec == "pocket")
    settings = MappingProxyType(dict(record.get("settings", {})))
    return PresetRecord(
        name, **stages, licence=record["licence"], description=record["description"], settings=settings, size=size
    )
