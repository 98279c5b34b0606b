"""`openvocab labels`: list, show, check."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import openvocab
from openvocab.errors import unknown
from openvocab.prompts.labels import set_synonyms
from openvocab.ui.cli.output import complain, say, say_json, table
from openvocab.ui.cli.shared_options import DEVICE_HELP, DTYPE_HELP, LABELS_HELP, prompts_of
from openvocab.ui.cli.weights_commands import JSON_HELP

if TYPE_CHECKING:
    from openvocab import LabelFinding

__all__ = ["add_actions", "labels"]

OK, FOUND = 0, 1


def add_actions(command: ArgumentParser) -> None:
    """Add the actions and their arguments to the parser of `openvocab labels`."""
    command.add_argument("--json", action="store_true", help=JSON_HELP)
    actions = command.add_subparsers(dest="action", metavar="ACTION")

    def add(name: str, says: str) -> ArgumentParser:
        made = actions.add_parser(name, help=says, description=says, allow_abbrev=False)
        made.add_argument("--json", action="store_true", default=SUPPRESS, help=JSON_HELP)
        return made

    add("list", "List the label sets (the default).")
    show = add("show", "Print the labels of a set, one a line.")
    show.add_argument("name", metavar="NAME", help="a label set")
    show.add_argument("--synonyms", action="store_true", help="also print the synonyms that its data set has")
    check = add("check", "Find labels that compete, or that a tagger cannot read; exit status 1 if there are any.")
    check.add_argument("labels", metavar="LABELS", help=LABELS_HELP)
    check.add_argument("--tagger", metavar="SPEC", help="also check what this tagger makes of them")
    check.add_argument("--template", action="append", metavar="T", help="the tagger's template; repeat it for several")
    check.add_argument(
        "--max-cosine",
        type=float,
        metavar="X",
        help="two labels are nearly the same if their embeddings' cosine is X or more (default: 0.97)",
    )
    check.add_argument("--device", help=DEVICE_HELP)
    check.add_argument("--dtype", help=DTYPE_HELP)


def labels(args: Namespace) -> int:
    """Run an action and return the exit status."""
    return {"show": _show, "check": _check}.get(args.action, _list)(args)


def _list(args: Namespace) -> int:
    sets = openvocab.label_sets()
    if args.json:
        say_json(dict(sets))
        return OK
    rows = [(name, str(count), ", ".join(openvocab.read_labels(name)[:6])) for name, count in sets.items()]
    table(("label set", "labels", "begins with"), rows)
    return OK


def _show(args: Namespace) -> int:
    if args.name not in openvocab.label_sets():
        raise unknown("label set", args.name, openvocab.label_sets())
    names = openvocab.read_labels(args.name)
    synonyms = set_synonyms(args.name) if args.synonyms else {}
    if args.json:
        say_json({label: synonyms.get(label, ()) for label in names} if args.synonyms else list(names))
        return OK
    for label in names:
        say("; ".join([label, *synonyms.get(label, ())]))
    return OK


def _check(args: Namespace) -> int:
    """Print the findings and return 1 if there are any."""
    prompts, given = prompts_of(args), {} if args.max_cosine is None else {"max_cosine": args.max_cosine}
    tagger = openvocab.load_tagger(args.tagger, args.device, args.dtype) if args.tagger else None
    found = openvocab.label_findings(args.labels, tagger, prompts, **given)
    if args.json:
        say_json({"tagger": args.tagger, "findings": [asdict(finding) for finding in found]})
    else:
        _tell(found, args.tagger)
    return FOUND if found else OK


def _tell(found: tuple[LabelFinding, ...], tagger: str | None) -> None:
    for finding in found:
        say(f"{finding.kind}: {finding}")
    counts = Counter(finding.kind for finding in found)
    complain(", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing found")
    if tagger is None:
        complain("only the words were checked; --tagger SPEC also checks what a tagger makes of them")
