"""Options, checks and output that the tasks of `openvocab evaluate` share."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import BadInput, counted, unknown
from openvocab.ui.cli.output import complain, say, table
from openvocab.ui.cli.shared_options import LABELS_HELP
from openvocab.weights.manifest import preset_records

if TYPE_CHECKING:
    from openvocab.evaluate.reports.report import Report, Run, Table

__all__ = [
    "ANNOTATED_HELP",
    "MAP_HELP",
    "add_data",
    "add_device",
    "add_models",
    "add_task",
    "add_vocabulary",
    "check_arguments",
    "class_map",
    "complain_unread",
    "digest_of",
    "finish",
    "given_labels",
    "model_spec",
    "own_settings",
]

ANNOTATED_HELP = (
    "coco, lvis: a JSON file of instances; saco: JSON of image and noun phrase pairs, several annotators as "
    "A.json,B.json; "
    "voc: a folder with Annotations and JPEGImages; yolo: a folder with data.yaml"
)
MAP_HELP = 'rename labels of the data: "n01440764=tench, n01443537=goldfish", or a .txt file with one pair per line'


def add_task(tasks: Any, name: str, description: str) -> ArgumentParser:
    """Add a task to the subparsers of `openvocab evaluate`; its help is the description's first sentence."""
    summary = f"{description.partition('. ')[0].rstrip('.')}."
    made: ArgumentParser = tasks.add_parser(name, help=summary, description=description, allow_abbrev=False)
    return made


def add_data(made: ArgumentParser, formats: Sequence[str], formats_help: str) -> None:
    """Add the options of the data and of the report."""
    made.add_argument("--data", required=True, metavar="PATH", help="folder or file of the images")
    made.add_argument("--format", required=True, choices=formats, help=formats_help)
    made.add_argument("--out", required=True, metavar="DIR", help="folder for the report")
    add_vocabulary(made)
    made.add_argument("--class-map", metavar="MAP", help=MAP_HELP)
    made.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the bootstrap intervals (default: 0)")


def add_vocabulary(made: ArgumentParser) -> None:
    """Add --labels and --prompt, of which one may be given; see given_labels."""
    text = f"vocabulary: {LABELS_HELP}; it must contain all labels of the data (default: the data's labels)"
    made.add_argument("--labels", help=text)
    text = (
        "a prompt file in place of --labels: its labels are the vocabulary, and models are asked for all that it holds"
    )
    made.add_argument("--prompt", metavar="FILE", help=text)


def add_models(made: ArgumentParser, stage: str, preset: str) -> None:
    """Add the options of a task with one model; preset is the default."""
    models = made.add_argument_group("models")
    models.add_argument("--preset", metavar="NAME", help=f"use the {stage} of a preset (default: {preset})")
    models.add_argument(f"--{stage}", metavar="SPEC", help=f"any {stage}, as FAMILY:CHECKPOINT")
    add_device(models, made, preset)


def add_device(models: Any, made: ArgumentParser, preset: str) -> None:
    """Add the options of the device."""
    models.add_argument("--device", help="cuda, mps or cpu (default: the best available)")
    models.add_argument("--dtype", help="float32, bfloat16 or float16 (default: depends on the device)")
    made.set_defaults(usual_preset=preset)


def check_arguments(args: Namespace) -> None:
    """Check numbers and --out before models are loaded, which takes long.

    Raises:
        BadInput: A number is too small; or --out is not a folder, contains the data, or lies inside the data, where
            its plots would count as images.
    """
    from openvocab.batch.inputs.target import refuse_target
    from openvocab.evaluate.metrics.checks import check_count

    check_count("--seed", args.seed, minimum=0)
    for name in ("batch_size", "limit"):
        if getattr(args, name, None) is not None:
            check_count(f"--{name.replace('_', '-')}", getattr(args, name))
    if args.out is None:
        return
    refuse_target(args.out, [args.data])
    if os.path.realpath(args.out).startswith(os.path.join(os.path.realpath(args.data), "")):
        raise BadInput(f"--out {args.out} lies in --data {args.data}; give a folder outside it")


def given_labels(args: Namespace) -> openvocab.LabelSet | openvocab.Prompt | None:
    """Return the vocabulary of --labels, or the prompt of --prompt; None if neither is given.

    Raises:
        BadInput: both are given, or one of them cannot be read.
    """
    if args.labels and args.prompt:
        raise BadInput("--labels and --prompt are both a vocabulary; give one of them")
    if args.prompt:
        return openvocab.read_prompt(args.prompt)
    return openvocab.read_label_set(args.labels) if args.labels else None


def digest_of(asked: openvocab.LabelSet | openvocab.Prompt | None) -> str:
    """Return the digest of a vocabulary that says more than its labels do; empty for labels."""
    return "" if asked is None else asked.digest


def class_map(text: str | None) -> dict[str, str]:
    """Return label of the data -> its new name.

    Raises:
        BadInput: An entry has no = or names a label twice, or the file cannot be read.
    """
    from openvocab.prompts.files import read_lines

    if text is None:
        return {}
    entries = read_lines(text) if text.endswith(".txt") else [part for part in text.split(",") if part.strip()]
    names: dict[str, str] = {}
    for entry in entries:
        old, sign, new = (part.strip() for part in entry.partition("="))
        if not (sign and old and new) or old in names:
            raise BadInput(f"--class-map has {entry.strip()!r}; write each label once, as old=new")
        names[old] = new
    return names


def own_settings(args: Namespace, stage: str) -> openvocab.Settings:
    """Return the settings of the model of a stage: the preset's own, unless a SPEC names the model."""
    record = None if getattr(args, stage) else preset_records().get(args.preset or args.usual_preset)
    return openvocab.Settings().changed(**({} if record is None else record.settings))


def model_spec(args: Namespace, stage: str) -> str:
    """Return the SPEC of a stage, from its own option or from the preset.

    Raises:
        BadInput: Both a preset and a SPEC are given, or the preset has no model for the stage.
        UnknownName: There is no preset of that name.
    """
    given = getattr(args, stage)
    if given and args.preset:
        raise BadInput(f"--preset and --{stage} both name a {stage}; give one of them")
    if given:
        return str(given)
    name = args.preset or args.usual_preset
    known: dict[str, str] = {preset.name: getattr(preset, stage) for preset in openvocab.presets()}
    if name not in known:
        raise unknown("preset", name, known)
    if not known[name]:
        raise BadInput(f"the preset {name!r} has no {stage} of its own; give --{stage}")
    return known[name]


def complain_unread(run: Run) -> None:
    """Print why each image could not be read."""
    for _, reason in run.unread:
        complain(reason)


def finish(args: Namespace, report: Report, labels: Sequence[str], more: Iterable[Table] = ()) -> int:
    """Write the report and print its tables; return 1 if an image could not be read, else 0."""
    report.write(args.out)
    table(*report.summary)
    for each in more:
        say("")
        table(*each)
    say("")
    say(f"{counted(len(report.run.names), 'image')}, {counted(len(labels), 'label')}; report in {args.out}")
    return 1 if report.run.unread else 0
