"""`openvocab evaluate detect`, `chain` and `segment`: boxes and masks against annotated images."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import BadInput, counted
from openvocab.evaluate.data import ANNOTATED, SPLITS
from openvocab.ui.cli.evaluate_options import (
    ANNOTATED_HELP,
    add_data,
    add_device,
    add_models,
    add_task,
    check_arguments,
    class_map,
    complain_unread,
    digest_of,
    finish,
    given_labels,
    model_spec,
    own_settings,
)
from openvocab.ui.cli.output import complain, progress
from openvocab.ui.cli.shared_options import number_or_word

if TYPE_CHECKING:
    from openvocab.evaluate.data import AnnotatedSet
    from openvocab.evaluate.runs.chain import ChainRun
    from openvocab.evaluate.runs.concepts import ConceptRun

__all__ = ["add_annotated_tasks", "add_chain", "chain", "detect", "load_chain", "load_data", "segment"]

MIN_SCORE = 0.01
"""Default box threshold of `detect`: average precision needs boxes with low scores too."""

_TILES = ("tiles", "min_object")

DETECT_DESCRIPTION = (
    "Score a detector on images with known boxes, detecting all labels; write report.json, report.md and plots."
)
CHAIN_DESCRIPTION = (
    "Score tags, boxes and masks together on images with known boxes or masks. Each object and each detection gets one "
    "error type (not tagged, missed, classification, localization, both, mask, duplicate, background), and each stage "
    "is also given the true output of the stage before, so that you see which stage costs what. Where labels are "
    "known to be absent, cgF1, pmF1 and IL_MCC say whether the chain refuses them. Write report.json, report.md, "
    "errors.png and worst.png; of saco the metrics of image and label pairs alone."
)
SEGMENT_DESCRIPTION = (
    "Score a segmenter on images with known masks. It is given the true box of each object, and the IoU of its mask "
    "with the true one is measured; detection is not. With --detector, COCO's average precision of masks from the "
    "detector's boxes is measured too. Write report.json, report.md and worst.png."
)


def add_annotated_tasks(tasks: Any, preset: str) -> None:
    """Add the three tasks to the subparsers of `openvocab evaluate`; preset is the default."""
    _add_detect(tasks, preset)
    add_chain(add_task(tasks, "chain", CHAIN_DESCRIPTION), preset)
    made = add_task(tasks, "segment", SEGMENT_DESCRIPTION)
    _add_annotated(made)
    models = made.add_argument_group("models")
    models.add_argument("--preset", metavar="NAME", help=f"use the segmenter of a preset (default: {preset})")
    models.add_argument("--segmenter", metavar="SPEC", help="any segmenter, as FAMILY:CHECKPOINT")
    models.add_argument("--detector", metavar="SPEC", help="also measure masks from the boxes of this detector")
    models.add_argument(
        "--box-threshold",
        type=float,
        metavar="X",
        help="drop boxes of the detector with lower scores (default: the checkpoint's own)",
    )
    add_device(models, made, preset)


def add_chain(made: ArgumentParser, preset: str) -> None:
    """Add the options of a task that runs the whole chain."""
    _add_annotated(made)
    _add_tiles(made)
    models = made.add_argument_group("models", "thresholds are the preset's")
    models.add_argument("--preset", metavar="NAME", help=f"a tagger, detector and segmenter (default: {preset})")
    for stage in ("tagger", "detector", "segmenter"):
        models.add_argument(f"--{stage}", metavar="SPEC", help=f"any {stage}, as FAMILY:CHECKPOINT")
    help_text = openvocab.Settings.__dataclass_fields__["calibration"].metadata["help"]
    models.add_argument("--calibration", metavar="FILE", help=help_text)
    add_device(models, made, preset)


def _add_detect(tasks: Any, preset: str) -> None:
    made = add_task(tasks, "detect", DETECT_DESCRIPTION)
    _add_annotated(made)
    add_models(made, "detector", preset)
    made.add_argument(
        "--box-threshold",
        type=float,
        default=MIN_SCORE,
        metavar="X",
        help="drop boxes with lower scores (default: %(default)s)",
    )
    made.add_argument(
        "--duplicates",
        choices=("best", "keep"),
        default="keep",
        help="boxes of two labels on one object: keep the best, as the chain does, or both (default: %(default)s)",
    )
    made.add_argument("--nms-iou", type=float, metavar="X", help="IoU of NMS per label; 1: none (default: annotate's)")

    _add_tiles(made)


def _add_tiles(made: ArgumentParser) -> None:
    text = "run every stage on tiles too, N along the longer side, or auto (default: the preset's)"
    made.add_argument("--tiles", type=number_or_word, metavar="N | auto", help=text)
    made.add_argument("--min-object", type=int, metavar="N", help="with tiles auto: pixels of the smallest object")


def _add_annotated(made: ArgumentParser) -> None:
    add_data(made, sorted(ANNOTATED), ANNOTATED_HELP)
    made.add_argument(
        "--images", metavar="DIR", help="coco, lvis, saco: folder of the images (default: the file's folder)"
    )
    made.add_argument("--split", choices=SPLITS, help="yolo: the split (default: the first of these that exists)")
    made.add_argument("--limit", type=int, metavar="N", help="measure the first N images only")


def load_data(args: Namespace) -> AnnotatedSet:
    """Check the arguments and return the images."""
    from openvocab.evaluate.data import load_annotated, require_objects

    check_arguments(args)
    data = load_annotated(args.data, args.format, args.images, args.split)
    data = data.with_labels(given_labels(args), class_map(args.class_map))
    return require_objects(data.first(args.limit))


def detect(args: Namespace) -> int:
    """Score a detector, print its metrics and write the report."""
    from openvocab.evaluate.metrics.detection import average_precision
    from openvocab.evaluate.metrics.precision_recall import CURVE_RESAMPLES, precision_recall
    from openvocab.evaluate.reports.detection import detection_report
    from openvocab.evaluate.reports.report import ReportContext
    from openvocab.evaluate.reports.worst_images import worst_boxes
    from openvocab.evaluate.runs.detector import run_detector
    from openvocab.weights.thresholds import box_threshold

    changes = {name: getattr(args, name) for name in ("box_threshold", "duplicates", "nms_iou", *_TILES)}
    settings = own_settings(args, "detector").changed(**changes)
    data = load_data(args)
    detector = openvocab.load_detector(model_spec(args, "detector"), args.device, args.dtype)
    run = run_detector(openvocab.Pipeline(None, detector, None, settings), data, progress=progress)
    complain_unread(run)
    metrics = average_precision(run.truth, run.predictions, run.labels)
    curves = precision_recall(run.truth, run.predictions, run.labels, seed=args.seed)
    threshold = box_threshold(detector.record.spec).value
    worst = worst_boxes(run.names, run.truth, run.predictions, run.labels, threshold)
    context = ReportContext(args.data, args.format, args.seed, data.faults, CURVE_RESAMPLES, digest_of(data.queries))
    return finish(args, detection_report(run, metrics, curves, context, worst), run.labels)


def load_chain(args: Namespace) -> openvocab.Pipeline:
    """Return the pipeline of --preset and the SPECs."""
    specs = {stage: getattr(args, stage) for stage in ("tagger", "detector", "segmenter")}
    preset = args.preset or (None if any(specs.values()) else args.usual_preset)
    changes = {name: getattr(args, name) for name in (*_TILES, "calibration")}
    return openvocab.load(preset, **specs, device=args.device, dtype=args.dtype, **changes)


def chain(args: Namespace) -> int:
    """Score the whole chain, print its metrics and write the report."""
    from openvocab.evaluate.measure import measure_chain
    from openvocab.evaluate.reports.chain import chain_report, error_tables
    from openvocab.evaluate.reports.report import ReportContext
    from openvocab.evaluate.reports.worst_images import worst_images
    from openvocab.evaluate.runs.chain import run_chain

    data = load_data(args)
    if not (args.preset or args.detector) and (args.tagger or args.segmenter):
        raise BadInput("the chain needs a detector; give --detector, or --preset and the stages that replace its own")
    pipe = load_chain(args)
    if data.own_labels:
        return _concepts(args, pipe, data)
    run = run_chain(pipe, data, progress=progress)
    _complain(run)
    metrics = measure_chain(run, args.seed)
    worst = worst_images(run.names, run.truth, run.predictions or (), metrics.images, run.labels)
    context = ReportContext(args.data, args.format, args.seed, data.faults, queries=digest_of(data.queries))
    return finish(args, chain_report(run, metrics, context, worst), run.labels, error_tables(metrics))


def _concepts(args: Namespace, pipe: openvocab.Pipeline, data: AnnotatedSet) -> int:
    """Score the chain on pairs of image and label."""
    from openvocab.evaluate.metrics.concepts import concept_metrics
    from openvocab.evaluate.reports.concepts import concept_report
    from openvocab.evaluate.reports.report import ReportContext
    from openvocab.evaluate.runs.concepts import run_concepts

    run = run_concepts(pipe, data, progress=progress)
    _complain(run)
    metrics = concept_metrics(run.pairs, seed=args.seed)
    context = ReportContext(args.data, args.format, args.seed, data.faults, queries=digest_of(data.queries))
    return finish(args, concept_report(run, metrics, context), data.labels)


def segment(args: Namespace) -> int:
    """Score a segmenter, print its metrics and write the report."""
    from openvocab.evaluate.measure import measure_segmenter
    from openvocab.evaluate.metrics.error_types import image_errors
    from openvocab.evaluate.reports.chain import segmentation_report
    from openvocab.evaluate.reports.report import ReportContext
    from openvocab.evaluate.reports.worst_images import worst_images
    from openvocab.evaluate.runs.chain import run_chain, run_segmenter

    if args.box_threshold is not None and not args.detector:
        raise BadInput("--box-threshold is for the boxes of a detector; give --detector too, or leave it out")
    settings = openvocab.Settings().changed(box_threshold=args.box_threshold)
    data = load_data(args)
    if any(one.masks is None for one in data.images):
        raise BadInput(f"{args.data!r} has boxes and no masks, so masks cannot be measured; use evaluate detect")
    segmenter = openvocab.load_segmenter(model_spec(args, "segmenter"), args.device, args.dtype)
    if args.detector:
        detector = openvocab.load_detector(args.detector, args.device, args.dtype)
        run = run_chain(openvocab.Pipeline(None, detector, segmenter, settings), data, progress=progress)
    else:
        run = run_segmenter(segmenter, data, progress=progress)
    _complain(run)
    metrics, masks = measure_segmenter(run, args.seed), run.true_box_masks or ()
    errors = image_errors(run.truth, masks, run.labels, masks=True)
    worst = worst_images(run.names, run.truth, masks, errors, run.labels)
    context = ReportContext(args.data, args.format, args.seed, data.faults, queries=digest_of(data.queries))
    return finish(args, segmentation_report(run, metrics, context, worst), run.labels)


def _complain(run: ChainRun | ConceptRun) -> None:
    complain_unread(run)
    if run.resized:
        count = counted(len(run.resized), "image has", "images have")
        complain(f"{count} another size than annotated and no part in the metrics, the first is {run.resized[0]}")
