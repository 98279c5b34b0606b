"""`openvocab evaluate`: how good a model is on images whose labels are known."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import require
from openvocab.evaluate.data import ANNOTATED, LABELED, SPLITS
from openvocab.ui.cli.evaluate_chain import FORMATS_HELP, add_chain_tasks, chain, segment
from openvocab.ui.cli.evaluate_options import add_data, add_models, class_map, own_settings, refuse_out, spec_of
from openvocab.ui.cli.evaluate_reproduce import add_reproduce, reproduce
from openvocab.ui.cli.evaluate_retrieve import add_retrieve, retrieve
from openvocab.ui.cli.output import complain, progress, say, table

if TYPE_CHECKING:
    from openvocab import PromptSet
    from openvocab.evaluate.data import LabeledSet

__all__ = ["add_tasks", "evaluate"]

FORMAT_HELP = (
    "imagefolder: one folder a label; list: .csv, .jsonl or .parquet with columns path and label, or labels for "
    "several; torchvision: NAME:ROOT, such as CIFAR10:/data; webdataset: the layout of CLIP_benchmark"
)
LOWEST = 0.01
"""The lowest score of a box that enters average precision where none is given: it wants the weak boxes too."""

TEMPLATES = ("simple", "plain", "openai7", "openai80")
SETS_HELP = f"a prompt set: a name, a sentence with {{label}}, or a .txt file (default: {', '.join(TEMPLATES)})"

USED = ("box_threshold", "nms_iou", "duplicates", "duplicate_iou", "max_boxes")
"""Settings that boxes depend on."""


def add_tasks(command: ArgumentParser, preset: str) -> None:
    """Add the tasks of `openvocab evaluate` to its parser; preset is the one where no model is named."""
    tasks = command.add_subparsers(dest="task", required=True, metavar="TASK")
    says = "Score a tagger on images with known labels; write report.json, report.md and plots."
    made = tasks.add_parser("classify", help=says, description=says, allow_abbrev=False)
    add_data(made, sorted(LABELED), FORMAT_HELP)
    made.add_argument(
        "--template",
        action="append",
        metavar="T",
        help="a sentence with {label}, a set or a file; more than one are averaged (default: the data's, else simple)",
    )
    add_models(made, "tagger", preset)
    _measuring(made)
    says = "Score a tagger under several prompt sets, in one table; write report.json and report.md."
    made = tasks.add_parser("templates", help=says, description=says, allow_abbrev=False)
    add_data(made, sorted(LABELED), FORMAT_HELP)
    made.add_argument("--template", action="append", metavar="T", help=SETS_HELP)
    add_models(made, "tagger", preset)
    _measuring(made)
    _add_detect(tasks, preset)
    add_chain_tasks(tasks, preset)
    add_retrieve(tasks, preset)
    add_reproduce(tasks)


def _add_detect(tasks: Any, preset: str) -> None:
    says = (
        "Score a detector on images with known boxes, looking for all labels; write report.json, report.md and plots."
    )
    made = tasks.add_parser("detect", help=says, description=says, allow_abbrev=False)
    add_data(made, sorted(ANNOTATED), FORMATS_HELP)
    made.add_argument("--images", metavar="DIR", help="coco, lvis: the folder of the images (default: the file's)")
    made.add_argument("--split", choices=SPLITS, help="yolo: which part (default: the first of these that there is)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap interval (default: 0)")
    add_models(made, "detector", preset)
    made.add_argument(
        "--box-threshold",
        type=float,
        default=LOWEST,
        metavar="X",
        help="drop boxes that score less (default: %(default)s)",
    )
    made.add_argument(
        "--duplicates",
        choices=("best", "keep"),
        default="keep",
        help="boxes of two labels on one object: keep the best, as the chain does, or both (default: %(default)s)",
    )
    made.add_argument(
        "--nms-iou", type=float, metavar="X", help="NMS within a label; 1 for none (default: that of annotate)"
    )


def _measuring(made: ArgumentParser) -> None:
    usual = openvocab.Settings().batch_size
    made.add_argument(
        "--batch-size", type=int, default=usual, metavar="N", help="images at once (default: %(default)s)"
    )
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap intervals (default: 0)")
    made.add_argument(
        "--threshold", type=float, metavar="X", help="several labels: give those that score this (default: tag's)"
    )


def evaluate(args: Namespace) -> int:
    """Run one task."""
    tasks = {"classify": classify, "detect": detect, "templates": templates, "chain": chain, "segment": segment}
    tasks |= {"retrieve": retrieve, "reproduce": reproduce}
    return tasks[args.task](args)


def classify(args: Namespace) -> int:
    """Score a tagger, print its figures and write the report."""
    from openvocab.evaluate.mistakes import mistake_sheet, mistakes
    from openvocab.evaluate.reports import Context, summary, write_report
    from openvocab.evaluate.scoring import score_images
    from openvocab.evaluate.tasks import measure

    require("sklearn", extra="evaluate")
    data = _labeled(args)
    prompts = _prompts(args, data)
    tagger = openvocab.load_tagger(spec_of(args, "tagger"), args.device, args.dtype)
    scored = score_images(tagger, data, prompts, batch=args.batch_size, watch=progress)
    for _, reason in scored.unread:
        complain(reason)
    spec, threshold = tagger.record.spec, _threshold(args, data)
    figures = measure(scored, data.multi_label, tagger.independent, threshold, args.seed, spec=spec)
    worst = None if data.multi_label else mistake_sheet(data, mistakes(scored, tagger.independent))
    context = Context(args.data, args.format, tagger.record, prompts, args.seed)
    write_report(args.out, scored, figures, context, worst)
    table(("figure", "value", "95 % interval"), summary(figures))
    say("")
    say(f"{len(scored.names)} images, {len(scored.labels)} labels; report in {args.out}")
    return 1 if scored.unread else 0


def templates(args: Namespace) -> int:
    """Score a tagger under several prompt sets, print one table and write the report."""
    from openvocab.evaluate.reports import Context
    from openvocab.evaluate.scoring import score_prompts
    from openvocab.evaluate.tasks import measure
    from openvocab.evaluate.template_reports import template_table, write_template_report

    require("sklearn", extra="evaluate")
    data = _labeled(args)
    sets = [openvocab.prompt_set(each) for each in args.template or TEMPLATES]
    tagger = openvocab.load_tagger(spec_of(args, "tagger"), args.device, args.dtype)
    scored = score_prompts(tagger, data, sets, batch=args.batch_size, watch=progress)
    for _, reason in scored[0].unread:
        complain(reason)
    rows = []
    for prompts, each in zip(sets, scored, strict=True):
        spec, threshold = tagger.record.spec, _threshold(args, data)
        figures = measure(each, data.multi_label, tagger.independent, threshold, args.seed, spec=spec)
        rows.append((Context(args.data, args.format, tagger.record, prompts, args.seed), figures))
    write_template_report(args.out, scored[0], rows)
    table(*template_table(rows))
    say("")
    say(f"{len(scored[0].names)} images, {len(scored[0].labels)} labels; report in {args.out}")
    return 1 if scored[0].unread else 0


def _labeled(args: Namespace) -> LabeledSet:
    """Check the arguments, since loading models takes longer than this, and return the images."""
    from openvocab.evaluate.arrays import check_count
    from openvocab.evaluate.data import load_labeled

    check_count("--seed", args.seed, least=0)
    check_count("--batch-size", args.batch_size)
    refuse_out(args)
    data = load_labeled(args.data, args.format)
    return data.against(openvocab.read_labels(args.labels) if args.labels else None, class_map(args.class_map))


def detect(args: Namespace) -> int:
    """Score a detector, print its figures and write the report."""
    from openvocab.evaluate.arrays import check_count
    from openvocab.evaluate.curves import precision_recall
    from openvocab.evaluate.data import load_annotated
    from openvocab.evaluate.detecting import find_boxes
    from openvocab.evaluate.detection import average_precision
    from openvocab.evaluate.detection_reports import DetectionContext, detection_summary, write_detection_report
    from openvocab.evaluate.worst import worst_boxes
    from openvocab.weights.thresholds import box_threshold

    check_count("--seed", args.seed, least=0)
    refuse_out(args)
    changes = {name: getattr(args, name) for name in ("box_threshold", "duplicates", "nms_iou")}
    settings = own_settings(args, "detector").changed(**changes)
    data = load_annotated(args.data, args.format, args.images, args.split)
    data = data.against(openvocab.read_labels(args.labels) if args.labels else None, class_map(args.class_map))
    detector = openvocab.load_detector(spec_of(args, "detector"), args.device, args.dtype)
    detected = find_boxes(openvocab.Pipeline(None, detector, None, settings), data, watch=progress)
    for _, reason in detected.unread:
        complain(reason)
    figures = average_precision(detected.truth, detected.found, detected.labels)
    curves = precision_recall(detected.truth, detected.found, detected.labels, seed=args.seed)
    used = {name: getattr(settings, name) for name in USED}
    context = DetectionContext(args.data, args.format, detector.record, detected.template, used, data.faults, args.seed)
    own = box_threshold(detector.record.spec).value
    worst = worst_boxes(detected.names, detected.truth, detected.found, detected.labels, own)
    write_detection_report(args.out, detected, figures, curves, context, worst)
    table(("figure", "value", "95 % interval"), detection_summary(figures, curves))
    say("")
    say(f"{len(detected.names)} images, {len(detected.labels)} labels; report in {args.out}")
    return 1 if detected.unread else 0


def _threshold(args: Namespace, data: LabeledSet) -> float | None:
    """Return the score from which an image with several labels is given one; the preset's own where none is given."""
    if args.threshold is None and data.multi_label:
        return own_settings(args, "tagger").tag_threshold
    return None if args.threshold is None else float(args.threshold)


def _prompts(args: Namespace, data: LabeledSet) -> PromptSet:
    """Return the templates: those given, else those of the data, else the default."""
    given = args.template
    if given:
        return openvocab.prompt_set(given[0] if len(given) == 1 else given)
    return replace(openvocab.prompt_set(data.templates), name="data") if data.templates else openvocab.prompt_set()
