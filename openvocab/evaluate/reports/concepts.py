"""The report of cgF1, pmF1 and IL_MCC on images with labels of their own."""

from __future__ import annotations

from openvocab.errors import counted
from openvocab.evaluate.metrics.bootstrap import Estimate
from openvocab.evaluate.metrics.concepts import ConceptMetrics
from openvocab.evaluate.reports.report import Report, ReportContext, metric_table, near_zero, plain, record_rows
from openvocab.evaluate.runs.concepts import ConceptRun

__all__ = ["concept_report", "concept_rows"]


def concept_rows(metrics: ConceptMetrics) -> list[tuple[str, Estimate | float | None]]:
    """Return the rows of the main metrics."""
    return [
        ("cgF1 = 100 pmF1 IL_MCC", metrics.cgf1),
        ("pmF1, times 100", metrics.pmf1),
        ("IL_MCC", metrics.il_mcc),
    ]


def concept_report(run: ConceptRun, metrics: ConceptMetrics, context: ReportContext) -> Report:
    """Return the report of the chain on pairs of image and label."""
    record = run.record
    models = {"tagger": record.tagger, "detector": record.detector, "segmenter": record.segmenter}
    more = ("cgf1_50", "cgf1_75", "il_precision", "il_recall", "il_f1", "il_fpr")
    names = ("cgF1, IoU 0.50", "cgF1, IoU 0.75", "precision of pairs", "recall of pairs", "F1 of pairs", "FPR of pairs")
    rest = [(name, float(getattr(metrics, field))) for name, field in zip(names, more, strict=True)]
    return Report(
        task="chain",
        title="Chain, pairs of image and label",
        run=run,
        context=context,
        intro=[
            f"{counted(len(run.names), 'image')} with {metrics.positives} present and "
            f"{metrics.negatives} absent labels; "
            f"{counted(run.annotators, 'annotator')}, {'masks' if run.kind == 'mask' else 'boxes'}.",
            *near_zero("cgF1", metrics.cgf1.value, [each.spec for each in models.values() if each]),
        ],
        summary=metric_table([*concept_rows(metrics), *rest]),
        body=[
            "Each image is queried with its own labels, the present and the absent ones. Every detection of the chain",
            "counts. Of several annotators the one that fits a pair best counts.",
            "",
        ],
        details=record_rows(record),
        fields={"run": record},
        data={"kind": run.kind, "annotators": run.annotators, "resized": list(run.resized)},
        metrics={"concepts": plain(metrics)},
    )
