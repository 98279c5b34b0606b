"""Reports of the chain and of a segmenter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from openvocab.errors import counted
from openvocab.evaluate.measure import ChainMetrics, DetectionMetrics, SegmentationMetrics
from openvocab.evaluate.metrics.bootstrap import Estimate
from openvocab.evaluate.metrics.error_types import BACKGROUND_IOU, DETECTION_ERRORS, MIN_IOU, OBJECT_ERRORS
from openvocab.evaluate.reports.concepts import concept_rows
from openvocab.evaluate.reports.plots import plot_errors
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
from openvocab.evaluate.reports.worst_images import ImagePair, worst_png
from openvocab.evaluate.runs.chain import ChainRun

__all__ = ["chain_report", "error_tables", "segmentation_report"]

_WORST = ("## Worst images", "", "![worst](worst.png)", "")


def chain_report(
    run: ChainRun, metrics: ChainMetrics, context: ReportContext, worst: Sequence[ImagePair] = ()
) -> Report:
    """Return the report of the chain: metrics, error types, and each stage given the true output of the one before."""
    errors = metrics.chain.errors
    specs = [each.spec for each in (run.record.tagger, run.record.detector) if each]
    names = ("chain", "with_true_labels", "true_box_masks", "true_box_masks_ap", "tags", "concepts")
    return Report(
        task="chain",
        title="Chain",
        run=run,
        context=context,
        intro=[
            f"{counted(len(run.names), 'image')} with {counted(sum(errors.objects.values()), 'object')} of "
            f"{counted(len(run.labels), 'label')}; {counted(sum(errors.detections.values()), 'detection')}.",
            *near_zero("F1 of the chain", errors.f1.value, specs),
        ],
        summary=_chain_summary(metrics),
        body=list(_chain_body(run, metrics, with_worst=bool(worst))),
        details=record_rows(run.record),
        fields=_fields(run),
        data=_data(run),
        metrics={name: plain(getattr(metrics, name)) for name in names},
        images={
            "errors.png": lambda path: plot_errors(path, errors.objects, errors.detections),
            **worst_png(worst),
        },
    )


def segmentation_report(
    run: ChainRun, metrics: SegmentationMetrics, context: ReportContext, worst: Sequence[ImagePair] = ()
) -> Report:
    """Return the report of a segmenter."""
    rows = [
        (label, number(value), number(metrics.semantic.per_label[label]))
        for label, value in metrics.true_box_masks.per_label.items()
    ]
    return Report(
        task="segment",
        title="Segmentation",
        run=run,
        context=context,
        intro=[
            f"{counted(len(run.names), 'image')} with {counted(metrics.true_box_masks.objects, 'object')} of "
            f"{counted(len(run.labels), 'label')}."
        ],
        summary=_segmentation_summary(metrics),
        body=[
            "The segmenter is given the true box of each object, and its mask is compared with the true one. Semantic",
            "mean IoU counts the pixels of each label over all images; pixels in no mask count as one more label.",
            "",
            *(_WORST if worst else ()),
            *("## Labels", "", *table(("label", "mean IoU", "semantic IoU"), rows), ""),
        ],
        details=record_rows(run.record),
        fields=_fields(run),
        data=_data(run),
        metrics=plain(metrics),
        images=worst_png(worst),
    )


def error_tables(metrics: ChainMetrics) -> list[Table]:
    """Return the error types of the objects and of the detections, with counts and shares."""
    errors = metrics.chain.errors
    return [_shares("object", errors.objects), _shares("detection", errors.detections)]


def _shares(name: str, counts: Mapping[str, int]) -> Table:
    total = sum(counts.values())
    rows = [(kind, str(count), f"{count / total:.1%}" if total else "-") for kind, count in counts.items()]
    return (f"{name} errors", "count", "share"), [*rows, ("all", str(total), "100.0%" if total else "-")]


def _chain_summary(metrics: ChainMetrics) -> Table:
    one = metrics.chain
    rows: list[tuple[str, Estimate | float | None]] = [
        ("F1 of the chain", one.errors.f1),
        ("precision", one.errors.precision),
        ("recall", one.errors.recall),
        ("boxes, AP", one.boxes.ap),
        ("boxes, AP50", one.boxes.ap50),
    ]
    if one.masks is not None:
        rows += [("masks, AP", one.masks.ap), ("masks, AP50", one.masks.ap50)]
    if metrics.concepts is not None:
        rows += concept_rows(metrics.concepts)
    if metrics.tags is not None:
        rows.append(("tags, mean average precision", metrics.tags))
    if metrics.with_true_labels is not None:
        rows.append(("F1 with true labels in place of tags", metrics.with_true_labels.errors.f1))
    if metrics.true_box_masks is not None:
        rows.append(("mean IoU of masks from true boxes", metrics.true_box_masks.mean_iou))
    return metric_table(rows)


def _segmentation_summary(metrics: SegmentationMetrics) -> Table:
    rows: list[tuple[str, Estimate | float | None]] = [
        ("from true boxes, mean IoU", metrics.true_box_masks.mean_iou),
        (f"from true boxes, share of IoU {MIN_IOU} or more", metrics.true_box_masks.share),
        ("from true boxes, semantic mean IoU", metrics.semantic.mean),
    ]
    if metrics.detector_masks is not None and metrics.detector_semantic is not None:
        rows += [
            ("from the detector's boxes, mask AP", metrics.detector_masks.ap),
            ("from the detector's boxes, mask AP50", metrics.detector_masks.ap50),
            ("from the detector's boxes, mask AP75", metrics.detector_masks.ap75),
            ("from the detector's boxes, semantic mean IoU", metrics.detector_semantic.mean),
        ]
    return metric_table(rows)


def _chain_body(run: ChainRun, metrics: ChainMetrics, *, with_worst: bool) -> Iterator[str]:
    masks = f" and its mask has IoU {MIN_IOU} or more with that of the object" if run.masked else ""
    yield f"A detection is correct if it has the label of an object, its box has IoU {MIN_IOU} or more{masks}. Each"
    yield "object is matched to one detection, in order of score. AP counts the detections above the thresholds only."
    yield from ["", "## Errors", "", "![errors](errors.png)", ""]
    for each in error_tables(metrics):
        yield from [*table(*each), ""]
    yield from [*_explained(metrics), "", "## With the true output of the stage before", ""]
    yield from [*_oracles(metrics), "", *(_WORST if with_worst else ())]
    yield from ["## Labels", "", *_label_rows(metrics), ""]


def _explained(metrics: ChainMetrics) -> Iterator[str]:
    yield "Error types are those of TIDE (Bolya et al., 2020) where it has them:"
    yield ""
    yield f"- *missed*: no unmatched box has IoU {BACKGROUND_IOU} or more with the object."
    yield f"- *localization*: the box with the highest IoU has the right label, and IoU under {MIN_IOU}."
    yield f"- *classification*: the box with the highest IoU has another label, and IoU {MIN_IOU} or more."
    yield f"- *both*: the box with the highest IoU has another label, and IoU under {MIN_IOU}."
    yield f"- *mask*: the box is correct, and the mask has IoU under {MIN_IOU}."
    yield "- *duplicate*: another detection is matched to the object."
    yield f"- *background*: the detection has IoU {BACKGROUND_IOU} or more with no object."
    if metrics.with_true_labels is not None:
        yield "- *not tagged*: the detector was not queried for the label, whatever boxes there are."


def _oracles(metrics: ChainMetrics) -> Iterator[str]:
    if metrics.with_true_labels is None:
        rows = [("nothing: boxes, masks", *_cells(metrics.chain))]
    else:
        rows = [("nothing: tags, boxes, masks", *_cells(metrics.chain))]
        rows.append(("true labels: boxes, masks", *_cells(metrics.with_true_labels)))
    if metrics.true_box_masks is not None and metrics.true_box_masks_ap is not None:
        share = number(metrics.true_box_masks.share.value)
        rows.append(("true boxes: masks", share, share, share, "-", number(metrics.true_box_masks_ap.ap50)))
    return table(("given", "precision", "recall", "F1", "box AP50", "mask AP50"), rows)


def _cells(one: DetectionMetrics) -> tuple[str, ...]:
    masks = None if one.masks is None else one.masks.ap50
    errors = one.errors
    return tuple(map(number, (errors.precision.value, errors.recall.value, errors.f1.value, one.boxes.ap50, masks)))


def _label_rows(metrics: ChainMetrics) -> Iterator[str]:
    head = ("label", "objects", *OBJECT_ERRORS, "detections", *DETECTION_ERRORS)
    rows = []
    for row in metrics.chain.errors.rows:
        counts = (sum(row.objects), *row.objects, sum(row.detections), *row.detections)
        rows.append((row.label, *(str(count) if count else "" for count in counts)))
    return table(head, rows)


def _fields(run: ChainRun) -> dict[str, Any]:
    return {"run": run.record, "labels": list(run.labels)}


def _data(run: ChainRun) -> dict[str, Any]:
    return {"masks": run.masked, "resized": list(run.resized)}
