"""The record of an exported stage: what it was made from, how close it is, and the sha256 of each of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openvocab.errors import BadWeights, OpenVocabError
from openvocab.models.graphs.runtimes import FORMATS, Format, Graph, run_dtype
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.files import first_line, sha256_of

__all__ = ["NAME", "ExportRecord", "Opened", "digests", "open_stage", "read_record"]

NAME = "export.json"
"""The record's file, beside the graphs."""


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """What was exported and how it was checked.

    Attributes:
        format: "openvino" or "onnx".
        stage: "tagger", "detector" or "segmenter".
        kind: How images and words are prepared: the family of the checkpoint.
        source: SPEC of the checkpoint in its ModelRecord.
        source_sha256: Digest of the checkpoint's weights.
        precision: "float32", or "int8" for an image tower with 8-bit weights and activations.
        opset: Version of the operators; 0 where the format has none.
        versions: Package -> version.
        settings: Numbers that the stage needs beside its graphs, such as the logit scale.
        checks: Measured against the torch model.
        files: Path in the folder -> sha256.
    """

    format: str
    stage: str
    kind: str
    source: str
    source_sha256: str | None
    precision: str
    opset: int
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    checks: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest of the digests of all files."""
        return hashlib.sha256(json.dumps(dict(self.files), sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write the record into the folder of its files."""
        (folder / NAME).write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a folder but the record, by its path there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}


@dataclass(frozen=True, slots=True)
class Opened:
    """An exported stage whose files are verified.

    Attributes:
        folder: Of the stage.
        record: Its record.
        form: Its format.
        dtype: The precision that its graphs run in.
    """

    folder: Path
    record: ExportRecord
    form: Format
    dtype: str

    @property
    def model(self) -> ModelRecord:
        """The record of the loaded stage."""
        made = self.record
        precision = made.precision if made.precision == "int8" else self.dtype
        return ModelRecord(f"{made.format}:{made.source}", made.sha256, "cpu", precision)

    @contextmanager
    def preprocessing(self) -> Iterator[None]:
        """Turn what a library raises for absent or broken files of words and pixels into one sentence.

        Raises:
            BadWeights: They cannot be loaded.
        """
        try:
            yield
        except OpenVocabError:
            raise
        except Exception as error:  # no file, broken JSON, other keys: each raises its own
            raise BadWeights(f"{self.folder}: the preprocessing cannot be loaded: {first_line(error)}") from error

    def graph(self, name: str, dtype: str | None = None) -> Graph:
        """Compile the graph of that name, in another precision than the stage's if one is given."""
        return self.form.compile(self.folder / f"{name}{self.form.suffix}", dtype or self.dtype)


def open_stage(form_name: str, stage: str, folder: str, device: str | None, dtype: str | None) -> Opened:
    """Verify the files of an exported stage.

    Args:
        form_name: "openvino" or "onnx".
        stage: "tagger", "detector" or "segmenter".
        folder: Written by export_model.
        device: "cpu" or None.
        dtype: "float32", "bfloat16" or None for what is fast; a runtime without bfloat16 takes float32.

    Raises:
        BadInput: The device is not the CPU, or there is no such precision.
        BadWeights: There is no such stage, it has another format, or a file is absent or changed.
    """
    place = Path(folder).expanduser() / stage
    record = read_record(place, stage)
    if record.format != form_name:
        raise BadWeights(f"{place} was exported as {record.format}; write {record.format}:{folder}")
    found = digests(place)
    for name, expected in record.files.items():
        if found.get(name) != expected:
            how = "is absent" if name not in found else "was changed since it was exported"
            raise BadWeights(f"{place / name} {how}; export the model again")
    form = FORMATS[form_name]
    return Opened(place, record, form, run_dtype(form, device, dtype))


def read_record(place: Path, stage: str) -> ExportRecord:
    """Return the record in a folder.

    Raises:
        BadWeights: There is none, or it is damaged.
    """
    path = place / NAME
    if not path.is_file():
        raise BadWeights(f"{place.parent} holds no exported {stage} ({stage}/{NAME}); run openvocab export-model first")
    try:
        record = ExportRecord(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise BadWeights(f"{path} is no record of an export: {first_line(error)}; export the model again") from error
    if str(record.format) not in FORMATS or record.stage != stage or not isinstance(record.files, dict):
        raise BadWeights(f"{path} is no record of an exported {stage}; export the model again")
    return record
