"""Prompt templates: sentences with a {label} placeholder, which is replaced literally."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from openvocab.errors import BadInput, unknown
from openvocab.prompts.files import is_file, read_lines

__all__ = ["PromptSet", "prompt_set", "prompt_sets"]

_SLOT = "{label}"
_CUSTOM = "custom"


def _normalized(template: object) -> str:
    """Return the template with its one placeholder written {label}.

    Raises:
        BadInput: it is no string, holds no placeholder or more than one, or holds another brace.
    """
    if not isinstance(template, str):
        raise BadInput(f"template {template!r} is not a string; write a sentence with one {_SLOT}")
    text = template.replace("{}", _SLOT)
    count = text.count(_SLOT)
    if count > 1:
        raise BadInput(f"template {template!r} holds {count} placeholders; write {_SLOT} exactly once")
    if re.search("[{}]", text.replace(_SLOT, "")):
        raise BadInput(f"template {template!r} holds a brace that is not part of {_SLOT}; write no other brace")
    if not count:
        raise BadInput(f"template {template!r} has no place for the label; write {_SLOT} where the label goes")
    return text


@dataclass(frozen=True, slots=True)
class PromptSet:
    """One or more templates; the embeddings of several are averaged.

    Attributes:
        name: What the set is called in results.
        templates: Each holds {label} exactly once; {} is accepted and stored as {label}.
    """

    name: str
    templates: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check every template.

        Raises:
            BadInput: there is no template, or one lacks {label}, has it twice, or holds another brace.
        """
        templates: object = self.templates
        if isinstance(templates, str) or not self.templates:
            raise BadInput(f"prompt set {self.name!r} needs a list of at least one template with {_SLOT}")
        object.__setattr__(self, "templates", tuple(_normalized(template) for template in self.templates))

    @property
    def digest(self) -> str:
        """The first 12 hex digits of the sha256 of the templates: it changes when any of them does."""
        return hashlib.sha256(json.dumps(self.templates).encode()).hexdigest()[:12]

    def fill(self, label: str) -> tuple[str, ...]:
        """Return one sentence per template with the label filled in, whatever characters it contains."""
        return tuple(template.replace(_SLOT, label) for template in self.templates)


@cache
def prompt_sets() -> Mapping[str, PromptSet]:
    """Return the prompt sets that have a name."""
    data = tomllib.loads(files("openvocab").joinpath("prompts/templates.toml").read_text("utf-8"))
    return MappingProxyType({name: PromptSet(name, tuple(templates)) for name, templates in data.items()})


def prompt_set(spec: str | Sequence[str] | PromptSet | None = None) -> PromptSet:
    """Return the prompt set of a name, a file or a template.

    Args:
        spec: a name, one template, a list of templates, the path of a .txt file with one template a line,
            a PromptSet, or None for the set `simple`.

    Raises:
        BadInput: a template has no {label}, or more than one, or another brace; or the file cannot be read.
        UnknownName: there is no prompt set of that name.
    """
    if isinstance(spec, PromptSet):
        return spec
    if spec is None:
        return prompt_sets()["simple"]
    if isinstance(spec, str):
        return _from_text(spec)
    if not isinstance(spec, Sequence):
        raise BadInput(f"prompt set {spec!r} is not understood; give a name, a template or a list of templates")
    return PromptSet(_CUSTOM, tuple(spec))


def _from_text(text: str) -> PromptSet:
    """Read a text as a name, a file or a template; raise UnknownName if it is none of them."""
    sets = prompt_sets()
    if text in sets:
        return sets[text]
    if text.endswith(".txt") and ("{" not in text or is_file(text)):
        return PromptSet(_CUSTOM, tuple(read_lines(text)))
    if re.search(r"[{}%\s]", text):
        return PromptSet(_CUSTOM, (text,))
    raise unknown("prompt set", text, sets)
