"""`openvocab relabel`: other labels for a run that kept its embeddings, without reading an image."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import openvocab
from openvocab.ui.cli.output import say

__all__ = ["add_options", "relabel"]

_EMBEDDED = {"pocket-tagger": "pocket"}
"""Names in run.json of models that are loaded by another SPEC."""


def add_options(command: ArgumentParser) -> None:
    """Add the arguments of `openvocab relabel` to its parser, but for settings."""
    command.add_argument("run", metavar="RUN", help="a run folder that was written with --embeddings")
    command.add_argument("--labels", required=True, help='"a, b", a file with one label a line, or a label set')
    command.add_argument("--template", action="append", metavar="T", help="a sentence with {label}; see: openvocab tag")
    command.add_argument("--out", metavar="RUN2", help="the run folder to write (default: RUN-relabeled)")
    command.add_argument("--overwrite", action="store_true", help="begin anew, whatever RUN2 holds of another run")
    command.add_argument("--tagger", metavar="SPEC", help="where the run's tagger lies now (default: where it lay)")
    command.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")


def relabel(args: Namespace) -> int:
    """Write a run folder with other tags."""
    from openvocab.batch.relabel import refuse_without_embeddings
    from openvocab.batch.relabel import relabel as write

    run = openvocab.read_run(args.run)
    refuse_without_embeddings(run)
    names = openvocab.read_labels(args.labels)
    given = args.template
    prompts = openvocab.prompt_set(given[0] if given and len(given) == 1 else given)
    given_then = openvocab.Settings().changed(**run.record["settings"])
    settings = given_then.changed(tag_threshold=args.tag_threshold, max_tags=args.max_tags)
    made = run.record["tagger"]
    spec = args.tagger or _EMBEDDED.get(made["spec"], made["spec"])
    pipe = openvocab.load(tagger=spec, device=args.device, dtype=made["dtype"])
    if pipe.tagger is None:
        raise openvocab.BadInput(f"{spec} is no tagger; name the run's tagger with --tagger")
    folder = args.out or f"{str(run.path).rstrip('/')}-relabeled"
    vocabulary = openvocab.Pipeline(pipe.tagger, None, None, settings).vocabulary(names, prompts)
    summary = write(run, pipe.tagger, folder, vocabulary, settings, overwrite=args.overwrite)
    if summary.rows:
        say(f"{summary.rows} rows written to {folder} in {summary.seconds:.1f} s, {summary.skipped} were there before")
    else:
        say(f"nothing to do: all {summary.skipped} images have a row in {folder}")
    return 0
