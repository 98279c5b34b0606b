"""Reports of detection: report.json for programs and report.md for people, in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import openvocab
from openvocab.errors import CannotWrite
from openvocab.evaluate.detecting import Detected
from openvocab.evaluate.detection import AveragePrecision
from openvocab.evaluate.report_text import number, plain, table, versions, write_texts
from openvocab.pipeline.record import ModelRecord

__all__ = ["DetectionContext", "detection_summary", "write_detection_report"]

_NEXT_TO_NOTHING = 0.01


@dataclass(frozen=True, slots=True)
class DetectionContext:
    """What made the figures.

    path, format  where the pictures came from.
    model         the detector's record.
    template      the sentence that labels were put into.
    settings      the settings of the detector.
    faults        kind of fault in the annotations -> how many.
    """

    path: str
    format: str
    model: ModelRecord
    template: str
    settings: Mapping[str, float | int | str | bool]
    faults: Mapping[str, int]


def detection_summary(figures: AveragePrecision) -> list[tuple[str, str]]:
    """Return name and value of the main figures, as texts; a dash where one is not defined."""
    named = (
        ("AP, IoU 0.50 to 0.95", figures.ap),
        ("AP50", figures.ap50),
        ("AP75", figures.ap75),
        ("AP of small things", figures.small),
        ("AP of medium things", figures.medium),
        ("AP of large things", figures.large),
        ("recall with 1 box a label", figures.recall_1),
        ("recall with 10 boxes a label", figures.recall_10),
        ("recall with 100 boxes a label", figures.recall_100),
    )
    return [(name, number(value)) for name, value in named]


def write_detection_report(
    folder: str, detected: Detected, figures: AveragePrecision, context: DetectionContext
) -> None:
    """Write report.json and report.md.

    Raises:
        CannotWrite: the folder cannot be made or written.
    """
    try:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        write_texts(place, _report(detected, figures, context), _markdown(detected, figures, context))
    except OSError as error:
        raise CannotWrite(f"{folder!r} cannot be written ({error.strerror}); give another folder") from error


def _report(detected: Detected, figures: AveragePrecision, context: DetectionContext) -> dict[str, Any]:
    return {
        "task": "detect",
        "openvocab": openvocab.__version__,
        "versions": versions(),
        "model": asdict(context.model),
        "template": context.template,
        "settings": dict(context.settings),
        "labels": list(detected.labels),
        "data": {
            "path": context.path,
            "format": context.format,
            "digest": detected.digest,
            "pictures": len(detected.names),
            "things": _counts(detected),
            "boxes given": _given(detected),
            "faults": dict(context.faults),
            "unread": [{"picture": name, "error": error} for name, error in detected.unread],
            "resized": list(detected.resized),
        },
        "figures": plain(figures),
    }


def _counts(detected: Detected) -> dict[str, int]:
    """Return how many things of each label are there."""
    every = np.concatenate([one.label_index for one in detected.truth])
    return dict(zip(detected.labels, np.bincount(every, minlength=len(detected.labels)).tolist(), strict=True))


def _given(detected: Detected) -> int:
    return sum(len(one.scores) for one in detected.found)


def _markdown(detected: Detected, figures: AveragePrecision, context: DetectionContext) -> Iterable[str]:
    counts = _counts(detected)
    yield from ["# Detection", ""]
    yield f"{len(detected.names)} pictures with {sum(counts.values())} things of {len(counts)} labels."
    yield f"Model `{context.model.spec}` gave {_given(detected)} boxes."
    if figures.ap50 is not None and figures.ap50 < _NEXT_TO_NOTHING:
        yield ""
        yield f"**The model finds next to nothing here: AP50 is {figures.ap50:.4f}.** It may not know these labels."
    for said, count in _oddities(detected, context).items():
        yield from ["", f"{said}: {count}."]
    yield from ["", *table(("figure", "value"), detection_summary(figures)), "", "## Labels", ""]
    rows = [(label, str(counts[label]), number(value)) for label, value in figures.per_label.items()]
    yield from [*table(("label", "things", "AP"), rows), "", "## What made it", ""]
    model = context.model
    yield from table(
        ("what", "value"),
        [
            ("data", f"{context.path} ({context.format}), digest {detected.digest}"),
            ("model", f"{model.spec}, sha256 {model.sha256}, {model.device}, {model.dtype}"),
            ("template", context.template),
            ("settings", ", ".join(f"{name} {value}" for name, value in context.settings.items())),
            ("openvocab", openvocab.__version__),
        ],
    )


def _oddities(detected: Detected, context: DetectionContext) -> dict[str, int]:
    made = {said.capitalize(): count for said, count in context.faults.items()}
    if detected.unread:
        made["Pictures that could not be read, in no figure"] = len(detected.unread)
    if detected.resized:
        made["Pictures of another size than their annotation says"] = len(detected.resized)
    return made
