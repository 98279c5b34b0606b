"""The commands, implemented with the public API."""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import BadInput, counted, require, unknown
from openvocab.ui.cli.batch_commands import OK, Failures, fill_run
from openvocab.ui.cli.config_file import show_config
from openvocab.ui.cli.evaluate_command import evaluate
from openvocab.ui.cli.everything_command import everything
from openvocab.ui.cli.export_command import export
from openvocab.ui.cli.export_model_command import export_model
from openvocab.ui.cli.fit_command import fit
from openvocab.ui.cli.labels_command import labels
from openvocab.ui.cli.options import DEFAULT_PRESET, parser
from openvocab.ui.cli.output import (
    complain,
    detections_of,
    megabytes,
    output_folder,
    presence_of,
    progress,
    say,
    say_json,
    table,
    tags_of,
)
from openvocab.ui.cli.prompt_command import prompt
from openvocab.ui.cli.relabel_command import relabel
from openvocab.ui.cli.review_command import review
from openvocab.ui.cli.serve_command import serve
from openvocab.ui.cli.shared_options import labels_of, no_image, prompts_of, tell_scope
from openvocab.ui.cli.standard_input import with_stdin
from openvocab.ui.cli.weights_commands import weights
from openvocab.weights.manifest import preset_records

if TYPE_CHECKING:
    from openvocab import Loader, Pipeline, Result

__all__ = ["COMMANDS"]

DEMO_LABELS = "pocket"

_OF_STAGE = {
    "tagger": ("tag_threshold", "max_tags", "windows", "verify", "template"),
    "detector": ("presence_threshold", "box_threshold", "nms_iou", "duplicates", "duplicate_iou", "max_boxes"),
}
"""Stage -> the options of `annotate` that only it reads."""


def _refuse_paths(args: Namespace) -> None:
    """Check --out and that there is an image, before models are loaded.

    Raises:
        BadInput: there is no image, one lies in --out, or that is no folder.
    """
    from openvocab.batch.inputs.target import refuse_target
    from openvocab.images.sources import items

    args.paths = with_stdin(args.paths)
    if args.out:
        refuse_target(args.out, args.paths)
    if next(items(args.paths, allow_urls=args.allow_urls, skip=lambda *_: True, without=args.out), None) is None:
        raise no_image(args.paths)


def _settings(args: Namespace) -> dict[str, Any]:
    """Setting -> what was given for it, or None."""
    return {field.name: getattr(args, field.name, None) for field in fields(openvocab.Settings)}


def _check(args: Namespace) -> None:
    """Validate labels, templates and settings before models are loaded; a calibration is read once."""
    if not isinstance(args.labels, openvocab.Prompt):
        args.labels = openvocab.read_label_set(args.labels)
    prompts_of(args)
    args.calibration = openvocab.Settings().changed(**_settings(args)).calibration


def _refuse_unused(args: Namespace, loader: Loader) -> None:
    """Check that the stage of each option is loaded.

    Raises:
        BadInput: an option belongs to a stage that is not loaded.
    """
    record = preset_records().get(loader.preset or "")
    if loader.preset and record is None:
        return  # loading says so
    for stage, names in _OF_STAGE.items():
        there = getattr(loader, stage) or (record is not None and getattr(record, stage))
        given = [name for name in names if getattr(args, name) is not None]
        if given and not there:
            raise BadInput(
                f"--{given[0].replace('_', '-')} is for a {stage}, and none is loaded; add one or leave it out"
            )


def _loader(args: Namespace, *stages: str) -> Loader:
    specs = {stage: getattr(args, stage) for stage in stages if getattr(args, stage)}
    preset = args.preset or (None if specs else DEFAULT_PRESET)
    alone = stages == ("tagger",)
    return openvocab.Loader(preset, **specs, dtype=args.dtype, tags_alone=alone, settings=_settings(args))


def _row(result: Result, **more: Any) -> dict[str, Any]:
    return {"source": result.source, "status": "ok", **more, **result.to_dict()}


def demo(args: Namespace) -> int:
    """Run the chain on the example scenes."""
    folder = output_folder(args.out)
    scenes = openvocab.example_scenes()
    pipe = openvocab.load(DEFAULT_PRESET)
    rows = []
    results = pipe.run([scene.path for scene in scenes], DEMO_LABELS)
    for scene, result in zip(scenes, progress(results, len(scenes)), strict=True):
        result.save(folder / f"{scene.name}.png")
        rows.append(
            (scene.name, ", ".join(scene.labels), tags_of(result, max_items=5), detections_of(result, max_items=6))
        )
    table(("image", "objects", "tags", "detections"), rows)
    say("")
    say(f"{counted(len(rows), 'annotated image')} in {folder}")
    return OK


