"""What the tasks of `openvocab evaluate` share: where images are, where the report goes, what labels are called."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import openvocab
from openvocab.errors import BadInput, unknown
from openvocab.weights.manifest import preset_records

__all__ = ["add_data", "add_models", "class_map", "own_settings", "refuse_out", "spec_of"]

MAP_HELP = 'call labels of the data something else: "n01440764=tench, n01443537=goldfish", or a .txt file of such lines'


def add_data(made: ArgumentParser, formats: Sequence[str], formats_help: str) -> None:
    """Add the options that say what is measured."""
    made.add_argument("--data", required=True, metavar="PATH", help="the folder or file of the images")
    made.add_argument("--format", required=True, choices=formats, help=formats_help)
    made.add_argument("--out", required=True, metavar="DIR", help="the folder for the report")
    made.add_argument("--labels", help="choose among these labels, all of the data's among them (default: the data's)")
    made.add_argument("--class-map", metavar="MAP", help=MAP_HELP)


def refuse_out(args: Namespace) -> None:
    """Look at --out, since loading models takes longer than this.

    Raises:
        BadInput: it is no folder, or the data lies in it or it in the data, where its plots would count as images.
    """
    from openvocab.batch.writer import refuse_target

    refuse_target(args.out, [args.data])
    if os.path.realpath(args.out).startswith(os.path.join(os.path.realpath(args.data), "")):
        raise BadInput(f"--out {args.out} lies in --data {args.data}; give a folder outside it")


def class_map(text: str | None) -> dict[str, str]:
    """Return label of the data -> its name.

    Raises:
        BadInput: an entry has no =, or names a label twice; or the file cannot be read.
    """
    from openvocab.prompts.files import read_lines

    if text is None:
        return {}
    entries = read_lines(text) if text.endswith(".txt") else [part for part in text.split(",") if part.strip()]
    made: dict[str, str] = {}
    for entry in entries:
        old, sign, new = (part.strip() for part in entry.partition("="))
        if not (sign and old and new) or old in made:
            raise BadInput(f"--class-map has {entry.strip()!r}; write each label once, as old=new")
        made[old] = new
    return made


def add_models(made: ArgumentParser, stage: str, preset: str) -> None:
    """Add the options that name the model of one stage; preset is the one where none is named."""
    models = made.add_argument_group("models")
    models.add_argument("--preset", metavar="NAME", help=f"take the {stage} of a preset (default: {preset})")
    models.add_argument(f"--{stage}", metavar="SPEC", help=f"any {stage}, as FAMILY:CHECKPOINT")
    models.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    models.add_argument("--dtype", help="float32, bfloat16 or float16 (default: what suits the device)")
    made.set_defaults(usual_preset=preset)


def own_settings(args: Namespace, stage: str) -> openvocab.Settings:
    """Return the settings that go with the model of a stage: the preset's own, unless a SPEC names the model."""
    record = None if getattr(args, stage) else preset_records().get(args.preset or args.usual_preset)
    return openvocab.Settings().changed(**({} if record is None else record.settings))


def spec_of(args: Namespace, stage: str) -> str:
    """Return the SPEC of the stage that the arguments mean.

    Raises:
        BadInput: both a preset and a SPEC are given.
        UnknownName: there is no preset of that name.
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
    return known[name]
