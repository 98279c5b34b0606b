"""What each command does, in terms of the public API."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openvocab
from openvocab.errors import BadInput, ImageError, unknown
from openvocab.ui.options import DEFAULT_PRESET
from openvocab.ui.output import complain, megabytes, progress, regions_of, say, say_json, table, tags_of

if TYPE_CHECKING:
    from openvocab import Pipeline, PromptSet, Result

__all__ = ["COMMANDS", "Names"]

OK, SOME_FAILED = 0, 1
DEMO_LABELS = "pocket"
LONGEST_STEM = 200
"""Bytes of a file's name that are kept for the annotated picture's; file systems allow 255."""


class Names:
    """File names for annotated pictures: NAME.png, then NAME-2.png, each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, source: str) -> str:
        """Return a name for the picture of that path; names that differ in case only are taken as the same."""
        stem = os.fsencode(Path(source).stem)[:LONGEST_STEM].decode("utf-8", "ignore") or "picture"
        number, name = 1, stem
        while name.casefold() in self._given:
            number += 1
            name = f"{stem}-{number}"
        self._given.add(name.casefold())
        return f"{name}.png"


class _Failures:
    """Rows for the pictures that could not be read, told as they are met."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.count = 0
        self._tell = tell

    def __call__(self, source: str | Path, error: ImageError) -> None:
        """Count the error, print it and hand on its row."""
        self.count += 1
        complain(str(error))
        self._tell({"source": str(source), "status": "error", "error_kind": error.kind, "error": str(error)})

    @property
    def status(self) -> int:
        """The exit status."""
        return SOME_FAILED if self.count else OK


def _folder(path: str) -> Path:
    """Make a folder, if it is not there.

    Raises:
        BadInput: it cannot be made.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {path!r} cannot be made a folder ({error.strerror}); give another path") from error
    return folder


def _pictures(paths: Sequence[str]) -> list[Path]:
    """Return the pictures that the paths mean.

    Raises:
        BadInput: there is none.
    """
    found = openvocab.find_images(paths)
    if not found:
        raise BadInput(f"no picture in {', '.join(paths)}; give a picture, or a folder that holds some")
    return found


def _settings(args: Namespace) -> dict[str, Any]:
    """Setting -> what was given for it, or None."""
    return {field.name: getattr(args, field.name, None) for field in fields(openvocab.Settings)}


def _template(args: Namespace) -> PromptSet:
    """The prompts: one --template may also be the name of a set or a file."""
    given = args.template
    return openvocab.prompt_set(given[0] if given and len(given) == 1 else given)


def _check(args: Namespace) -> None:
    """Refuse words and settings that cannot be used, since loading models takes longer than this."""
    openvocab.read_labels(args.labels)
    _template(args)
    openvocab.Settings().changed(**_settings(args))


def _load(args: Namespace, *stages: str) -> Pipeline:
    specs = {stage: getattr(args, stage) for stage in stages if getattr(args, stage)}
    preset = args.preset or (None if specs else DEFAULT_PRESET)
    return openvocab.load(preset, **specs, device=args.device, dtype=args.dtype, **_settings(args))


def _run(pipe: Pipeline, args: Namespace, pictures: Sequence[Path], failures: _Failures) -> Iterator[Result]:
    results = pipe.run(pictures, args.labels, template=_template(args), on_error=failures)
    return progress(results, len(pictures))


def _row(result: Result, **more: Any) -> dict[str, Any]:
    return {"source": result.source, "status": "ok", **more, **result.to_dict()}


def demo(args: Namespace) -> int:
    """Run the chain on the example scenes."""
    folder = _folder(args.out)
    scenes = openvocab.example_scenes()
    pipe = openvocab.load(DEFAULT_PRESET)
    rows = []
    results = pipe.run([scene.path for scene in scenes], DEMO_LABELS)
    for scene, result in zip(scenes, progress(results, len(scenes)), strict=True):
        result.save(folder / f"{scene.name}.png")
        rows.append((scene.name, ", ".join(scene.labels), tags_of(result, most=5), regions_of(result, most=6)))
    table(("picture", "what is there", "tags", "regions"), rows)
    say("")
    say(f"{len(rows)} annotated pictures in {folder}")
    return OK


def tag(args: Namespace) -> int:
    """Print the tags of pictures."""
    pictures = _pictures(args.paths)
    failures = _Failures(say_json if args.json else lambda row: None)
    _check(args)
    loaded = _load(args, "tagger")
    pipe = openvocab.Pipeline(loaded.tagger, None, None, loaded.settings)
    for result in _run(pipe, args, pictures, failures):
        if args.json:
            say_json(_row(result))
        else:
            say(f"{result.source}: {tags_of(result)}")
    return failures.status


def _refuse_overwriting(pictures: Sequence[Path], folder: Path) -> None:
    """Raise BadInput if a picture lies in the folder that is written to."""
    target = folder.resolve()
    for picture in pictures:
        if target in (picture.resolve().parent, picture.parent.resolve()):
            raise BadInput(f"{picture} lies in --out {folder} and could be overwritten; give another folder")


def annotate(args: Namespace) -> int:
    """Write annotated pictures and results.jsonl."""
    pictures = _pictures(args.paths)
    _refuse_overwriting(pictures, Path(args.out))
    _check(args)
    folder = _folder(args.out)
    pipe = _load(args, "tagger", "detector", "segmenter")
    with (folder / "results.jsonl").open("w", encoding="utf-8") as file:

        def keep(row: dict[str, Any]) -> None:
            print(json.dumps(row), file=file, flush=True)
            if args.json:
                say_json(row)

        return _annotate(pipe, args, pictures, keep)


def _annotate(pipe: Pipeline, args: Namespace, pictures: Sequence[Path], keep: Callable[[dict[str, Any]], None]) -> int:
    failures, names, done = _Failures(keep), Names(), 0
    for result in _run(pipe, args, pictures, failures):
        name = names(result.source)
        result.save(Path(args.out) / name)
        keep(_row(result, annotated=name))
        done += 1
        if not args.json:
            say(f"{result.source}: {regions_of(result)}")
    if not args.json:
        say(f"{done} annotated pictures and results.jsonl in {args.out}")
    return failures.status


def models(args: Namespace) -> int:
    """Print the presets and the families."""
    presets = openvocab.presets()
    table(
        ("preset", "what it is", "licence", "size"),
        [(one.name, one.description, one.licence, megabytes(one.size_bytes)) for one in presets],
    )
    say("")
    table(("stage", "families"), [(stage, ", ".join(names)) for stage, names in openvocab.families().items()])
    return OK


def labels(args: Namespace) -> int:
    """Print the label sets, or the labels of one."""
    sets = openvocab.label_sets()
    if args.name is None:
        rows = [(name, str(count), ", ".join(openvocab.read_labels(name)[:6])) for name, count in sets.items()]
        table(("label set", "labels", "begins with"), rows)
        return OK
    if args.name not in sets:
        raise unknown("label set", args.name, sets)
    for label in openvocab.read_labels(args.name):
        say(label)
    return OK


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "demo": demo,
    "tag": tag,
    "annotate": annotate,
    "models": models,
    "labels": labels,
}
"""Command -> what it does; each returns the exit status."""
