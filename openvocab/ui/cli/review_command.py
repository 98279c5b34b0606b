"""`openvocab review`: the rows of a run that a person should look at first."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

import openvocab
from openvocab.ui.cli.output import say, say_json, table

__all__ = ["DESCRIPTION", "add_options", "review"]

DESCRIPTION = "List the images of a run where tagger, detector and presence disagree, the most doubtful first."
_SHOWN = 3


def add_options(command: ArgumentParser) -> None:
    """Add the arguments of `openvocab review` to its parser."""
    command.add_argument("run", metavar="RUN", help="a run folder")
    command.add_argument("--first", type=int, default=20, metavar="N", help="list N images (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print one JSON object an image, with all doubts")


def review(args: Namespace) -> int:
    """Print the rows of a run in the order of their doubts.

    Raises:
        BadInput: the folder holds no run, or --first is under 1.
    """
    from openvocab.batch.review import review as ordered

    if args.first < 1:
        raise openvocab.BadInput(f"--first must be at least 1, got {args.first}")
    rows = ordered(openvocab.read_run(args.run))
    if args.json:
        for row in rows[: args.first]:
            say_json(asdict(row))
        return 0
    doubts = [
        ("; ".join(f"{each.label}: {each.reason}" for each in row.doubts[:_SHOWN]), len(row.doubts) - _SHOWN)
        for row in rows[: args.first]
    ]
    shown = [text + (f"; and {more} more" if more > 0 else "") for text, more in doubts]
    table(
        ("image", "likely errors", "why"),
        [(row.id, f"{row.score:.2f}", why) for row, why in zip(rows, shown, strict=False)],
    )
    if len(rows) > args.first:
        say("")
        say(f"{len(rows) - args.first} more images; see them with --first {len(rows)}")
    return 0
