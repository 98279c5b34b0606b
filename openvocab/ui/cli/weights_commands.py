"""`openvocab weights`: list, pull, verify, where, pack, unpack."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from openvocab.errors import BadWeights, counted, unknown
from openvocab.ui.cli.output import complain, megabytes, say, say_json, table
from openvocab.weights.fetch import offline
from openvocab.weights.manifest import (
    STAGES,
    Published,
    checkpoint,
    embedded,
    named,
    preset_records,
    published,
    published_for,
)

__all__ = ["add_actions", "weights"]

OK = 0
JSON_HELP = "print the list as JSON"


def add_actions(command: ArgumentParser) -> None:
    """Add the actions and their arguments to the parser of `openvocab weights`."""
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, says: str) -> ArgumentParser:
        return actions.add_parser(name, help=says, description=says, allow_abbrev=False)

    listing = add("list", "List the known checkpoints, and the presets that use them.")
    listing.add_argument("--json", action="store_true", help=JSON_HELP)
    pull = add("pull", "Download checkpoints, or all checkpoints of a preset.")
    pull.add_argument("names", nargs="+", metavar="NAME", help="a checkpoint, a preset or a SPEC")
    verify = add("verify", "Verify the digests of downloaded checkpoints.")
    verify.add_argument(
        "names", nargs="*", metavar="NAME", help="a checkpoint, a preset or a SPEC (default: all downloaded ones)"
    )
    verify.add_argument("--json", action="store_true", help=JSON_HELP)
    where = add("where", "Print the paths of the weights of a checkpoint or preset.")
    where.add_argument("name", metavar="NAME", help="a checkpoint, a preset or a SPEC")
    where.add_argument("--json", action="store_true", help=JSON_HELP)
    pack = add("pack", "Pack the checkpoints of a preset into one file, for a machine without a network.")
    pack.add_argument("name", metavar="PRESET", help="a preset or a checkpoint")
    pack.add_argument("-o", "--out", required=True, metavar="FILE.tar", help="the file to write")
    unpack = add("unpack", "Install the checkpoints of a packed file.")
    unpack.add_argument("bundle", metavar="FILE.tar", help="a file written by openvocab weights pack")


def weights(args: Namespace) -> int:
    """Run an action and return the exit status."""
    return _ACTIONS[args.action](args)


def _list(args: Namespace) -> int:
    shipped = [checkpoint(name) for name in embedded()]
    rows: list[tuple[str, ...]] = [
        (each.name, each.name.rpartition("-")[2], "-", megabytes(each.size), each.license, "ships") for each in shipped
    ]
    rows += [_row(each) for each in published().values()]
    presets = preset_records().values()
    lines = [(each.name, *(_short(getattr(each, stage)) for stage in STAGES), each.license) for each in presets]
    heads = ("name", "stage", "parameters", "size", "license", "here"), ("preset", *STAGES, "license")
    if args.json:
        say_json({"checkpoints": _records(heads[0], rows), "presets": _records(heads[1], lines)})
        return OK
    table(heads[0], rows)
    say("")
    table(heads[1], lines)
    return OK


def _records(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    return [dict(zip(head, row, strict=True)) for row in rows]


def _row(each: Published) -> tuple[str, ...]:
    from openvocab.weights.store import weights_here

    size = megabytes(each.size) if each.exact_size else f"about {megabytes(each.size)}"
    license_name = f"{each.license} (gated)" if each.gated else each.license
    return (
        each.name,
        each.stage,
        f"{each.parameters / 1e6:.0f} M",
        size,
        license_name,
        "yes" if weights_here(each) else "no",
    )


def _short(spec: str) -> str:
    known = published_for(spec)
    return known.name if known else spec or "-"


def _pull_spec(spec: str) -> None:
    """Download the weights of a SPEC without a record by loading it.

    Raises:
        UnknownName: there is no such family.
        BadWeights: it cannot be fetched or loaded.
    """
    from openvocab.models.registry import REGISTRIES

    family = spec.partition(":")[0]
    registry = next((each for each in REGISTRIES if family in each), None)
    if registry is None:
        raise unknown("model family", family, {name for each in REGISTRIES for name in each})
    if not offline():
        complain(f"{spec}: fetching what it needs")
    loaded: Any = registry.load(spec, "cpu", "float32")
    say(f"{spec}: here, sha256 {loaded.record.sha256}")


def _pull(args: Namespace) -> int:
    from openvocab.weights.store import pull, weights_here

    specs = [given for given in args.names if ":" in given and published_for(given) is None]
    wanted = dict.fromkeys(name for given in args.names if given not in specs for name in named(given))
    for spec in specs:
        _pull_spec(spec)
    for name in wanted:
        if name in embedded():
            say(f"{name}: {checkpoint(name).verified()}")
            continue
        record = published()[name]
        if not offline() and not weights_here(record):
            _announce(record)
        for path in pull(record):
            say(f"{name}: {path}")
    return OK


def _announce(record: Published) -> None:
    """Say what is about to be downloaded."""
    if record.gated:
        said = f"its license ({record.license}) must be accepted at the hub before it is fetched"
        complain(f"{record.name} is gated: {said}")
    if not record.package:
        complain(f"{record.name}: fetching {record.repository or record.url}, {megabytes(record.size)}")


def _verify(args: Namespace) -> int:
    from openvocab.weights.store import verified, weights_here

    given = dict.fromkeys(name for each in args.names for name in named(each))
    names = list(given) or [*embedded(), *(name for name, each in published().items() if weights_here(each))]
    rows, wrong = [], []
    for name in names:
        try:
            rows += [(each.checkpoint, each.digest[:12], each.checked, str(each.path)) for each in verified(name)]
        except BadWeights as error:
            wrong.append(name)
            complain(str(error))
    head = ("checkpoint", "sha256", "checked against", "file")
    if args.json:
        say_json({"checkpoints": _records(head, rows), "failed": wrong})
    elif rows:
        table(head, rows)
    if wrong:
        raise BadWeights(f"{len(wrong)} of {counted(len(names), 'checkpoint')} failed: {', '.join(wrong)}")
    return OK


def _where(args: Namespace) -> int:
    from openvocab.weights.store import weights_of

    found = list(map(str, weights_of(args.name)))
    if args.json:
        say_json(found)
        return OK
    for path in found:
        say(path)
    return OK


def _pack(args: Namespace) -> int:
    from openvocab.weights.bundle import pack

    out = Path(args.out)
    members = pack(args.name, out)
    say(f"{out}: {counted(len(members), 'file')}, {megabytes(out.stat().st_size)}")
    return OK


def _unpack(args: Namespace) -> int:
    from openvocab.weights.bundle import unpack

    for path in unpack(Path(args.bundle)):
        say(str(path))
    return OK


_ACTIONS: dict[str, Callable[[Namespace], int]] = {
    "list": _list,
    "pull": _pull,
    "verify": _verify,
    "where": _where,
    "pack": _pack,
    "unpack": _unpack,
}
