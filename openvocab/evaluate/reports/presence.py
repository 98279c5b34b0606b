"""The report of presence."""

from __future__ import annotations

from openvocab.errors import counted
from openvocab.evaluate.metrics.presence import PresenceMetrics
from openvocab.evaluate.reports.plots import plot_reliability, plot_risk_coverage
from openvocab.evaluate.reports.report import (
    Report,
    ReportContext,
    Table,
    metric_table,
    near_zero,
    number,
    plain,
    record_rows,
    table,
)
from openvocab.evaluate.runs.presence import PresenceRun

__all__ = ["presence_report"]

_AXES = ("probability of presence", "share present", "pairs")


def presence_report(run: PresenceRun, metrics: PresenceMetrics, context: ReportContext) -> Report:
    """Return the report of presence: metrics, reliability, the risk-coverage curve, and one row per label."""
    record = run.record
    specs = [each.spec for each in (record.tagger, record.detector, record.segmenter) if each]
    return Report(
        task="presence",
        title="Presence",
        run=run,
        context=context,
        intro=[
            f"{counted(len(run.names), 'image')}, {metrics.positives} present and {metrics.negatives} absent labels.",
            *near_zero("MCC", None if metrics.mcc is None else metrics.mcc.value, specs),
        ],
        summary=_summary(metrics),
        body=[
            "A pair is an image and a label that was annotated in it. MCC is Matthews' correlation coefficient of the",
            "answer and the truth: 1 is perfect, 0 is chance. A calibrated probability of 0.7 is right 7 times of 10.",
            *("", "## Reliability", "", "![reliability](reliability.png)", ""),
            *("## Risk and coverage", "", "![risk and coverage](risk_coverage.png)", ""),
            *("## Labels", "", *_labels(metrics), ""),
        ],
        details=record_rows(record),
        fields={"run": record, "labels": list(run.labels)},
        data={},
        metrics=plain(metrics),
        images={
            "reliability.png": lambda path: plot_reliability(path, metrics.reliability, metrics.ece.value, _AXES),
            "risk_coverage.png": lambda path: plot_risk_coverage(path, metrics.risk_coverage),
        },
    )


def _summary(metrics: PresenceMetrics) -> Table:
    return metric_table(
        [
            (f"MCC at {metrics.threshold:g}", metrics.mcc),
            (f"precision at {metrics.threshold:g}", metrics.precision),
            (f"recall at {metrics.threshold:g}", metrics.recall),
            (f"false positive rate at {metrics.threshold:g}", metrics.false_positive_rate),
            ("expected calibration error", metrics.ece),
            ("Brier score", metrics.brier),
            ("AUC over all pairs", metrics.auc),
            ("AUC, mean over labels", metrics.mean_auc),
            ("mean risk of the risk-coverage curve", metrics.risk_coverage.area),
            ("best threshold on these images", metrics.best_threshold),
            ("MCC at that threshold, an upper bound", metrics.best_mcc),
        ]
    )


def _labels(metrics: PresenceMetrics) -> list[str]:
    rows = [
        (row.label, str(row.positives), str(row.negatives), number(row.auc), number(row.mcc)) for row in metrics.rows
    ]
    return list(table(("label", "present", "absent", "AUC", "MCC"), rows))
