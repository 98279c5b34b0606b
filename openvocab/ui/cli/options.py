"""The arguments of the command line; every default and help text of a setting is read from openvocab.Settings."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser, _ArgumentGroup, _SubParsersAction
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import openvocab
from openvocab.errors import unknown
from openvocab.pipeline.calibration import Calibration
from openvocab.pipeline.settings import Tiles
from openvocab.ui.cli import (
    everything_command,
    export_model_command,
    fit_command,
    labels_command,
    prompt_command,
    relabel_command,
    review_command,
    serve_command,
)
from openvocab.ui.cli.evaluate_command import add_tasks
from openvocab.ui.cli.export_command import add_options
from openvocab.ui.cli.shared_options import DEVICE_HELP, DTYPE_HELP, EMBEDDED, add_label_options, number_or_word
from openvocab.ui.cli.weights_commands import JSON_HELP as LIST_JSON_HELP
from openvocab.ui.cli.weights_commands import add_actions

__all__ = ["DEFAULT_PRESET", "Parser", "option_names", "parser"]

DEFAULT_PRESET = EMBEDDED
"""The models of a command line that names none."""

_TAG_SETTINGS = ("tag_threshold", "max_tags", "windows", "tiles", "min_object", "batch_size", "calibration")

PATHS_HELP = (
    "an image, - (stdin: paths or one image), a folder, a pattern, a list (.txt, .csv, .parquet), a shard (.tar), "
    "a dataset saved to disk"
)

_CONFIG_HELP = "read options from a .yaml, .toml or .json file, see: openvocab config show; the command line wins"

_OFFLINE_HELP = "never use the network, like HF_HUB_OFFLINE=1"

JSON_HELP = "print JSON and nothing else: one summary of the run with --out, else one row an image"

PRESET_HELP = f"models that belong together, see: openvocab models (default: {DEFAULT_PRESET}, where no SPEC is given)"


class Parser(ArgumentParser):
    """An argument parser with the global options, whose errors are one line and exit status 2."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add the global options, so that they work before and after the command."""
        super().__init__(*args, **kwargs)
        group = self.add_argument_group("global options")
        group.add_argument("--offline", action="store_true", default=SUPPRESS, help=_OFFLINE_HELP)
        group.add_argument("--config", metavar="FILE", default=SUPPRESS, help=_CONFIG_HELP)
        group.add_argument("--version", action="version", version=f"openvocab {openvocab.__version__}")

    def _check_value(self, action: Action, value: Any) -> None:
        """Refuse a value that is none of an option's choices, with the nearest one."""
        if action.choices is not None and value not in action.choices:
            kind = f"value of {(*action.option_strings, action.dest)[0]}"
            kind = "command" if isinstance(action, _SubParsersAction) else kind
            self.error(str(unknown(kind, str(value), map(str, action.choices))))

    def error(self, message: str) -> NoReturn:
        """Print the message and leave."""
        self.exit(2, f"openvocab: {message}; see: {self.prog} --help\n")


