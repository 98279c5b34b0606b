"""`openvocab relabel`: tag a run folder again with other labels, from its stored features."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

import openvocab
from openvocab.errors import counted
from openvocab.ui.cli.output import say, say_json
from openvocab.ui.cli.shared_options import DEVICE_HELP, add_label_options, prompts_of

__all__ = ["add_options", "relabel"]

_EMBEDDED = {"pocket-tagger": "pocket"}
"""Model name in run.json -> SPEC that loads it."""


def add_options(command: ArgumentParser) -> None:
    """Add the arguments of `openvocab relabel` to its parser, except settings."""
    command.add_argument("run", metavar="RUN", help="a run folder written with --features")
    add_label_options(command)
    command.add_argument("--json", action="store_true", help="print the summary as JSON")
    command.add_argument("--out", metavar="RUN2", help="run folder to write (default: RUN-relabeled)")
    command.add_argument("--overwrite", action="store_true", help="replace an existing run in RUN2")
    command.add_argument("--tagger", metavar="SPEC", help="SPEC of the run's tagger, if its weights were moved")
    command.add_argument("--device", help=DEVICE_HELP)


def _settings(run: openvocab.Run, args: Namespace) -> openvocab.Settings:
    """Return the settings of the run with those that were given.

    The tag threshold of a run with a calibration is for scores of that calibration, so it is left out.
    """
    known = dict(run.record["settings"])
    if known.pop("calibration", None):
        del known["tag_threshold"]
    given = {name: getattr(args, name) for name in ("tag_threshold", "max_tags", "calibration")}
    return openvocab.Settings().changed(**known).changed(**given)


def relabel(args: Namespace) -> int:
    """Tag a run folder again with other labels.

    Raises:
        BadInput: the run has no features, or --tagger is not a tagger.
    """
    from openvocab.batch.relabel import refuse_without_features
    from openvocab.batch.relabel import relabel as write

    run = openvocab.read_run(args.run)
    refuse_without_features(run)
    names = openvocab.read_label_set(args.labels)
    prompts = prompts_of(args)
    settings = _settings(run, args)
    record = run.record["tagger"]
    spec = args.tagger or _EMBEDDED.get(record["spec"], record["spec"])
    pipe = openvocab.load(tagger=spec, device=args.device, dtype=record["dtype"])
    if pipe.tagger is None:
        raise openvocab.BadInput(f"{spec} is not a tagger; give the run's tagger with --tagger")
    folder = args.out or f"{str(run.path).rstrip('/')}-relabeled"
    vocabulary = openvocab.Pipeline(pipe.tagger, None, None, settings).vocabulary(names, prompts)
    summary = write(run, pipe.tagger, folder, vocabulary, settings, overwrite=args.overwrite)
    if args.json:
        say_json({**asdict(summary), "rows": summary.rows})
    elif summary.rows:
        new = f"{counted(summary.rows, 'row')} written to {folder} in {summary.seconds:.1f} s"
        say(f"{new}, {summary.skipped} were there before")
    else:
        say(f"nothing to do: {counted(summary.skipped, 'image has', 'images have')} a row in {folder}")
    return 0
