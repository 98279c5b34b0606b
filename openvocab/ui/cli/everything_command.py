"""The command `everything`: masks of all objects of images, each with a label or "unknown"."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import fields
from pathlib import Path

import openvocab
from openvocab.pipeline.everything import EverythingOptions
from openvocab.ui.cli.batch_commands import Failures
from openvocab.ui.cli.output import detections_of, output_folder, progress, say, say_json
from openvocab.ui.cli.shared_options import DEVICE_HELP, DTYPE_HELP, add_label_options, no_image, prompts_of, tell_scope

__all__ = ["add_options", "everything"]

_HELP = {
    "min_objectness": "drop proposals that score less",
    "unknown_threshold": 'objects whose best label scores less are "unknown"',
    "mask_iou": "of two masks that overlap more, keep the better",
    "points": "points along the longer side, where the detector proposes no objects",
    "max_objects": "keep at most this many objects an image",
}


def add_options(command: ArgumentParser, preset: str) -> None:
    """Add the options; preset is the default."""
    command.add_argument("paths", nargs="+", metavar="PATH", help="an image, a folder or a pattern")
    add_label_options(command)
    command.add_argument("--out", metavar="DIR", help="write annotated images to this folder")
    command.add_argument("--json", action="store_true", help="print JSON and nothing else, one row an image")
    models = command.add_argument_group("models")
    models.add_argument("--preset", metavar="NAME", help=f"see: openvocab models (default: {preset})")
    command.set_defaults(usual_preset=preset)
    models.add_argument("--device", help=DEVICE_HELP)
    models.add_argument("--dtype", help=DTYPE_HELP)
    group = command.add_argument_group("objects")
    for field in fields(EverythingOptions):
        kind, metavar = (int, "N") if field.type == "int" else (float, "X")
        default = "the detector's" if field.default is None else "%(default)s"
        text = f"{_HELP[field.name]} (default: {default})"
        group.add_argument(
            f"--{field.name.replace('_', '-')}", type=kind, default=field.default, metavar=metavar, help=text
        )


def everything(args: Namespace) -> int:
    """Segment and name everything in images.

    Raises:
        BadInput: options or labels that cannot be used, there is no image, or --out cannot be made a folder.
    """
    options = EverythingOptions(**{field.name: getattr(args, field.name) for field in fields(EverythingOptions)})
    paths = openvocab.find_images(args.paths)
    if not paths:
        raise no_image(args.paths)
    folder = None if args.out is None else output_folder(args.out)
    args.labels, preset = openvocab.read_label_set(args.labels), args.preset or args.usual_preset
    tell_scope(preset, args.labels, chosen=args.preset is not None)
    pipe = openvocab.load(preset, device=args.device, dtype=args.dtype)
    vocabulary = pipe.vocabulary(args.labels, prompts_of(args))
    failures = Failures(say_json if args.json else lambda row: None)
    chosen = {field.name: getattr(options, field.name) for field in fields(options)}
    for number, path in enumerate(progress(paths)):
        try:
            result = pipe.everything(path, vocabulary, **chosen)
        except (openvocab.ImageError, openvocab.BadOutput) as error:
            failures(path, error)
            continue
        if folder is not None:
            result.save(folder / f"{number:05d}-{Path(path).stem}.png")
        if args.json:
            say_json({"status": "ok", **result.to_dict()})
        else:
            say(f"{result.source}: {detections_of(result)}")
    return failures.status
