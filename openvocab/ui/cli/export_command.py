"""`openvocab export`: convert a run folder to the format of another tool."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import fields
from typing import get_args, get_type_hints

import openvocab
from openvocab.errors import counted
from openvocab.formats import FORMATS
from openvocab.formats.options import ExportOptions
from openvocab.ui.cli.output import complain, say

__all__ = ["add_options", "export"]

_HELP = {
    "images": "in formats with an image folder: reference the original images, link them, or copy them",
    "relative_to": "write image paths relative to this folder",
    "prefix": "prefix of image paths, such as a URL",
    "shapes": "in formats with boxes and masks: write the mask if there is one, the box, or both",
    "raw": "CSV: do not escape cells that a spreadsheet would run as a formula",
    "match": "coco-results: use the image and category IDs of this COCO file",
}
_TAGS = ("csv", "imagefolder", "jsonl")
"""Formats that hold tags."""
_METAVARS = {"relative_to": "DIR", "prefix": "TEXT", "match": "FILE"}


def add_options(command: ArgumentParser) -> None:
    """Add the arguments of `openvocab export` to its parser."""
    command.add_argument("run", metavar="RUN", help="a run folder written by annotate or tag --out")
    command.add_argument("--format", required=True, metavar="NAME", help=f"one of {', '.join(sorted(FORMATS))}")
    command.add_argument("--out", required=True, metavar="PATH", help="file or folder to write")
    hints = get_type_hints(ExportOptions)
    for option in fields(ExportOptions):
        flag, text = f"--{option.name.replace('_', '-')}", _HELP[option.name]
        if hints[option.name] is bool:
            command.add_argument(flag, action="store_true", default=None, help=text)
            continue
        choices = get_args(hints[option.name]) if option.name in ("images", "shapes") else None
        text = f"{text} (default: {option.default})" if choices else text
        command.add_argument(flag, choices=choices, metavar=_METAVARS.get(option.name), help=text)


def export(args: Namespace) -> int:
    """Export a run folder."""
    run = openvocab.read_run(args.run)
    given = {option.name: getattr(args, option.name) for option in fields(ExportOptions)}
    options = {name: value for name, value in given.items() if value is not None}
    made = openvocab.export(run, args.out, args.format, **options)
    say(f"{counted(made.images, 'image')} with {counted(made.detections, 'detection')} in {made.path}")
    if not made.detections and run.record.get("detector") is None and args.format not in _TAGS:
        complain(f"{args.run} holds tags alone, no boxes; openvocab annotate finds boxes, and csv and jsonl hold tags")
    if made.errors:
        failed = f"input of {args.run} is an error and was", f"inputs of {args.run} are errors and were"
        complain(f"{counted(made.errors, *failed)} not exported; see docs/formats.md")
    if made.unlinked:
        complain(f"{counted(made.unlinked, 'image')} could not be linked or copied; images.jsonl lists the reasons")
    return 1 if made.unlinked else 0
