"""Options and help texts that several commands share."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import openvocab
from openvocab import LabelSet, Prompt, PromptSet
from openvocab.errors import BadInput
from openvocab.prompts.labels import labels_outside
from openvocab.ui.cli.output import complain

__all__ = [
    "DEVICE_HELP",
    "DTYPE_HELP",
    "EMBEDDED",
    "LABELS_HELP",
    "TEMPLATE_HELP",
    "add_label_options",
    "labels_of",
    "no_image",
    "number_or_word",
    "prompts_of",
    "tell_scope",
]

EMBEDDED = "pocket"
"""The preset whose models ship with the package, and the label set of the words that they know."""
_MAX_NAMED = 5

DEVICE_HELP = "cuda, mps or cpu (default: the fastest available)"
LABELS_HELP = '"a, b", a .txt file with one label per line, a .yaml file with synonyms, or a label set'
TEMPLATE_HELP = 'prompt template, for example "a drawing of a {label}"; repeat it to average several'
DTYPE_HELP = "float32, bfloat16 or float16 (default: depends on the device)"


def add_label_options(command: ArgumentParser, *, prompt: bool = False) -> None:
    """Add --labels and --template; with prompt also --prompt, which may stand in place of --labels."""
    command.add_argument("--labels", required=not prompt, help=LABELS_HELP)
    if prompt:
        command.add_argument("--prompt", metavar="FILE", help="a prompt file, in place of --labels")
    command.add_argument("--template", action="append", metavar="T", help=TEMPLATE_HELP)


def number_or_word(text: str) -> int | str:
    """Return a whole number as an int, and any other text as it is."""
    return int(text) if text.isdecimal() else text


def labels_of(args: Namespace) -> str | Prompt:
    """Return --labels, or the prompt of --prompt.

    Raises:
        BadInput: both or none are given, or the file is no prompt.
    """
    given: str | None = args.labels
    path: str | None = args.prompt
    if (given is None) == (path is None):
        raise BadInput("give either --labels or --prompt, the words or a prompt file")
    return openvocab.read_prompt(path) if path is not None else given or ""


def no_image(paths: Sequence[str | bytes]) -> BadInput:
    """Return the error for paths without an image."""
    return BadInput(f"no image in {', '.join(map(str, paths))}; give an image, or a folder that holds some")


def _outside(given: str | Sequence[str] | LabelSet | Prompt) -> list[str]:
    """Return the labels that the embedded models know neither by name nor by a synonym, a child or an exemplar."""
    if isinstance(given, Prompt):
        return labels_outside(
            (word for word in given.labels if word not in {one.label for one in given.exemplars}), EMBEDDED
        )
    words = openvocab.read_label_set(given)
    groups = [(each, *words.synonyms.get(each, ()), *words.children.get(each, ())) for each in words.labels]
    return [group[0] for group in groups if labels_outside(group, EMBEDDED) == list(group)]


def tell_scope(preset: str | None, labels: str | Sequence[str] | LabelSet | Prompt, *, chosen: bool) -> None:
    """Print on stderr what the embedded models know, if nobody chose them, and which of the labels they do not know."""
    if preset != EMBEDDED:
        return
    if not chosen:
        known = f"{openvocab.label_sets()[EMBEDDED]} drawn objects and no photographs"
        complain(f"{EMBEDDED}, the default preset, knows {known}; for photographs, see: openvocab models")
    outside = _outside(labels)
    if outside:
        more = f" and {len(outside) - _MAX_NAMED} more" if len(outside) > _MAX_NAMED else ""
        named = f"{', '.join(map(repr, outside[:_MAX_NAMED]))}{more}"
        complain(f"{EMBEDDED} does not know {named}: such scores mean nothing; see: openvocab labels show {EMBEDDED}")


def prompts_of(args: Namespace) -> PromptSet:
    """Return the prompts of --template; a single value may also be the name of a prompt set or a file."""
    given = args.template
    return openvocab.prompt_set(given[0] if given and len(given) == 1 else given)
