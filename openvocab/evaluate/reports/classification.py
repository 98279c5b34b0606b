"""Reports of classification, and of several prompt sets in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from openvocab.errors import BadInput, counted
from openvocab.evaluate.metrics.classification import BINS, ClassificationMetrics
from openvocab.evaluate.metrics.multi_label import MultiLabelMetrics
from openvocab.evaluate.reports.plots import most_confused, plot_confusion, plot_reliability
from openvocab.evaluate.reports.report import (
    Report,
    ReportContext,
    Table,
    metric_table,
    model_row,
    number,
    plain,
    table,
)
from openvocab.evaluate.runs.tagger import TaggerRun
from openvocab.prompts.templates import PromptSet

__all__ = ["classification_report", "template_report"]

Metrics = ClassificationMetrics | MultiLabelMetrics


def classification_report(
    run: TaggerRun, metrics: Metrics, context: ReportContext, mistakes: Image.Image | None = None
) -> Report:
    """Return the report of a classification, with plots for single-label data.

    Args:
        run: A tagger's run.
        metrics: What measure_tagger returned for it.
        context: Where the data came from.
        mistakes: Image of the most confident mistakes; see mistakes.mistake_sheet.
    """
    images = _plots(metrics)
    if mistakes is not None:
        images["worst.png"] = mistakes.save
    body = [line for name in images for line in (f"![{name.removesuffix('.png')}]({name})", "")]
    single = isinstance(metrics, ClassificationMetrics)
    labels = _single_label(metrics) if isinstance(metrics, ClassificationMetrics) else _multi_label(metrics)
    return Report(
        task="classify",
        title="Classification",
        run=run,
        context=context,
        intro=[f"{counted(len(run.names), 'image')}, {counted(len(run.labels), 'label')}; model `{run.model.spec}`."],
        summary=_summary(metrics),
        body=[*body, *labels],
        details=[model_row("model", run.model), ("templates", _templates(run.prompts))],
        fields={
            "kind": "single label" if single else "multi-label",
            "model": run.model,
            "prompts": _prompts(run.prompts),
        },
        data={},
        metrics=plain(metrics),
        images=images,
    )


def template_report(runs: Sequence[TaggerRun], metrics: Sequence[Metrics], context: ReportContext) -> Report:
    """Return the report of several prompt sets: one row each.

    Args:
        runs: The runs of the prompt sets over the same data.
        metrics: What measure_tagger returned for each of them.
        context: Where the data came from.

    Raises:
        BadInput: There is no run.
    """
    if not runs:
        raise BadInput("there is no prompt set to report; give at least one template")
    first = runs[0]
    return Report(
        task="templates",
        title="Templates",
        run=first,
        context=context,
        intro=[
            f"{counted(len(first.names), 'image')}, {counted(len(first.labels), 'label')}; model `{first.model.spec}`."
        ],
        summary=_template_table(runs, metrics),
        body=["95 % bootstrap intervals are in parentheses.", ""],
        details=[model_row("model", first.model)],
        fields={
            "model": first.model,
            "prompts": [{**_prompts(run.prompts), "metrics": each} for run, each in zip(runs, metrics, strict=True)],
        },
        data={"labels": list(first.labels)},
        metrics={},
    )


def _summary(metrics: Metrics) -> Table:
    if isinstance(metrics, ClassificationMetrics):
        return metric_table(
            [
                ("top-1", metrics.top1),
                ("top-5", metrics.top5),
                ("mean per-class recall", metrics.mean_per_class_recall),
                (f"expected calibration error, {BINS} bins", metrics.calibration_error),
            ]
        )
    return metric_table(
        [
            ("mean average precision", metrics.mean_average_precision),
            (f"micro F1 at {metrics.threshold:g}", metrics.micro_f1),
            (f"macro F1 at {metrics.threshold:g}", metrics.macro_f1),
        ]
    )


def _template_table(runs: Sequence[TaggerRun], metrics: Sequence[Metrics]) -> Table:
    rows = []
    for run, each in zip(runs, metrics, strict=True):
        cells = [value if interval == "-" else f"{value} ({interval})" for _, value, interval in _summary(each)[1]]
        templates = run.prompts.templates
        rows.append((templates[0] if len(templates) == 1 else run.prompts.name, str(len(templates)), *cells))
    return ("prompts", "templates", *(name for name, _, _ in _summary(metrics[0])[1])), rows


def _prompts(prompts: PromptSet) -> dict[str, Any]:
    return {"name": prompts.name, "templates": list(prompts.templates), "digest": prompts.digest}


def _templates(prompts: PromptSet) -> str:
    return f"{prompts.name}: {len(prompts.templates)}, digest {prompts.digest}"


def _plots(metrics: Metrics) -> dict[str, Callable[[Path], None]]:
    plots: dict[str, Callable[[Path], None]] = {}
    if isinstance(metrics, ClassificationMetrics):
        confusion, labels = metrics.confusion, metrics.labels
        plots["confusion.png"] = lambda path: plot_confusion(path, confusion, labels)
        bins, error = metrics.reliability, metrics.calibration_error
        if bins is not None and error is not None:
            plots["reliability.png"] = lambda path: plot_reliability(path, bins, error.value)
    return plots


def _single_label(metrics: ClassificationMetrics) -> Iterator[str]:
    if metrics.ties:
        ties = counted(metrics.ties, "image")
        yield f"In {ties} another label scores the same as the true one; the order of labels decides."
        yield ""
    pairs = most_confused(metrics.confusion)
    if pairs:
        rows = [(metrics.labels[one], metrics.labels[other], str(count)) for one, other, count in pairs]
        yield from ["## Most confused labels", "", *table(("true", "predicted", "images"), rows), ""]
    head = ("number", "label", "images", "recall", "precision", "F1", "most often confused with")
    labels = []
    for index, row in enumerate(metrics.rows):
        values = map(number, (row.recall, row.precision, row.f1))
        labels.append((str(index), row.label, str(row.images), *values, row.confused_with or "-"))
    yield from ["## Labels", "", *table(head, labels), ""]


def _multi_label(metrics: MultiLabelMetrics) -> Iterator[str]:
    yield from ["## Labels", ""]
    yield "The best threshold maximizes F1 on these images; it is an upper bound and not an estimate for other images."
    yield ""
    head = ("label", "images", "average precision", "precision", "recall", "F1", "best threshold", "best F1")
    rows = []
    for row in metrics.rows:
        values = (row.average_precision, row.precision, row.recall, row.f1, row.best_threshold, row.best_f1)
        rows.append((row.label, str(row.images), *map(number, values)))
    yield from [*table(head, rows), ""]
