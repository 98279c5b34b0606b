"""Reports of detection: report.json for programs and report.md for people, in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import openvocab
from openvocab.errors import CannotWrite
from openvocab.evaluate.curves import DRAWS, Curves
from openvocab.evaluate.detecting import Detected
from openvocab.evaluate.detection import AveragePrecision
from openvocab.evaluate.plots import plot_precision_recall
from openvocab.evaluate.report_text import next_to_nothing, number, plain, table, versions, write_texts
from openvocab.evaluate.worst import Side, write_worst
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.thresholds import box_threshold

__all__ = ["DetectionContext", "detection_summary", "write_detection_report"]


@dataclass(frozen=True, slots=True)
class DetectionContext:
    """What made the figures.

    path, format  where the images came from.
    model         the detector's record.
    template      the sentence that labels were put into.
    settings      the settings of the detector.
    faults        kind of fault in the annotations -> how many.
    seed          of the bootstrap.
    """

    path: str
    format: str
    model: ModelRecord
    template: str
    settings: Mapping[str, float | int | str | bool]
    faults: Mapping[str, int]
    seed: int


def detection_summary(figures: AveragePrecision, curves: Curves) -> list[tuple[str, str, str]]:
    """Return name, value and 95 % interval of the main figures, as texts; a dash where one is not defined."""
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
    interval = "-" if figures.ap50 is None else f"{number(curves.mean.low)} to {number(curves.mean.high)}"
    return [(name, number(value), interval if name == "AP50" else "-") for name, value in named]


def write_detection_report(
    folder: str,
    detected: Detected,
    figures: AveragePrecision,
    curves: Curves,
    context: DetectionContext,
    worst: Sequence[Side] = (),
) -> None:
    """Write report.json, report.md, precision_recall.png and, where there are worst images, worst.png.

    Raises:
        CannotWrite: the folder cannot be made or written.
    """
    try:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        plot_precision_recall(place / "precision_recall.png", curves, detected.labels)
        write_worst(place, worst)
        lines = _markdown(detected, figures, curves, context, with_image=bool(worst))
        write_texts(place, _report(detected, figures, curves, context), lines)
    except OSError as error:
        raise CannotWrite(f"{folder!r} cannot be written ({error.strerror}); give another folder") from error


def _report(detected: Detected, figures: AveragePrecision, curves: Curves, context: DetectionContext) -> dict[str, Any]:
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
            "images": len(detected.names),
            "things": _counts(detected),
            "boxes given": _given(detected),
            "faults": dict(context.faults),
            "unread": [{"image": name, "error": error} for name, error in detected.unread],
            "resized": list(detected.resized),
        },
        "bootstrap": {"seed": context.seed, "draws": DRAWS, "interval": 0.95},
        "figures": plain(figures) | {"ap50_interval": plain([curves.mean.low, curves.mean.high])},
    }


def _counts(detected: Detected) -> dict[str, int]:
    """Return how many things of each label are there."""
    every = np.concatenate([one.label_index for one in detected.truth])
    return dict(zip(detected.labels, np.bincount(every, minlength=len(detected.labels)).tolist(), strict=True))


def _given(detected: Detected) -> int:
    return sum(len(one.scores) for one in detected.found)


def _markdown(
    detected: Detected, figures: AveragePrecision, curves: Curves, context: DetectionContext, *, with_image: bool
) -> Iterable[str]:
    counts = _counts(detected)
    yield from ["# Detection", ""]
    yield f"{len(detected.names)} images with {sum(counts.values())} things of {len(counts)} labels."
    yield f"Model `{context.model.spec}` gave {_given(detected)} boxes."
    yield from next_to_nothing("AP50", figures.ap50, [context.model.spec])
    for said, count in _oddities(detected, context).items():
        yield from ["", f"{said}: {count}."]
    yield from ["", *table(("figure", "value", "95 % interval"), detection_summary(figures, curves)), ""]
    yield from ["![precision and recall](precision_recall.png)", ""]
    if with_image:
        yield from ["## Worst images", "", f"Boxes that score {box_threshold(context.model.spec).value} or more:", ""]
        yield from ["![worst](worst.png)", ""]
    yield from ["## Labels", ""]
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
            ("bootstrap", f"seed {context.seed}, {DRAWS} draws, by image"),
            ("openvocab", openvocab.__version__),
        ],
    )


def _oddities(detected: Detected, context: DetectionContext) -> dict[str, int]:
    made = {said.capitalize(): count for said, count in context.faults.items()}
    if detected.unread:
        made["Images that could not be read, in no figure"] = len(detected.unread)
    if detected.resized:
        made["Images of another size than their annotation says"] = len(detected.resized)
    return made
