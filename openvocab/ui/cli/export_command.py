"""`openvocab export`: a run folder in the format of another tool."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import fields
from typing import get_args, get_type_hints

import openvocab
from openvocab.formats import FORMATS
from openvocab.formats.options import ExportOptions
from openvocab.ui.cli.output import complain, say

__all__ = ["add_options", "export"]

_HELP = {
    "images": "where a layout has a place for images: name them where they lie, link to them, or copy them",
    "relative_to": "name images below this folder by their path from there",
    "prefix": "put before the names of images, such as the address that they are served from",
    "shapes": "where a detection can be written as box or as mask: its mask if it has one, its box, or both",
    "raw": "in CSV, write cells as they are, also those that a spreadsheet takes for a formula",
    "match": "for coco-results: take the ids of images and categories of this COCO file",
}
_METAVARS = {"relative_to": "DIR", "prefix": "TEXT", "match": "FILE"}


def add_options(command: ArgumentParser) -> None:
    """Add the arguments of `openvocab export` to its parser."""
    command.add_argument("run", metavar="RUN", help="a run folder, as annotate and tag --out write it")
    command.add_argument("--format", required=True, metavar="NAME", help=f"one of {', '.join(sorted(FORMATS))}")
    command.add_argument("--out", required=True, metavar="PATH", help="the file or folder to write")
    hints = get_type_hints(ExportOptions)
    for option in fields(ExportOptions):
        flag, says = f"--{option.name.replace('_', '-')}", _HELP[option.name]
        if hints[option.name] is bool:
            command.add_argument(flag, action="store_true", default=None, help=says)
            continue
        choices = get_args(hints[option.name]) if option.name in ("images", "shapes") else None
        usual = f"{says} (default: {option.default})" if choices else says
        metavar = _METAVARS.get(option.name)
        command.add_argument(flag, choices=choices, metavar=metavar, help=usual)


def export(args: Namespace) -> int:
    """Write the rows of a run in another format."""
    run = openvocab.read_run(args.run)
    given = {option.name: getattr(args, option.name) for option in fields(ExportOptions)}
    options = {name: value for name, value in given.items() if value is not None}
    made = openvocab.export(run, args.out, args.format, **options)
    say(f"{made.images} images with {made.detections} detections in {made.path}")
    if made.errors:
        complain(f"{made.errors} inputs of {args.run} have no answer; docs/formats.md says where they are listed")
    if made.unlinked:
        complain(f"{made.unlinked} images could not be put in; images.jsonl says why of each")
    return 1 if made.unlinked else 0
