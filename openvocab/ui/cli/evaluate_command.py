"""`openvocab evaluate`: measure models on images whose labels are known."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

import openvocab
from openvocab.errors import require
from openvocab.evaluate.data import LABELED
from openvocab.ui.cli.evaluate_chain import add_annotated_tasks, chain, detect, segment
from openvocab.ui.cli.evaluate_options import (
    add_data,
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
from openvocab.ui.cli.evaluate_presence import add_presence, presence
from openvocab.ui.cli.evaluate_reproduce import add_reproduce, reproduce
from openvocab.ui.cli.evaluate_retrieve import add_retrieve, retrieve
from openvocab.ui.cli.output import progress

if TYPE_CHECKING:
    from openvocab import PromptSet
    from openvocab.evaluate.data import LabeledSet

__all__ = ["add_tasks", "evaluate"]

FORMAT_HELP = (
    "imagefolder: one folder per label; list: .csv, .jsonl or .parquet with columns path and label, or labels for "
    "multi-label data; torchvision: NAME:ROOT, such as CIFAR10:/data; webdataset: the layout of CLIP_benchmark"
)
TEMPLATES = ("simple", "plain", "openai7", "openai80")


def add_tasks(command: ArgumentParser, preset: str) -> None:
    """Add the tasks of `openvocab evaluate` to its parser; preset is the default."""
    tasks = command.add_subparsers(dest="task", required=True, metavar="TASK")
    text = "Score a tagger on images with known labels; write report.json, report.md and plots."
    template_help = (
        "a sentence with {label}, a prompt set or a file; averaged if several (default: the data's, or simple)"
    )
    _add_labeled(add_task(tasks, "classify", text), template_help, preset)
    text = "Score a tagger under several prompt sets, in one table; write report.json and report.md."
    template_help = f"a prompt set, a sentence with {{label}} or a .txt file (default: {', '.join(TEMPLATES)})"
    _add_labeled(add_task(tasks, "templates", text), template_help, preset)
    add_annotated_tasks(tasks, preset)
    add_presence(tasks, preset)
    add_retrieve(tasks, preset)
    add_reproduce(tasks)


def _add_labeled(made: ArgumentParser, template_help: str, preset: str) -> None:
    add_data(made, sorted(LABELED), FORMAT_HELP)
    made.add_argument("--template", action="append", metavar="T", help=template_help)
    add_models(made, "tagger", preset)
    batch = openvocab.Settings().batch_size
    made.add_argument(
        "--batch-size", type=int, default=batch, metavar="N", help="images per batch (default: %(default)s)"
    )
    made.add_argument(
        "--tag-threshold", type=float, metavar="X", help="multi-label data: score threshold of a label (default: tag's)"
    )


def evaluate(args: Namespace) -> int:
    """Run one task."""
    tasks = {"classify": classify, "detect": detect, "templates": templates, "chain": chain, "segment": segment}
    tasks |= {"presence": presence, "retrieve": retrieve, "reproduce": reproduce}
    return tasks[args.task](args)


def classify(args: Namespace) -> int:
    """Score a tagger, print its metrics and write the report."""
    from openvocab.evaluate.measure import measure_tagger
    from openvocab.evaluate.reports.classification import classification_report
    from openvocab.evaluate.reports.mistakes import mistake_sheet, mistakes
    from openvocab.evaluate.reports.report import ReportContext
    from openvocab.evaluate.runs.tagger import run_tagger

    data = _load(args)
    prompts = _prompts(args, data)
    tagger = openvocab.load_tagger(model_spec(args, "tagger"), args.device, args.dtype)
    run = run_tagger(tagger, data, prompts, batch=args.batch_size, progress=progress)
    complain_unread(run)
    metrics = measure_tagger(run, data.multi_label, tagger.independent, _threshold(args, data), args.seed)
    sheet = None if data.multi_label else mistake_sheet(data, mistakes(run, tagger.independent))
    context = ReportContext(args.data, args.format, args.seed, queries=digest_of(data.queries))
    return finish(args, classification_report(run, metrics, context, sheet), run.labels)


def templates(args: Namespace) -> int:
    """Score a tagger under several prompt sets, print one table and write the report."""
    from openvocab.evaluate.measure import measure_tagger
    from openvocab.evaluate.reports.classification import template_report
    from openvocab.evaluate.reports.report import ReportContext
    from openvocab.evaluate.runs.tagger import run_prompts

    data = _load(args)
    prompts = [openvocab.prompt_set(each) for each in args.template or TEMPLATES]
    tagger = openvocab.load_tagger(model_spec(args, "tagger"), args.device, args.dtype)
    runs = run_prompts(tagger, data, prompts, batch=args.batch_size, progress=progress)
    complain_unread(runs[0])
    threshold = _threshold(args, data)
    metrics = [measure_tagger(run, data.multi_label, tagger.independent, threshold, args.seed) for run in runs]
    context = ReportContext(args.data, args.format, args.seed, queries=digest_of(data.queries))
    return finish(args, template_report(runs, metrics, context), runs[0].labels)


def _load(args: Namespace) -> LabeledSet:
    """Check the arguments and return the images."""
    from openvocab.evaluate.data import load_labeled

    require("sklearn", extra="evaluate")
    check_arguments(args)
    return load_labeled(args.data, args.format).with_labels(given_labels(args), class_map(args.class_map))


def _threshold(args: Namespace, data: LabeledSet) -> float | None:
    """Return the score threshold of multi-label data: the one given, or the preset's own."""
    if args.tag_threshold is None and data.multi_label:
        return own_settings(args, "tagger").tag_threshold
    return None if args.tag_threshold is None else float(args.tag_threshold)


def _prompts(args: Namespace, data: LabeledSet) -> PromptSet:
    """Return the templates: those given, or those of the data, or the default."""
    given = args.template
    if given:
        return openvocab.prompt_set(given[0] if len(given) == 1 else given)
    return replace(openvocab.prompt_set(data.templates), name="data") if data.templates else openvocab.prompt_set()
