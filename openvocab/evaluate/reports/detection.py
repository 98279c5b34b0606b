"""Reports of detection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from openvocab.errors import counted
from openvocab.evaluate.metrics.bootstrap import Estimate
from openvocab.evaluate.metrics.detection import AveragePrecision
from openvocab.evaluate.metrics.precision_recall import Curves
from openvocab.evaluate.reports.plots import plot_precision_recall
from openvocab.evaluate.reports.report import (
    Report,
    ReportContext,
    Table,
    metric_table,
    model_row,
    near_zero,
    number,
    plain,
    table,
)
from openvocab.evaluate.reports.worst_images import ImagePair, worst_png
from openvocab.evaluate.runs.detector import DetectorRun
from openvocab.weights.thresholds import box_threshold

__all__ = ["detection_report"]


def detection_report(
    run: DetectorRun, metrics: AveragePrecision, curves: Curves, context: ReportContext, worst: Sequence[ImagePair] = ()
) -> Report:
    """Return the report of a detector.

    Args:
        run: A detector's run.
        metrics, curves: COCO average precision and precision-recall curves of the run.
        context: Where the data came from; resamples are those of the curves.
        worst: The worst images; see worst_images.
    """
    every = np.concatenate([one.class_ids for one in run.truth])
    counts = dict(zip(run.labels, np.bincount(every, minlength=len(run.labels)).tolist(), strict=True))
    boxes, spec = sum(len(one.scores) for one in run.predictions), run.model.spec
    return Report(
        task="detect",
        title="Detection",
        run=run,
        context=context,
        intro=[
            f"{counted(len(run.names), 'image')} with {counted(len(every), 'object')} of "
            f"{counted(len(counts), 'label')}.",
            f"Model `{spec}` predicted {counted(boxes, 'box', 'boxes')}.",
            *near_zero("AP50", metrics.ap50, [spec]),
        ],
        summary=_summary(metrics, curves),
        body=list(_body(metrics, counts, spec if worst else None)),
        details=[
            model_row("model", run.model),
            ("template", run.template),
            ("settings", ", ".join(f"{name} {value}" for name, value in run.settings.items())),
        ],
        fields={name: getattr(run, name) for name in ("model", "template", "settings", "labels")},
        data={"objects": counts, "predicted_boxes": boxes, "resized": list(run.resized)},
        metrics={**plain(metrics), "ap50_interval": [curves.mean.low, curves.mean.high]},
        images={
            "precision_recall.png": lambda path: plot_precision_recall(path, curves, run.labels),
            **worst_png(worst),
        },
    )


def _summary(metrics: AveragePrecision, curves: Curves) -> Table:
    ap50 = None if metrics.ap50 is None else Estimate(metrics.ap50, curves.mean.low, curves.mean.high)
    return metric_table(
        [
            ("AP, IoU 0.50 to 0.95", metrics.ap),
            ("AP50", ap50),
            ("AP75", metrics.ap75),
            ("AP of small objects", metrics.small),
            ("AP of medium objects", metrics.medium),
            ("AP of large objects", metrics.large),
            ("recall with 1 box per label", metrics.recall_1),
            ("recall with 10 boxes per label", metrics.recall_10),
            ("recall with 100 boxes per label", metrics.recall_100),
        ]
    )


def _body(metrics: AveragePrecision, counts: Mapping[str, int], spec_of_worst: str | None) -> Iterator[str]:
    yield from ["![precision and recall](precision_recall.png)", ""]
    if spec_of_worst is not None:
        threshold = box_threshold(spec_of_worst).value
        yield from ["## Worst images", "", f"Boxes with a score of {threshold} or more:", "", "![worst](worst.png)", ""]
    rows = [(label, str(counts[label]), number(value)) for label, value in metrics.per_label.items()]
    yield from ["## Labels", "", *table(("label", "objects", "AP"), rows), ""]
