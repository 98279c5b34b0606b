"""Reports of classification: report.json for programs, report.md for people, and plots, in one folder.

Nothing in a report depends on when it was made, so that the same data, model, seed and device give the same files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

import openvocab
from openvocab.errors import CannotWrite
from openvocab.evaluate.bootstrap import DRAWS, Estimate
from openvocab.evaluate.classification import BINS, Classification
from openvocab.evaluate.multi_label import MultiLabel
from openvocab.evaluate.plots import plot_confusion, plot_reliability, worst_pairs
from openvocab.evaluate.report_text import number, plain, table, versions, write_texts
from openvocab.evaluate.scoring import Scored
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.templates import PromptSet

__all__ = ["Context", "summary", "write_report"]


@dataclass(frozen=True, slots=True)
class Context:
    """What made the figures.

    path, format  where the images came from.
    model         the tagger's record.
    prompts       the templates.
    seed          of the bootstrap.
    """

    path: str
    format: str
    model: ModelRecord
    prompts: PromptSet
    seed: int


def summary(figures: Classification | MultiLabel) -> list[tuple[str, str, str]]:
    """Return name, value and 95 % interval of the main figures, as texts; a dash where one is not defined."""
    if isinstance(figures, Classification):
        error = figures.calibration_error
        named: list[tuple[str, Estimate | float | None]] = [
            ("top-1", figures.top1),
            ("top-5", figures.top5),
            ("mean per-class recall", figures.mean_per_class_recall),
            (f"expected calibration error, {BINS} bins", error),
        ]
    else:
        named = [
            ("mean average precision", figures.mean_average_precision),
            (f"micro F1 at {figures.threshold:g}", figures.micro_f1),
            (f"macro F1 at {figures.threshold:g}", figures.macro_f1),
        ]
    return [(name, *_texts(value)) for name, value in named]


def write_report(
    folder: str,
    scored: Scored,
    figures: Classification | MultiLabel,
    context: Context,
    worst: Image.Image | None = None,
) -> None:
    """Write report.json, report.md and, for single labels, confusion.png and reliability.png.

    Args:
        worst: the most confident mistakes, for worst.png; see mistakes.mistake_sheet.

    Raises:
        CannotWrite: the folder cannot be made or written.
    """
    try:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        plots = _plots(place, figures) if isinstance(figures, Classification) else []
        if worst is not None:
            worst.save(place / "worst.png")
            plots.append("worst.png")
        write_texts(place, _report(scored, figures, context), _markdown(scored, figures, context, plots))
    except OSError as error:
        raise CannotWrite(f"{folder!r} cannot be written ({error.strerror}); give another folder") from error


def _plots(place: Path, figures: Classification) -> list[str]:
    plot_confusion(place / "confusion.png", figures.confusion, figures.labels)
    if figures.reliability is None or figures.calibration_error is None:
        return ["confusion.png"]
    plot_reliability(place / "reliability.png", figures.reliability, figures.calibration_error.value)
    return ["confusion.png", "reliability.png"]


def _report(scored: Scored, figures: Classification | MultiLabel, context: Context) -> dict[str, Any]:
    """Return report.json."""
    return {
        "task": "classify",
        "kind": "single label" if isinstance(figures, Classification) else "multi-label",
        "openvocab": openvocab.__version__,
        "versions": versions(),
        "model": asdict(context.model),
        "prompts": {
            "name": context.prompts.name,
            "templates": list(context.prompts.templates),
            "digest": context.prompts.digest,
        },
        "data": {
            "path": context.path,
            "format": context.format,
            "digest": scored.digest,
            "images": len(scored.names),
            "unread": [{"image": name, "error": error} for name, error in scored.unread],
        },
        "bootstrap": {"seed": context.seed, "draws": DRAWS, "interval": 0.95},
        "figures": plain(figures),
    }


# --- for people


def _markdown(
    scored: Scored, figures: Classification | MultiLabel, context: Context, plots: Sequence[str]
) -> Iterable[str]:
    yield from ["# Classification", ""]
    yield f"{len(scored.names)} images, {len(scored.labels)} labels; model `{context.model.spec}`."
    if scored.unread:
        yield f"**{len(scored.unread)} images could not be read** and are in no figure; report.json names them."
    yield from ["", *table(("figure", "value", "95 % interval"), summary(figures)), ""]
    for plot in plots:
        yield from [f"![{plot.removesuffix('.png')}]({plot})", ""]
    if isinstance(figures, Classification):
        yield from _single(figures)
    else:
        yield from _several(figures)
    yield from _made_by(scored, context)


def _single(figures: Classification) -> Iterable[str]:
    if figures.ties:
        yield f"In {figures.ties} images another label scores as much as the true one; the order of labels decided."
        yield ""
    pairs = worst_pairs(figures.confusion)
    if pairs:
        named = [(figures.labels[one], figures.labels[other], str(many)) for one, other, many in pairs]
        yield from ["## Most often confused", "", *table(("true", "given", "images"), named), ""]
    yield from ["## Labels", ""]
    head = ("number", "label", "images", "recall", "precision", "F1", "most often taken for")
    rows: list[tuple[str, ...]] = []
    for place, row in enumerate(figures.rows):
        shown = map(number, (row.recall, row.precision, row.f1))
        rows.append((str(place), row.label, str(row.images), *shown, row.mistaken_for or "-"))
    yield from table(head, rows)
    yield ""


def _several(figures: MultiLabel) -> Iterable[str]:
    yield from ["## Labels", ""]
    yield "The best threshold is the one with the best F1 on these very images: an upper bound, not a forecast."
    yield ""
    head = ("label", "images", "average precision", "precision", "recall", "F1", "best threshold", "best F1")
    rows: list[tuple[str, ...]] = []
    for row in figures.rows:
        shown = (row.average_precision, row.precision, row.recall, row.f1, row.best_threshold, row.best_f1)
        rows.append((row.label, str(row.images), *map(number, shown)))
    yield from [*table(head, rows), ""]


def _made_by(scored: Scored, context: Context) -> Iterable[str]:
    model, prompts = context.model, context.prompts
    yield from ["## What made it", ""]
    yield from table(
        ("what", "value"),
        [
            ("data", f"{context.path} ({context.format}), digest {scored.digest}"),
            ("model", f"{model.spec}, sha256 {model.sha256}, {model.device}, {model.dtype}"),
            ("templates", f"{prompts.name}: {len(prompts.templates)}, digest {prompts.digest}"),
            ("bootstrap", f"seed {context.seed}, {DRAWS} draws"),
            ("openvocab", openvocab.__version__),
        ],
    )


def _texts(value: Estimate | float | None) -> tuple[str, str]:
    if isinstance(value, Estimate):
        return number(value.value), f"{number(value.low)} to {number(value.high)}"
    return number(value), "-"
