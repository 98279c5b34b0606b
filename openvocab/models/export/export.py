"""Export the stages of a preset for OpenVINO or ONNX Runtime, compare them with torch and write a record of each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

from openvocab.errors import BadInput, BadOutput, CannotWrite, OpenVocabError, unknown
from openvocab.models.export.compare import points_lost
from openvocab.models.export.limits import MAX_LOSS, MIN_COSINE
from openvocab.models.export.samples import Samples
from openvocab.models.export.stages import STAGES, StageExport
from openvocab.models.export.write import require_writer, versions_of, write_graph
from openvocab.models.graphs.record import ExportRecord, digests
from openvocab.models.graphs.runtimes import FORMATS, Format
from openvocab.models.registry import REGISTRIES
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.manifest import preset_records

__all__ = ["export_model"]

_CALIBRATION = 300
"""Images from which the ranges of 8-bit activations are taken, at most."""


class Specs(TypedDict, total=False):
    """SPECs of the stages to export."""

    tagger: str | None
    detector: str | None
    segmenter: str | None


def export_model(
    preset: str | None = None,
    *,
    out: str | Path,
    format: str,  # noqa: A002
    int8: bool = False,
    calibrate: str | Path | None = None,
    labels: str | Sequence[str] | None = None,
    max_loss: float = MAX_LOSS,
    **specs: Unpack[Specs],
) -> dict[str, ExportRecord]:
    """Export stages for OpenVINO or ONNX Runtime; return stage -> record. "openvino:OUT" or "onnx:OUT" loads them.

    Args:
        preset: Name of a preset.
        out: The folder; each stage gets a folder in it.
        format: "openvino" or "onnx".
        int8: Store the tagger's image tower with 8-bit weights and activations.
        calibrate: A folder of images, in one folder for each label if they have labels: int8 takes its ranges from
            them, and exports are compared with torch on them. None compares on the example images.
        labels: The vocabulary of the comparison; None for the names of the folders, else the label set "pocket".
        max_loss: Points of top-1 that int8 may lose.
        specs: tagger, detector, segmenter: SPECs that replace the preset's stages.

    Raises:
        BadInput: There is nothing to export, a family cannot be, a stage is there already, or int8 has no images.
        BadOutput: An export differs from torch by more than is allowed; it is not written.
        BadWeights: A checkpoint is absent or fails its digest.
        CannotWrite: The folder cannot be written.
        MissingExtra: A package that writes the format is not installed.
        UnknownName: There is no such preset, family or format.
    """
    wanted = _specs(preset, specs)
    return _job(format, calibrate, labels, int8, max_loss).write_all(wanted, Path(out))


@dataclass(frozen=True, slots=True)
class _Job:
    """What is common to all stages of an export."""

    form: Format
    samples: Samples
    int8: bool
    max_loss: float

    def write_all(self, specs: Mapping[str, str], target: Path) -> dict[str, ExportRecord]:
        """Write stages into the folder.

        Raises:
            BadInput: a stage is there already.
            CannotWrite: the folder cannot be written.
        """
        for stage in specs:
            if (target / stage).exists():
                raise BadInput(f"{target / stage} exists; remove it or name another folder")
        try:
            target.mkdir(parents=True, exist_ok=True)
            return {stage: self.write(stage, spec, target) for stage, spec in specs.items()}
        except OpenVocabError:
            raise
        except OSError as error:
            raise CannotWrite(
                f"{target} cannot be written ({error.strerror}); free some space or name another"
            ) from error

    def write(self, stage: str, spec: str, target: Path) -> ExportRecord:
        """Write one stage under a temporary name, compare it with torch, and give it its name."""
        registry = next(each for each in REGISTRIES if each.stage == stage)
        loaded = registry.load(spec, "cpu", "float32")
        with tempfile.TemporaryDirectory(prefix=".openvocab-", dir=target) as scratch:
            made = self._written(stage, loaded, Path(scratch))
            shutil.move(str(Path(scratch, stage)), str(target / stage))
        return made

    def _written(self, stage: str, loaded: Any, scratch: Path) -> ExportRecord:
        """Write a stage and its record into a folder of its name in scratch.

        Raises:
            BadOutput: It differs from torch by more than is allowed.
        """
        folder, how = scratch / stage, STAGES[stage]
        folder.mkdir()
        sources = how.graphs(loaded, next(self.samples.images()))
        settings = how.save(loaded, folder)
        opset = max(write_graph(self.form, source, folder) for source in sources)
        compare = partial(self._compared, how, loaded, how.answers(loaded, self.samples), scratch)
        record = compare(self._record(stage, loaded.record, how.kind(loaded), opset, settings), "float32")
        self._refuse_distant(record)
        if self.int8 and how.quantizes:
            values = [how.pixels(loaded, image) for image in self.samples.images(_CALIBRATION)]
            write_graph(self.form, sources[0], folder, values)
            before = {"float32": record.checks, "calibration_images": len(values)}
            record = compare(replace(record, precision="int8", checks=before), None)
            self._refuse_lossy(record)
        record.write(folder)
        return record

    def _record(
        self, stage: str, source: ModelRecord, kind: str, opset: int, settings: Mapping[str, Any]
    ) -> ExportRecord:
        versions = versions_of(self.form, int8=self.int8)
        about = (self.form.name, stage, kind, source.spec, source.sha256, "float32", opset)
        return ExportRecord(*about, versions, settings, checks={})

    def _compared(
        self, how: StageExport, loaded: Any, answers: Any, scratch: Path, record: ExportRecord, dtype: str | None
    ) -> ExportRecord:
        """Return the record of the files that are there, with the checks of the stage that they make."""
        folder = scratch / record.stage
        known = replace(record, files=digests(folder))
        known.write(folder)
        exported = how.load(self.form.name, scratch, dtype)
        return replace(known, checks={**record.checks, **how.compare(loaded, answers, exported, self.samples)})

    def _refuse_distant(self, record: ExportRecord) -> None:
        least = record.checks["cosine_min"]
        if not least >= MIN_COSINE:
            raise BadOutput(
                f"{record.source}: features of the exported {record.stage} differ from those of torch (cosine "
                f"{least:.5f}, {MIN_COSINE} or more is needed), so it was not written; try the other format"
            )

    def _refuse_lossy(self, record: ExportRecord) -> None:
        lost = points_lost(record.checks)
        if lost > self.max_loss:
            raise BadOutput(
                f"{record.source}: int8 loses {lost:.2f} points of top-1 on the {record.checks['images']} images, more "
                f"than {self.max_loss:g}, so it was not written; leave out int8, give more images, or allow the loss"
            )


def _job(
    format: str,  # noqa: A002
    calibrate: str | Path | None,
    labels: str | Sequence[str] | None,
    int8: bool,
    max_loss: float,
) -> _Job:
    """Check the options that all stages share, and that the packages are there.

    Raises:
        UnknownName: there is no such format.
        BadInput: int8 has no images.
        MissingExtra: a package is not installed.
    """
    if format not in FORMATS:
        raise unknown("export format", format, FORMATS)
    if int8 and calibrate is None:
        raise BadInput("int8 takes the ranges of its values from images; name a folder of them with calibrate")
    require_writer(FORMATS[format], int8=int8)
    return _Job(FORMATS[format], Samples.of(calibrate, labels), int8, max_loss)


def _specs(preset: str | None, given: Specs) -> dict[str, str]:
    """Return stage -> SPEC of what to export.

    Raises:
        UnknownName: there is no such preset.
        BadInput: there is nothing to export.
    """
    known = preset_records()
    if preset is not None and preset not in known:
        raise unknown("preset", preset, known)
    usual = known[preset] if preset is not None else None
    found = {stage: given.get(stage) or (getattr(usual, stage) if usual else "") for stage in STAGES}
    specs = {stage: str(spec) for stage, spec in found.items() if spec}
    if not specs:
        raise BadInput(
            "nothing to export; name a preset such as 'pocket', or the SPEC of a tagger, detector or segmenter"
        )
    return specs
