"""`openvocab review`: the rows of a run that a person should look at first."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import openvocab
from openvocab.ui.cli.output import say, say_json, table

if TYPE_CHECKING:
    from openvocab.batch.review import Reviewed

__all__ = ["DESCRIPTION", "add_options", "review"]

DESCRIPTION = "List the images of a run where tagger, detector and presence disagree, the most doubtful first."
_SHOWN = 3


def add_options(command: ArgumentParser) -> None:
    """Add the arguments of `openvocab review` to its parser."""
    command.add_argument("run", metavar="RUN", help="a run folder")
    command.add_argument("--first", type=int, default=20, metavar="N", help="list N images (default: %(default)s)")
    command.add_argument("--rejected", action="store_true", help="list what verification rejected, close calls first")
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
    count = _rejections(rows, args.first) if args.rejected else _doubts(rows, args.first)
    if count > args.first:
        say("")
        say(f"{count - args.first} more {'rejected' if args.rejected else 'images'}; see them with --first {count}")
    return 0


def _doubts(rows: Sequence[Reviewed], first: int) -> int:
    """Print the first rows with their greatest doubts, and return the number of all."""
    doubts = [
        ("; ".join(f"{each.label}: {each.reason}" for each in row.doubts[:_SHOWN]), len(row.doubts) - _SHOWN)
        for row in rows[:first]
    ]
    shown = [text + (f"; and {more} more" if more > 0 else "") for text, more in doubts]
    columns = [(row.id, f"{row.score:.2f}", why) for row, why in zip(rows, shown, strict=False)]
    table(("image", "likely errors", "why"), columns)
    return len(rows)


def _rejections(rows: Sequence[Reviewed], first: int) -> int:
    """Print the first rejections of all images, close calls first, and return the number of all."""
    found = sorted(((row.id, each) for row in rows for each in row.rejected), key=lambda pair: -pair[1].errors)
    if not found:
        say("no box was rejected")
        return 0
    columns = [(name, one.label, f"{one.score:.2f}", str(one.verdict)) for name, one in found[:first]]
    table(("image", "box", "score", "verification"), columns)
    return len(found)
