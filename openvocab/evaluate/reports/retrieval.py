"""Reports of retrieval."""

from __future__ import annotations

from openvocab.errors import counted
from openvocab.evaluate.metrics.retrieval import RetrievalMetrics
from openvocab.evaluate.reports.report import Report, ReportContext, metric_table, model_row
from openvocab.evaluate.runs.retrieval import RetrievalRun

__all__ = ["retrieval_report"]


def retrieval_report(run: RetrievalRun, metrics: RetrievalMetrics, context: ReportContext) -> Report:
    """Return the report of retrieval in both directions."""
    directions = {"image_to_text": metrics.image_to_text, "text_to_image": metrics.text_to_image}
    return Report(
        task="retrieve",
        title="Retrieval",
        run=run,
        context=context,
        intro=[
            f"{counted(metrics.images, 'image')} with {counted(metrics.texts, 'caption')}, used as they are; "
            f"model `{run.model.spec}`."
        ],
        summary=metric_table(
            (f"{name.replace('_', ' ')}, recall at {k}", value)
            for name, recalls in directions.items()
            for k, value in recalls.items()
        ),
        body=[
            "Image to text: one of the image's own captions ranks among the k best of all captions.",
            "Text to image: the caption's image ranks among the k best of all images.",
            "",
        ],
        details=[model_row("model", run.model)],
        fields={"model": run.model},
        data={"texts": metrics.texts},
        metrics=directions,
    )
