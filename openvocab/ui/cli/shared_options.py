"""Options and help texts that several commands share."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import openvocab
from openvocab import PromptSet

__all__ = ["DEVICE_HELP", "DTYPE_HELP", "TEMPLATE_HELP", "add_label_options", "number_or_word", "prompts_of"]

DEVICE_HELP = "cuda, mps or cpu (default: the fastest available)"
TEMPLATE_HELP = 'prompt template, for example "a drawing of a {label}"; repeat it to average several'
DTYPE_HELP = "float32, bfloat16 or float16 (default: depends on the device)"


def add_label_options(command: ArgumentParser) -> None:
    """Add --labels and --template."""
    command.add_argument("--labels", required=True, help='"a, b", a file with one label per line, or a label set')
    command.add_argument("--template", action="append", metavar="T", help=TEMPLATE_HELP)


def number_or_word(text: str) -> int | str:
    """Return a whole number as an int, and any other text as it is."""
    return int(text) if text.isdecimal() else text


def prompts_of(args: Namespace) -> PromptSet:
    """Return the prompts of --template; a single value may also be the name of a prompt set or a file."""
    given = args.template
    return openvocab.prompt_set(given[0] if given and len(given) == 1 else given)
