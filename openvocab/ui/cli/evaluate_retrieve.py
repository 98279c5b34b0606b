"""`openvocab evaluate retrieve`: image-text retrieval in both directions."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import openvocab
from openvocab.errors import counted
from openvocab.ui.cli.evaluate_options import add_models, add_task, check_arguments, complain_unread, model_spec
from openvocab.ui.cli.output import progress, say, table

__all__ = ["add_retrieve", "retrieve"]

DESCRIPTION = (
    "Score a tagger on images with captions: recall at 1, 5 and 10 in both directions. Captions are used as they are, "
    "without a template. Write report.json and report.md."
)
DATA_HELP = (
    "a .csv, .jsonl or .parquet list with columns path and caption, one row per caption, or captions, a list; or a "
    "folder in CLIP_benchmark's layout for retrieval"
)


def add_retrieve(tasks: Any, preset: str) -> None:
    """Add the task to the subparsers of `openvocab evaluate`; preset is the default."""
    made = add_task(tasks, "retrieve", DESCRIPTION)
    made.add_argument("--data", required=True, metavar="PATH", help=DATA_HELP)
    made.add_argument("--out", required=True, metavar="DIR", help="folder for the report")
    add_models(made, "tagger", preset)
    made.add_argument("--batch-size", type=int, default=32, metavar="N", help="images per batch (default: 32)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap intervals (default: 0)")


def retrieve(args: Namespace) -> int:
    """Score a tagger in both directions, print its metrics and write the report."""
    from openvocab.evaluate.data import load_captions
    from openvocab.evaluate.metrics.retrieval import retrieval_metrics
    from openvocab.evaluate.reports.report import ReportContext
    from openvocab.evaluate.reports.retrieval import retrieval_report
    from openvocab.evaluate.runs.retrieval import run_retrieval

    check_arguments(args)
    data = load_captions(args.data)
    tagger = openvocab.load_tagger(model_spec(args, "tagger"), args.device, args.dtype)
    run = run_retrieval(tagger, data, batch=args.batch_size, progress=progress)
    complain_unread(run)
    metrics = retrieval_metrics(run.images, run.texts, run.image_of_text, seed=args.seed)
    report = retrieval_report(run, metrics, ReportContext(args.data, "", args.seed))
    report.write(args.out)
    table(*report.summary)
    say("")
    say(f"{counted(metrics.images, 'image')}, {counted(metrics.texts, 'caption')}; report in {args.out}")
    return 1 if run.unread else 0