def tag(args: Namespace) -> int:
    """Print the tags of images, or write them to a run folder.

    Raises:
        BadInput: an option that is about a run folder, and none is named.
    """
    about_folders = ("overwrite", "features", "decode_size", "retry_errors", "on_change", "devices", "part_rows")
    given = [f"--{name.replace('_', '-')}" for name in about_folders if getattr(args, name)]
    given += ["--engine"] if args.engine != "process" else []
    if given and not args.out:
        raise BadInput(f"{', '.join(given)} needs a run folder; name one with --out")
    _refuse_paths(args)
    _check(args)
    loader = _loader(args, "tagger")
    tell_scope(loader.preset, args.labels, chosen=args.preset is not None)
    return fill_run(args, loader, prompts_of(args)) if args.out else _print_tags(loader(args.device), args)


def _print_tags(pipe: Pipeline, args: Namespace) -> int:
    failures = Failures(say_json if args.json else lambda row: None)
    reading = {name: getattr(args, name) for name in ("allow_urls", "workers", "isolate", "cache", "frames")}
    results = pipe.run(args.paths, args.labels, template=prompts_of(args), on_error=failures, **reading)
    for result in progress(_until_failure(results, failures) if args.strict else results):
        if args.json:
            say_json(_row(result))
        else:
            say(f"{result.source}: {tags_of(result)}{presence_of(result)}")
        if result.notes:
            complain(f"{result.source}: {'; '.join(result.notes)}")
    return failures.status


def _until_failure(results: Iterator[Result], failures: Failures) -> Iterator[Result]:
    """Yield results up to the first image that has none."""
    for result in results:
        if failures.count:
            return
        yield result


def _refuse_tags_alone(args: Namespace) -> None:
    """Refuse a preset without a detector, since nothing could be boxed or drawn.

    Raises:
        BadInput: the preset tags whole images only, and no detector is named.
    """
    if any(one.name == args.preset and not (one.detector or args.detector) for one in openvocab.presets()):
        raise BadInput(
            f"preset {args.preset!r} gives tags only, no boxes or masks; run openvocab tag, or add --detector SPEC"
        )


def annotate(args: Namespace) -> int:
    """Write detections, masks and annotated images to a run folder.

    Raises:
        BadInput: the preset gives tags only, or there are neither labels nor a prompt.
    """
    args.labels = labels_of(args)
    _refuse_tags_alone(args)
    _refuse_paths(args)
    _check(args)
    loader = _loader(args, "tagger", "detector", "segmenter")
    _refuse_unused(args, loader)
    tell_scope(loader.preset, args.labels, chosen=args.preset is not None)
    return fill_run(args, loader, prompts_of(args), draw=args.images, line=True)


def models(args: Namespace) -> int:
    """Print the presets and the families, all or those named.

    Raises:
        UnknownName: there is neither a preset nor a family of a name.
    """
    presets, families = openvocab.presets(), {stage: list(names) for stage, names in openvocab.families().items()}
    known = {*(one.name for one in presets), *itertools.chain(*families.values())}
    for name in args.names:
        if name not in known:
            raise unknown("preset or model family", name, known)
    wanted = set(args.names) or known
    presets = [one for one in presets if one.name in wanted]
    families = {
        stage: kept for stage, names in families.items() if (kept := [each for each in names if each in wanted])
    }
    if args.json:
        say_json({"presets": [asdict(one) for one in presets], "families": families})
        return OK
    if presets:
        head = ("preset", "description", "license", "size")
        table(head, [(one.name, one.description, one.license, megabytes(one.size_bytes)) for one in presets])
    if presets and families:
        say("")
    if families:
        table(("stage", "families"), [(stage, ", ".join(names)) for stage, names in families.items()])
    return OK


def config(args: Namespace) -> int:
    """Print the options of a command as a file for --config."""
    for line in show_config(args, parser()).splitlines():
        say(line)
    return OK


def completion(args: Namespace) -> int:
    """Print the completion script of a shell.

    Raises:
        MissingExtra: shtab is not installed.
    """
    for line in require("shtab", extra="completion").complete(parser(), args.shell).splitlines():
        say(line)
    return OK


def doctor(args: Namespace) -> int:
    """Print the state of this installation."""
    from openvocab.ui.cli.doctor import doctor as examine

    return examine(args)


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "demo": demo,
    "tag": tag,
    "annotate": annotate,
    "models": models,
    "labels": labels,
    "weights": weights,
    "config": config,
    "completion": completion,
    "doctor": doctor,
    "everything": everything,
    "export": export,
    "export-model": export_model,
    "evaluate": evaluate,
    "fit": fit,
    "prompt": prompt,
    "relabel": relabel,
    "review": review,
    "serve": serve,
}
"""Command -> function that runs it and returns the exit status."""
