"""`openvocab evaluate`: how good a model is on pictures whose labels are known."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import openvocab
from openvocab.errors import BadInput, unknown
from openvocab.evaluate.data import ANNOTATED, LABELLED
from openvocab.ui.output import complain, progress, say, table

if TYPE_CHECKING:
    from openvocab import PromptSet
    from openvocab.evaluate.data import LabelledSet

__all__ = ["add_tasks", "evaluate"]

FORMAT_HELP = (
    "imagefolder: one folder a label; list: .csv, .jsonl or .parquet with columns path and label, or labels for "
    "several; webdataset: the layout of CLIP_benchmark"
)
LOWEST = 0.01
"""The lowest score of a box that enters average precision where none is given: it wants the weak boxes too."""

TEMPLATES = ("simple", "plain", "openai7", "openai80")
SETS_HELP = f"a prompt set: a name, a sentence with {{label}}, or a .txt file (default: {', '.join(TEMPLATES)})"

USED = ("box_threshold", "nms_iou", "duplicates", "duplicate_iou", "max_boxes")
"""Settings that boxes depend on."""

MAP_HELP = 'call labels of the data something else: "n01440764=tench, n01443537=goldfish", or a .txt file of such lines'


def add_tasks(command: ArgumentParser, preset: str) -> None:
    """Add the tasks of `openvocab evaluate` to its parser; preset is the one where no model is named."""
    tasks = command.add_subparsers(dest="task", required=True, metavar="TASK")
    says = "Score a tagger on pictures with known labels; write report.json, report.md and plots."
    made = tasks.add_parser("classify", help=says, description=says, allow_abbrev=False)
    _data(made, sorted(LABELLED), FORMAT_HELP)
    made.add_argument(
        "--template",
        action="append",
        metavar="T",
        help="a sentence with {label}, a set or a file; more than one are averaged (default: the data's, else simple)",
    )
    _models(made, "tagger", preset)
    _measuring(made)
    says = "Score a tagger under several prompt sets, in one table; write report.json and report.md."
    made = tasks.add_parser("templates", help=says, description=says, allow_abbrev=False)
    _data(made, sorted(LABELLED), FORMAT_HELP)
    made.add_argument("--template", action="append", metavar="T", help=SETS_HELP)
    _models(made, "tagger", preset)
    _measuring(made)
    says = "Score a detector on pictures with known boxes, looking for all labels; write report.json and report.md."
    made = tasks.add_parser("detect", help=says, description=says, allow_abbrev=False)
    _data(made, sorted(ANNOTATED), "coco: a JSON file of instances; voc: a folder with Annotations and JPEGImages")
    made.add_argument("--pictures", metavar="DIR", help="coco: the folder of the pictures (default: the file's own)")
    _models(made, "detector", preset)
    made.add_argument(
        "--box-threshold",
        type=float,
        default=LOWEST,
        metavar="X",
        help="drop boxes that score less (default: %(default)s)",
    )


def _measuring(made: ArgumentParser) -> None:
    made.add_argument("--batch-size", type=int, default=32, metavar="N", help="pictures at once (default: 32)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap intervals (default: 0)")
    made.add_argument(
        "--threshold", type=float, metavar="X", help="several labels: give those that score this (default: tag's)"
    )


def _data(made: ArgumentParser, formats: Sequence[str], formats_help: str) -> None:
    made.add_argument("--data", required=True, metavar="PATH", help="the folder or file of the pictures")
    made.add_argument("--format", required=True, choices=formats, help=formats_help)
    made.add_argument("--out", required=True, metavar="DIR", help="the folder for the report")
    made.add_argument("--labels", help="choose among these labels, all of the data's among them (default: the data's)")
    made.add_argument("--class-map", metavar="MAP", help=MAP_HELP)


def _models(made: ArgumentParser, stage: str, preset: str) -> None:
    models = made.add_argument_group("models")
    models.add_argument("--preset", metavar="NAME", help=f"take the {stage} of a preset (default: {preset})")
    models.add_argument(f"--{stage}", metavar="SPEC", help=f"any {stage}, as FAMILY:CHECKPOINT")
    models.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    models.add_argument("--dtype", help="float32 or bfloat16 (default: what suits the device)")
    made.set_defaults(usual_preset=preset)


def evaluate(args: Namespace) -> int:
    """Run one task."""
    return {"classify": classify, "detect": detect, "templates": templates}[args.task](args)


def classify(args: Namespace) -> int:
    """Score a tagger, print its figures and write the report."""
    from openvocab.evaluate.reports import Context, summary, write_report
    from openvocab.evaluate.scoring import score_pictures
    from openvocab.evaluate.tasks import measure

    data = _labelled(args)
    prompts = _prompts(args, data)
    tagger = openvocab.load_tagger(_spec(args, "tagger"), args.device, args.dtype)
    scored = score_pictures(tagger, data, prompts, batch=args.batch_size, watch=progress)
    for _, reason in scored.unread:
        complain(reason)
    figures = measure(scored, data.multi_label, tagger.independent, args.threshold, args.seed)
    write_report(args.out, scored, figures, Context(args.data, args.format, tagger.record, prompts, args.seed))
    table(("figure", "value", "95 % interval"), summary(figures))
    say("")
    say(f"{len(scored.names)} pictures, {len(scored.labels)} labels; report in {args.out}")
    return 1 if scored.unread else 0


def templates(args: Namespace) -> int:
    """Score a tagger under several prompt sets, print one table and write the report."""
    from openvocab.evaluate.reports import Context
    from openvocab.evaluate.scoring import score_prompts
    from openvocab.evaluate.tasks import measure
    from openvocab.evaluate.template_reports import template_table, write_template_report

    data = _labelled(args)
    sets = [openvocab.prompt_set(each) for each in args.template or TEMPLATES]
    tagger = openvocab.load_tagger(_spec(args, "tagger"), args.device, args.dtype)
    scored = score_prompts(tagger, data, sets, batch=args.batch_size, watch=progress)
    for _, reason in scored[0].unread:
        complain(reason)
    rows = []
    for prompts, each in zip(sets, scored, strict=True):
        figures = measure(each, data.multi_label, tagger.independent, args.threshold, args.seed)
        rows.append((Context(args.data, args.format, tagger.record, prompts, args.seed), figures))
    write_template_report(args.out, scored[0], rows)
    table(*template_table(rows))
    say("")
    say(f"{len(scored[0].names)} pictures, {len(scored[0].labels)} labels; report in {args.out}")
    return 1 if scored[0].unread else 0


def _labelled(args: Namespace) -> LabelledSet:
    """Check the arguments, since loading models takes longer than this, and return the pictures."""
    from openvocab.evaluate.arrays import check_count
    from openvocab.evaluate.data import load_labelled

    check_count("--seed", args.seed, least=0)
    check_count("--batch-size", args.batch_size)
    _refuse_out(args)
    data = load_labelled(args.data, args.format)
    return data.against(openvocab.read_labels(args.labels) if args.labels else None, _class_map(args.class_map))


def detect(args: Namespace) -> int:
    """Score a detector, print its figures and write the report."""
    from openvocab.evaluate.data import load_annotated
    from openvocab.evaluate.detecting import find_boxes
    from openvocab.evaluate.detection import average_precision
    from openvocab.evaluate.detection_reports import DetectionContext, detection_summary, write_detection_report

    _refuse_out(args)
    settings = openvocab.Settings().changed(box_threshold=args.box_threshold)
    data = load_annotated(args.data, args.format, args.pictures)
    data = data.against(openvocab.read_labels(args.labels) if args.labels else None, _class_map(args.class_map))
    detector = openvocab.load_detector(_spec(args, "detector"), args.device, args.dtype)
    detected = find_boxes(openvocab.Pipeline(None, detector, None, settings), data, watch=progress)
    for _, reason in detected.unread:
        complain(reason)
    figures = average_precision(detected.truth, detected.found, detected.labels)
    used = {name: getattr(settings, name) for name in USED}
    context = DetectionContext(args.data, args.format, detector.record, detected.template, used, data.faults)
    write_detection_report(args.out, detected, figures, context)
    table(("figure", "value"), detection_summary(figures))
    say("")
    say(f"{len(detected.names)} pictures, {len(detected.labels)} labels; report in {args.out}")
    return 1 if detected.unread else 0


def _refuse_out(args: Namespace) -> None:
    """Look at --out, since loading models takes longer than this.

    Raises:
        BadInput: it is no folder, or the data lies in it or it in the data, where its plots would count as pictures.
    """
    from openvocab.pipeline.batch.writer import refuse_target

    refuse_target(args.out, [args.data])
    if os.path.realpath(args.out).startswith(os.path.join(os.path.realpath(args.data), "")):
        raise BadInput(f"--out {args.out} lies in --data {args.data}; give a folder outside it")


def _spec(args: Namespace, stage: str) -> str:
    """Return the SPEC of the stage that the arguments mean.

    Raises:
        BadInput: both a preset and a SPEC are given.
        UnknownName: there is no preset of that name.
    """
    given = getattr(args, stage)
    if given and args.preset:
        raise BadInput(f"--preset and --{stage} both name a {stage}; give one of them")
    if given:
        return str(given)
    name = args.preset or args.usual_preset
    known: dict[str, str] = {preset.name: getattr(preset, stage) for preset in openvocab.presets()}
    if name not in known:
        raise unknown("preset", name, known)
    return known[name]


def _prompts(args: Namespace, data: LabelledSet) -> PromptSet:
    """Return the templates: those given, else those of the data, else the default."""
    given = args.template
    if given:
        return openvocab.prompt_set(given[0] if len(given) == 1 else given)
    return replace(openvocab.prompt_set(data.templates), name="data") if data.templates else openvocab.prompt_set()


def _class_map(text: str | None) -> dict[str, str]:
    """Return label of the data -> its name.

    Raises:
        BadInput: an entry has no =, or names a label twice; or the file cannot be read.
    """
    from openvocab.prompts.files import read_lines

    if text is None:
        return {}
    entries = read_lines(text) if text.endswith(".txt") else [part for part in text.split(",") if part.strip()]
    made: dict[str, str] = {}
    for entry in entries:
        old, sign, new = (part.strip() for part in entry.partition("="))
        if not (sign and old and new) or old in made:
            raise BadInput(f"--class-map has {entry.strip()!r}; write each label once, as old=new")
        made[old] = new
    return made
