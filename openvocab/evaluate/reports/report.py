"""What all reports share: their context, their files, and how values are written.

A report does not depend on when it is made: the same data, models, seed and device give the same files.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import openvocab
from openvocab.errors import CannotWrite
from openvocab.evaluate.metrics.bootstrap import RESAMPLES, Estimate
from openvocab.pipeline.result import ModelRecord, RunRecord

__all__ = [
    "Report",
    "ReportContext",
    "Run",
    "Table",
    "metric_table",
    "model_row",
    "near_zero",
    "number",
    "plain",
    "record_rows",
    "table",
]

_PACKAGES = (
    "numpy",
    "open_clip_torch",
    "pillow",
    "pycocotools",
    "scikit-learn",
    "torch",
    "torchvision",
    "transformers",
)

_NEAR_ZERO = 0.01

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""The header and the rows of a table."""


class Run(Protocol):
    """What every run knows of its data.

    Attributes:
        names: Ids of the measured images.
        unread: Id and error of each image that could not be read.
        digest: sha256 that identifies the data.
    """

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def unread(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def digest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Where the data came from, and how intervals were computed.

    Attributes:
        path: Path of the data, as given.
        format: Format of the data; empty if there is only one.
        seed: Seed of the bootstrap.
        faults: Kind of fault in the annotations -> how many.
        resamples: Number of bootstrap resamples.
        queries: Digest of the LabelSet or Prompt that models were asked for; empty for labels.
    """

    path: str
    format: str
    seed: int
    faults: Mapping[str, int] = field(default_factory=dict)
    resamples: int = RESAMPLES
    queries: str = ""

    @property
    def source(self) -> str:
        """The path, with the format in parentheses."""
        return f"{self.path} ({self.format})" if self.format else self.path


@dataclass(frozen=True, eq=False, slots=True)
class Report:
    """One report.

    Attributes:
        task: Name of the task.
        title: Heading of report.md.
        run: The run that was measured.
        context: Where the data came from.
        intro: First paragraph of report.md.
        summary: Table of the main metrics.
        body: Lines of report.md below the summary.
        details: Rows of the table of models and settings.
        fields: Fields of report.json about models and settings.
        data: Fields of report.json about the data.
        metrics: All metrics.
        images: File name -> function that writes the image to a path.
    """

    task: str
    title: str
    run: Run
    context: ReportContext
    intro: Sequence[str]
    summary: Table
    body: Sequence[str]
    details: Sequence[tuple[str, str]]
    fields: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    images: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)

    def write(self, folder: str) -> None:
        """Write report.json, report.md and the images into a folder, which is made if it does not exist.

        Raises:
            CannotWrite: The folder cannot be made or written.
        """
        try:
            place = Path(folder)
            place.mkdir(parents=True, exist_ok=True)
            (place / "worst.png").unlink(missing_ok=True)  # of an earlier run
            for name, write in self.images.items():
                write(place / name)
            text = json.dumps(plain(self._json()), indent=1, ensure_ascii=False)
            (place / "report.json").write_text(text + "\n", "utf-8", "surrogateescape")
            (place / "report.md").write_text("\n".join(self._markdown()) + "\n", "utf-8", "surrogateescape")
        except OSError as error:
            raise CannotWrite(f"{folder!r} cannot be written ({error.strerror}); give another folder") from error

    def _json(self) -> dict[str, Any]:
        data = {"path": self.context.path, "digest": self.run.digest, "images": len(self.run.names)}
        if self.context.format:
            data["format"] = self.context.format
        if self.context.queries:
            data["queries"] = self.context.queries
        unread = [{"image": name, "error": error} for name, error in self.run.unread]
        return {
            "task": self.task,
            "openvocab": openvocab.__version__,
            "versions": _versions(),
            **self.fields,
            "data": {**data, "faults": dict(self.context.faults), "unread": unread, **self.data},
            "bootstrap": {"seed": self.context.seed, "resamples": self.context.resamples, "interval": 0.95},
            **({"metrics": self.metrics} if self.metrics else {}),
        }

    def _markdown(self) -> Iterator[str]:
        yield from [f"# {self.title}", "", *self.intro]
        for kind, count in self._notes().items():
            yield from ["", f"{kind}: {count}."]
        yield from ["", *table(*self.summary), "", *self.body, "## Run", ""]
        bootstrap = f"seed {self.context.seed}, {self.context.resamples} resamples of the images"
        rows = [("data", f"{self.context.source}, digest {self.run.digest}"), *self.details]
        rows += [("label set or prompt", self.context.queries)] * bool(self.context.queries)
        yield from table(("what", "value"), [*rows, ("bootstrap", bootstrap), ("openvocab", openvocab.__version__)])

    def _notes(self) -> dict[str, int]:
        """Return what is unusual about the data -> how many; report.json has the names."""
        notes = {kind.capitalize(): count for kind, count in self.context.faults.items()}
        if self.run.unread:
            notes["Images that could not be read, in no metric"] = len(self.run.unread)
        if resized := getattr(self.run, "resized", ()):
            measured = "" if self.task == "detect" else ", in no metric"
            notes[f"Images of another size than annotated{measured}"] = len(resized)
        return notes


def model_row(stage: str, model: ModelRecord) -> tuple[str, str]:
    """Return the row of a model in the table of models and settings."""
    return stage, f"{model.spec}, sha256 {model.sha256}, {model.device}, {model.dtype}"


def record_rows(record: RunRecord) -> list[tuple[str, str]]:
    """Return the rows of a run in the table of models and settings."""
    models = {"tagger": record.tagger, "detector": record.detector, "segmenter": record.segmenter}
    return [
        *(model_row(stage, model) for stage, model in models.items() if model),
        ("templates", ", ".join(record.templates) or "-"),
        ("settings", ", ".join(f"{name} {value}" for name, value in record.settings.items()) or "-"),
    ]


def _versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that metrics depend on; None if not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def plain(value: Any) -> Any:
    """Return a value as plain JSON types; numbers that are not finite become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | None) -> str:
    """Return a number with three decimals; a dash if it is undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def metric_table(metrics: Iterable[tuple[str, Estimate | float | None]]) -> Table:
    """Return the table of metrics with their 95 % intervals; a dash stands for what is undefined."""
    rows = []
    for name, value in metrics:
        if isinstance(value, Estimate):
            rows.append((name, number(value.value), f"{number(value.low)} to {number(value.high)}"))
        else:
            rows.append((name, number(value), "-"))
    return ("metric", "value", "95 % interval"), rows


def near_zero(metric: str, value: float | None, specs: Iterable[str]) -> list[str]:
    """Return the lines of a warning that a metric is close to zero; none otherwise.

    Args:
        metric: Name of the metric.
        value: Its value.
        specs: SPECs of the models; the embedded ones know drawn objects only.
    """
    if value is None or not value < _NEAR_ZERO:
        return []
    drawn = "; the embedded models know drawn objects only" if any(spec.startswith("pocket") for spec in specs) else ""
    return ["", f"**{metric} is {value:.4f}, close to zero.** The models may not know these labels{drawn}."]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    for number_of_row, row in enumerate([head, *rows]):
        cells = (" ".join(cell.split()).replace("|", r"\|") for cell in row)
        yield f"| {' | '.join(cells)} |"
        if number_of_row == 0:
            yield "|---" * len(head) + "|"
