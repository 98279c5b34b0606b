"""`openvocab evaluate presence`: whether the answer that a label is in an image, or is not, is right."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from openvocab.ui.cli.evaluate_chain import add_chain, load_chain, load_data
from openvocab.ui.cli.evaluate_options import add_task, complain_unread, digest_of, finish
from openvocab.ui.cli.output import progress

__all__ = ["add_presence", "presence"]

DESCRIPTION = (
    "Score the probability that a label is in an image, on images whose present and absent labels are known: MCC, "
    "calibration, AUC per label, and the error rate of the surest answers. Write report.json, report.md, "
    "reliability.png and risk_coverage.png."
)


def add_presence(tasks: Any, preset: str) -> None:
    """Add the task to the subparsers of `openvocab evaluate`; preset is the default."""
    made = add_task(tasks, "presence", DESCRIPTION)
    add_chain(made, preset)
    made.add_argument(
        "--presence-threshold",
        type=float,
        default=0.5,
        metavar="X",
        help="answer a label as present from this probability on (default: %(default)s)",
    )


def presence(args: Namespace) -> int:
    """Score presence, print its metrics and write the report."""
    from openvocab.evaluate.metrics.presence import presence_metrics
    from openvocab.evaluate.reports.presence import presence_report
    from openvocab.evaluate.reports.report import ReportContext
    from openvocab.evaluate.runs.presence import run_presence
    from openvocab.prompts.labels import check_threshold

    threshold = check_threshold("--presence-threshold", args.presence_threshold)
    data = load_data(args)
    run = run_presence(load_chain(args), data, progress=progress)
    complain_unread(run)
    metrics = presence_metrics(run.pairs, run.labels, threshold=threshold, seed=args.seed)
    context = ReportContext(args.data, args.format, args.seed, data.faults, queries=digest_of(data.queries))
    return finish(args, presence_report(run, metrics, context), run.labels)
