"""The command `prompt`: add to a prompt file, show it, or take a label out."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import openvocab
from openvocab.errors import BadInput, counted
from openvocab.ui.cli.batch_commands import OK
from openvocab.ui.cli.output import say, say_json, table

__all__ = ["add_actions", "prompt"]

UNNAMED = "object"
"""The label of exemplars that are given without one."""
_WHERE = "IMAGE:LEFT,TOP,RIGHT,BOTTOM (a box), IMAGE:X,Y (a point on the object) or IMAGE@MASK.png; may be repeated"


def add_actions(command: ArgumentParser) -> None:
    """Add the actions and their arguments to the parser of `openvocab prompt`."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, says: str) -> ArgumentParser:
        made = actions.add_parser(name, help=says, description=says, allow_abbrev=False)
        made.add_argument("file", metavar="FILE", help="the prompt file")
        return made

    adding = add("add", "Add words, exemplars or negatives to a prompt file; a file that does not exist is made.")
    adding.add_argument("--label", metavar="WORD", help=f"the label (default: {UNNAMED}, for exemplars without a name)")
    adding.add_argument("--exemplar", action="append", default=[], metavar="WHERE", help=_WHERE)
    adding.add_argument("--negative", action="store_true", help="it is not meant: boxes that fit it are dropped")
    adding.add_argument(
        "--no-words", action="store_true", help="the label is what boxes are called; no model reads it as words"
    )
    show = add("show", "Show what a prompt file holds.")
    show.add_argument("--json", action="store_true", help="print JSON")
    add("remove", "Take a label out of a prompt file.").add_argument("label", metavar="LABEL", help="the label")


def prompt(args: Namespace) -> int:
    """Run an action and return the exit status."""
    return {"add": _add, "show": _show, "remove": _remove}[args.action](args)


def _add(args: Namespace) -> int:
    """Write the file with what is added.

    Raises:
        BadInput: there is neither a label that is read nor an exemplar, or one cannot be used.
    """
    if args.label is None and not args.exemplar:
        raise BadInput("there is nothing to add; give --label WORD, --exemplar IMAGE:LEFT,TOP,RIGHT,BOTTOM, or both")
    if args.no_words and not args.exemplar:
        raise BadInput("--no-words is for a label with exemplars, and there is none; give --exemplar, or leave it out")
    before = openvocab.read_prompt(args.file) if Path(args.file).exists() else openvocab.Prompt()
    label = UNNAMED if args.label is None else args.label
    shown = tuple(_exemplar(each, label) for each in args.exemplar)
    read = args.label is not None and not args.no_words and not (args.negative and shown)
    kind = "negative_" if args.negative else ""
    words = dict.fromkeys([*getattr(before, f"{kind}labels"), *([label] if read else [])])
    changes: dict[str, Any] = {f"{kind}labels": tuple(words)}
    changes[f"{kind}exemplars"] = (*getattr(before, f"{kind}exemplars"), *shown)
    return _saved(replace(before, **changes), args.file)


def _exemplar(text: str, label: str) -> openvocab.Exemplar:
    """Return the exemplar of IMAGE:NUMBERS or IMAGE@MASK.

    Raises:
        BadInput: it has another form, or lies outside the image.
        ImageError: the image or the mask cannot be read.
    """
    path, colon, rest = text.rpartition(":")
    numbers = _numbers(rest) if colon else []
    if len(numbers) == 4:
        return openvocab.Exemplar.cut(openvocab.read_image(path), label, numbers)
    if len(numbers) == 2:
        return openvocab.Exemplar.cut(openvocab.read_image(path), label, points=[numbers])
    path, at, mask = text.rpartition("@")
    if at:
        marked = np.asarray(openvocab.read_image(mask).any(axis=2), np.bool_)
        return openvocab.Exemplar.cut(openvocab.read_image(path), label, mask=marked)
    raise BadInput(f"--exemplar {text!r} has no place; write IMAGE:LEFT,TOP,RIGHT,BOTTOM, IMAGE:X,Y or IMAGE@MASK.png")


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        return []


def _remove(args: Namespace) -> int:
    return _saved(openvocab.read_prompt(args.file).without(args.label), args.file)


def _saved(prompt: openvocab.Prompt, file: str) -> int:
    """Save a prompt and print how much it holds."""
    prompt.save(file)
    rows = list(_rows(prompt))
    say(f"{file}: {counted(len(rows), 'label')}, {counted(sum(each['exemplars'] for each in rows), 'exemplar')}")
    return OK


def _show(args: Namespace) -> int:
    found = openvocab.read_prompt(args.file)
    rows = list(_rows(found))
    if args.json:
        say_json({"digest": found.digest, "labels": rows, "marks": len(found.marks)})
        return OK
    table(
        ("label", "meant", "read as words", "exemplars"),
        [(each["label"], _yes(each["meant"]), _yes(each["words"]), str(each["exemplars"])) for each in rows],
    )
    say("")
    say(f"{counted(len(found.marks), 'mark')}; digest {found.digest}")
    return OK


def _rows(found: openvocab.Prompt) -> Iterator[dict[str, Any]]:
    """Yield the labels of a prompt, those that are meant first."""
    meant = True, found.labels, (*found.exemplars, *found.memory)
    for wanted, words, shown in (meant, (False, found.negative_labels, found.negative_exemplars)):
        for label in dict.fromkeys([*words, *(each.label for each in shown)]):
            count = sum(each.label == label for each in shown)
            yield {"label": label, "meant": wanted, "words": label in words, "exemplars": count}


def _yes(value: bool) -> str:
    return "yes" if value else "no"
