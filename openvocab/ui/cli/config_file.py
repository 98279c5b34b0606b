"""Options from a file: `--config run.yaml` gives defaults, and the command line overrides them."""

from __future__ import annotations

import json
import tomllib
from argparse import SUPPRESS, Action, ArgumentParser, Namespace, _AppendAction, _StoreAction, _SubParsersAction
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from openvocab.errors import BadInput, unknown

__all__ = ["chosen_command", "file_of", "read_config", "show_config", "use_config"]

_NO_OPTION = ("help", "version", "config", "json", "offline")


def file_of(arguments: Sequence[str]) -> str | None:
    """Return the file that the arguments name with --config, or None."""
    alone = ArgumentParser(add_help=False, allow_abbrev=False)
    alone.add_argument("--config", default=None)
    file: str | None = alone.parse_known_args(arguments)[0].config
    return file


def read_config(path: str) -> dict[str, Any]:
    """Read a mapping from a .yaml, .toml or .json file.

    Raises:
        BadInput: The file is absent, damaged, or holds no mapping.
    """
    import yaml

    readers = {".toml": tomllib.loads, ".json": json.loads}
    try:
        found = readers.get(Path(path).suffix.lower(), yaml.safe_load)(Path(path).read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); give a .yaml, .toml or .json file") from error
    except (ValueError, yaml.YAMLError) as error:
        cause = " ".join(str(error).split())[:200]
        raise BadInput(f"{path} cannot be read ({cause}); write one 'option: value' a line") from error
    if not isinstance(found, dict):
        raise BadInput(f"{path} holds {type(found).__name__}, not options; write one 'option: value' a line")
    return {str(name): value for name, value in found.items()}


def chosen_command(parser: ArgumentParser, arguments: Sequence[str]) -> ArgumentParser:
    """Return the parser of the command that the arguments name; the deepest, where commands have commands."""
    for argument in arguments:
        nested = next((action for action in parser._actions if isinstance(action, _SubParsersAction)), None)
        if nested is None:
            break
        parser = nested.choices.get(argument, parser)
    return parser


def use_config(command: ArgumentParser, config: Mapping[str, Any], path: str) -> None:
    """Make the values of a file the defaults of a command's options.

    A key is an option without its dashes, or the name of a command whose value holds the options of that command.

    Raises:
        BadInput: A value does not fit its option, or an option is unknown; the message names it.
    """
    names = command.prog.split()
    own = {name: value for name, value in config.items() if not isinstance(value, Mapping)}
    for part in names:
        section = config.get(part, {})
        own |= section if isinstance(section, Mapping) else {}
    actions = {_key(action): action for action in command._actions if _key(action) not in _NO_OPTION}
    for name, value in own.items():
        key = str(name).replace("_", "-")
        if key not in actions:
            near = get_close_matches(key, actions, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise BadInput(f"{path}: {name!r} is no option of {command.prog}; {hint}see: {command.prog} --help")
        if value is not None:
            action = actions[key]
            action.default, action.required = _value(action, value, f"{path}: {name}"), False
            if action.nargs == "+":
                action.nargs = "*"


def show_config(args: Namespace, parser: ArgumentParser) -> str:
    """Return the options of a command as YAML that --config reads: the defaults, and what the file changes.

    A setting that neither names is null: the preset's own default holds, and a value would take its place.

    Raises:
        UnknownName: There is no such command.
        BadInput: The file cannot be used.
    """
    import yaml

    command = chosen_command(parser, args.of or ())
    if args.of and command.prog.split()[-1] != args.of[-1]:
        nested = next(action for action in command._actions if isinstance(action, _SubParsersAction))
        raise unknown("command", args.of[-1], nested.choices)
    if args.config:
        use_config(command, read_config(args.config), args.config)
    values = {}
    for action in command._actions:
        if _key(action) not in _NO_OPTION and not isinstance(action, _SubParsersAction):
            default = None if action.default is SUPPRESS else action.default
            if not isinstance(action, _StoreAction | _AppendAction):
                default = default == action.const
            values[_key(action)] = default
    shown = str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True)).rstrip()
    return f"# null: the default, which a preset may have of its own; see: {command.prog} --help\n{shown}"


def _key(action: Action) -> str:
    """Return the name of an option without dashes, or that of a positional argument."""
    long = [text for text in action.option_strings if text.startswith("--")]
    return long[0].removeprefix("--") if long else action.dest.replace("_", "-")


def _value(action: Action, value: Any, what: str) -> Any:
    """Return the value of a file as the command line would give it.

    Raises:
        BadInput: It does not fit the option.
    """
    if not isinstance(action, _StoreAction | _AppendAction):  # a switch
        if not isinstance(value, bool):
            raise BadInput(f"{what} is a switch; write true or false, not {value!r}")
        return action.const if value else not action.const
    several = isinstance(action, _AppendAction) or action.nargs in ("+", "*")
    if several:
        return [_one(action, each, what) for each in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        value = ", ".join(map(str, value))  # labels: [dog, cat]
    return _one(action, value, what)


def _one(action: Action, value: Any, what: str) -> Any:
    kind = action.type if callable(action.type) else str
    try:
        made = kind(str(value))
    except (TypeError, ValueError) as error:
        raise BadInput(f"{what}: {value!r} is no {getattr(kind, '__name__', 'value')}; write another value") from error
    if action.choices is not None and made not in action.choices:
        raise BadInput(f"{what}: {value!r} is not one of {', '.join(map(str, action.choices))}")
    return made