def _plain_type(hint: Any) -> Any:
    """The type of a setting without its None."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(hint) and len(kinds) == 1 else hint


def _how(hint: Any) -> dict[str, Any]:
    """The keywords of add_argument for a type."""
    kind = _plain_type(hint)
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if kind == Tiles:
        return {"type": number_or_word, "metavar": "N | auto"}
    if kind is Calibration:
        return {"metavar": "FILE"}
    return {"type": kind, "metavar": "N" if kind is int else "X"}


def _setting(group: _ArgumentGroup, field: Field[Any], hint: Any) -> None:
    """Add one setting; its default is None, so that Settings decides."""
    default = "" if field.default is None else f" (default: {field.default})"
    text = f"{field.metadata['help']}{default}".replace("%", "%%")
    group.add_argument(f"--{field.name.replace('_', '-')}", default=None, help=text, **_how(hint))


def _settings(command: ArgumentParser, names: Sequence[str]) -> None:
    """Add settings by name; a setting has the same option in every command."""
    group = command.add_argument_group("settings", "a preset may have its own defaults")
    known = {field.name: field for field in fields(openvocab.Settings)}
    hints = get_type_hints(openvocab.Settings)
    for name in names:
        _setting(group, known[name], hints[name])


def _models(command: ArgumentParser, stages: tuple[str, ...]) -> None:
    group = command.add_argument_group("models")
    group.add_argument("--preset", metavar="NAME", help=PRESET_HELP)
    for stage in stages:
        group.add_argument(f"--{stage}", metavar="SPEC", help=f"any {stage}, as FAMILY:CHECKPOINT")
    group.add_argument("--device", help=DEVICE_HELP)
    group.add_argument("--dtype", help=DTYPE_HELP)


def _images(command: ArgumentParser, *, prompt: bool = False) -> None:
    command.add_argument("paths", nargs="+", metavar="PATH", help=PATHS_HELP)
    add_label_options(command, prompt=prompt)
    command.add_argument("--json", action="store_true", help=JSON_HELP)


def _run(command: ArgumentParser, out: str, *, required: bool = False) -> None:
    """Add how images are read and where rows are kept."""
    group = command.add_argument_group("run")
    group.add_argument("--out", required=required, metavar="RUN", help=out)
    group.add_argument("--overwrite", action="store_true", help="replace an existing run in the folder")
    group.add_argument(
        "--on-change",
        choices=("keep", "redo", "refuse"),
        help="for replaced inputs: keep their rows, process them again, or stop (default: keep)",
    )
    group.add_argument("--retry-errors", action="store_true", help="process inputs again whose rows are errors")
    group.add_argument(
        "--frames",
        type=number_or_word,
        default="first",
        metavar="first | all | N",
        help="frames or pages to process; with all or N, each is a row PATH#frame=3 (default: %(default)s)",
    )
    group.add_argument("--strict", action="store_true", help="stop at the first image that fails")
    group.add_argument("--allow-urls", action="store_true", help="fetch images named by http:// and https://")
    group.add_argument("--workers", type=int, metavar="N", help="threads that decode (default: one a core)")
    group.add_argument("--isolate", action="store_true", help="decode in processes that may crash")
    group.add_argument("--devices", metavar="A,B", help="a worker process each: cuda:0,cuda:1; cuda*2 names one twice")
    group.add_argument(
        "--engine",
        choices=("process", "ray"),
        default="process",
        help="what --devices means: processes of this machine, or actors of Ray (default: %(default)s)",
    )
    group.add_argument(
        "--part-rows", type=int, metavar="N", help="write a part after N rows, or a minute (default: 4096)"
    )
    group.add_argument("--cache", metavar="DIR", help="keep what the tagger makes of images and labels, for other runs")
    group.add_argument(
        "--features", choices=("float16", "float32"), help="also store the tagger's features of each image"
    )


def _others(add: Callable[[str, str], Parser]) -> None:
    """Add the commands that run no chain; add makes the parser of a name and what it says."""
    models = add("models", "List the presets and the model families.")
    models.add_argument("names", nargs="*", metavar="NAME", help="a preset or a family, to list that alone")
    models.add_argument("--json", action="store_true", help=LIST_JSON_HELP)
    labels_command.add_actions(add("labels", "List and show the label sets; check labels of your own."))
    add_actions(add("weights", "List, fetch, check and carry the checkpoints that openvocab knows."))
    add_options(add("export", "Write the rows of a run in the format of another tool."))
    export_model_command.add_options(add("export-model", export_model_command.DESCRIPTION))
    prompt_command.add_actions(add("prompt", "Write, show and change prompt files: words, exemplars, negatives."))
    relabel = add("relabel", "Give the images of a run other tags from its stored features; reads no image.")
    relabel_command.add_options(relabel)
    _settings(relabel, ("tag_threshold", "max_tags", "calibration"))
    add_tasks(add("evaluate", "Score models on images whose labels are known."), DEFAULT_PRESET)
    fit_command.add_options(add("fit", fit_command.DESCRIPTION), DEFAULT_PRESET)
    review_command.add_options(add("review", review_command.DESCRIPTION))
    serve_command.add_options(add("serve", "Open the web demo: a page to try, correct and export."), DEFAULT_PRESET)
    config = add("config", "Show the options of a command as a file for --config.")
    config.add_argument("action", choices=("show",), help="print the defaults, with what --config changes")
    config.add_argument("of", nargs="*", metavar="COMMAND", help="the command, for example: annotate")
    completion = add("completion", "Print the completion script of a shell, to be sourced.")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    doctor = add("doctor", "Show versions, devices, caches and which presets can run here.")
    doctor.add_argument("--json", action="store_true", help=LIST_JSON_HELP)


def option_names(command: ArgumentParser) -> set[str]:
    """Return the names that the options of a command and of those below it have as arguments, such as box_threshold."""
    names = {name[2:].replace("-", "_") for action in command._actions for name in action.option_strings}
    for action in command._actions:
        if isinstance(action, _SubParsersAction):
            names.update(*map(option_names, action.choices.values()))
    return names


def parser() -> Parser:
    """Return the parser of `openvocab`; the parsed arguments name the command as `command`."""
    made = Parser(prog="openvocab", description="Words in; tags, boxes and masks out.", allow_abbrev=False)
    made.set_defaults(offline=False, config=None)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, says: str) -> Parser:
        return commands.add_parser(name, help=says, description=says, allow_abbrev=False)

    demo = add("demo", "Run the embedded models on the images that ship with them.")
    demo.add_argument(
        "--out", default="openvocab-demo", metavar="DIR", help="for the annotated images (default: %(default)s)"
    )

    tag = add("tag", "Tag whole images with labels.")
    _images(tag)
    _run(tag, "write the rows to this run folder, or resume it, instead of printing them")
    tag.add_argument(
        "--decode-size", type=int, metavar="N", help="decode JPEGs smaller, their shorter side N pixels or more"
    )
    _models(tag, ("tagger",))
    _settings(tag, _TAG_SETTINGS)

    annotate = add("annotate", "Find boxes and masks of labels; write rows and annotated images to a run folder.")
    _images(annotate, prompt=True)
    _run(annotate, "the run folder: rows, and annotated images in its images/", required=True)
    annotate.add_argument("--no-images", dest="images", action="store_false", help="write no annotated image")
    _models(annotate, ("tagger", "detector", "segmenter"))
    _settings(annotate, [field.name for field in fields(openvocab.Settings)])

    every = add("everything", 'Segment every object; name each by a label, or "unknown".')
    everything_command.add_options(every, DEFAULT_PRESET)
    _others(add)
    return made
