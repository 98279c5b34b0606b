"""Prompt: words, exemplars, what is not meant, marks and memory in one value, saved as one file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from openvocab.errors import BadInput, CannotWrite
from openvocab.prompts.exemplars import Exemplar, Mark
from openvocab.prompts.labels import check_labels
from openvocab.prompts.plain import list_of, refuse_unknown
from openvocab.prompts.sets import refuse_shared

__all__ = ["Prompt", "read_prompt"]

_FORMAT = "openvocab-prompt"
_VERSION = 1
_MAX_BYTES = 2**28
_WORDS = ("labels", "negative_labels")
_EXEMPLARS = ("exemplars", "negative_exemplars", "memory")
MEMORY = 8
"""Exemplars of one label that the memory keeps: the latest."""


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """What to look for, and what is not meant. Give it wherever labels go; its fields become tuples.

    Attributes:
        labels: Words to look for.
        exemplars: Objects to look for, several a label. A label that is not among `labels` is looked for by its
            exemplars alone; it is only what its boxes are called.
        negative_labels: Words that are not meant: boxes that fit them better are dropped.
        negative_exemplars: Objects that are not meant, likewise.
        marks: Objects marked on the one image that is asked about; they go to the segmenter.
        memory: Earlier answers as further exemplars; see remembering.
    """

    labels: Sequence[str] = ()
    exemplars: Sequence[Exemplar] = ()
    negative_labels: Sequence[str] = ()
    negative_exemplars: Sequence[Exemplar] = ()
    marks: Sequence[Mark] = ()
    memory: Sequence[Exemplar] = ()

    def __post_init__(self) -> None:
        """Check the labels.

        Raises:
            BadInput: a label is given twice, as positive and negative, or cannot be used.
        """
        for name in (each.name for each in fields(self)):
            given = getattr(self, name)
            if name in _WORDS and len(given):
                given = check_labels(given)
            object.__setattr__(self, name, tuple(given))
        if self.classes:
            check_labels(self.classes)
        refuse_shared(self.classes, {}, self.negative_labels)

    @property
    def unnamed(self) -> tuple[str, ...]:
        """The labels that are looked for by exemplars alone, in the order of their first exemplar."""
        shown = (each.label for each in (*self.exemplars, *self.memory))
        return tuple(dict.fromkeys(label for label in shown if label not in self.labels))

    @property
    def classes(self) -> tuple[str, ...]:
        """All labels that boxes of the detector may have, those that are read as words first."""
        return (*self.labels, *self.unnamed)

    @property
    def beyond_words(self) -> bool:
        """Whether it holds exemplars or negatives, which not every detector takes."""
        return any(len(getattr(self, name)) for name in ("negative_labels", *_EXEMPLARS))

    @property
    def digest(self) -> str:
        """The sha256 of everything in it; the same after it was saved and read."""
        parts = [[getattr(self, name) for name in _WORDS]]
        parts += [[each.digest for each in getattr(self, name)] for name in (*_EXEMPLARS, "marks")]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def examples_of(self, label: str) -> tuple[Exemplar, ...]:
        """Return the exemplars of a label, those of the memory last."""
        return tuple(each for each in (*self.exemplars, *self.memory) if each.label == label)

    def remembering(self, *exemplars: Exemplar) -> Prompt:
        """Return it with earlier answers in its memory, which keeps the last 8 of a label; see exemplars_of."""
        kept: list[Exemplar] = []
        for each in reversed((*self.memory, *exemplars)):
            if sum(one.label == each.label for one in kept) < MEMORY:
                kept.append(each)
        return replace(self, memory=tuple(reversed(kept)))

    def without(self, label: str) -> Prompt:
        """Return it without a label: its word, its exemplars, its marks and its memory, positive and negative.

        Raises:
            BadInput: nothing has that label.
        """
        given: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        kept: dict[str, Any] = {
            name: tuple(each for each in has if _label(each) != label) for name, has in given.items()
        }
        if kept == given:
            known = dict.fromkeys(_label(each) for has in given.values() for each in has)
            raise BadInput(f"the prompt has no label {label!r}; it has {', '.join(filter(None, known)) or 'none'}")
        return Prompt(**kept)

    def plain(self) -> dict[str, Any]:
        """Return plain JSON types; entries that are empty are left out."""
        made: dict[str, Any] = {name: list(getattr(self, name)) for name in _WORDS}
        made |= {name: [each.plain() for each in getattr(self, name)] for name in (*_EXEMPLARS, "marks")}
        entries = {name: each for name, each in made.items() if each}
        return {"format": _FORMAT, "version": _VERSION, "digest": self.digest, **entries}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to one JSON file. The file holds crops of the exemplars' images, and no path or other metadata.

        Raises:
            CannotWrite: the file cannot be written; a file that was there is unchanged.
        """
        target, name = Path(path), ""
        try:
            with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False, encoding="utf-8") as file:
                name = file.name
                json.dump(self.plain(), file, indent=1)
            os.chmod(name, 0o644)
            os.replace(name, target)
        except OSError as error:
            with suppress(OSError):
                os.unlink(name)
            raise CannotWrite(f"prompt file {str(path)!r} cannot be written ({error.strerror})") from error

    @classmethod
    def of(cls, plain: Any) -> Prompt:
        """Return what plain described.

        Raises:
            BadInput: it is not of this format, an entry is unknown or cannot be used, or the digest does not fit.
        """
        if not isinstance(plain, Mapping) or plain.get("format") != _FORMAT:
            raise BadInput(f"it is not of the format {_FORMAT!r}; write it with Prompt.save or openvocab prompt add")
        if plain.get("version") != _VERSION:
            found = plain.get("version")
            raise BadInput(f"it has version {found!r:.20}, and this openvocab reads {_VERSION}; update openvocab")
        names = [each.name for each in fields(cls)]
        refuse_unknown(plain, {*names, "format", "version", "digest"}, "it")
        lists: dict[str, list[Any]] = {name: list_of(plain, name) for name in names}
        shown = {name: tuple(Exemplar.of(each) for each in lists[name]) for name in _EXEMPLARS}
        given: dict[str, Any] = {**lists, **shown, "marks": tuple(Mark.of(each) for each in lists["marks"])}
        made = cls(**given)
        if plain.get("digest", made.digest) != made.digest:
            raise BadInput(
                "its content is not that of its digest; take an undamaged copy, or leave out the entry 'digest' if the "
                "file was changed by hand"
            )
        return made


def _label(one: str | Exemplar | Mark) -> str:
    return one if isinstance(one, str) else one.label


def read_prompt(path: str | os.PathLike[str]) -> Prompt:
    """Read a prompt that save wrote.

    Raises:
        BadInput: the file does not exist, is too large, or is no prompt; the message names it and the cause.
    """
    name, remedy = repr(os.fspath(path)), "write it with Prompt.save or openvocab prompt add"
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise BadInput(f"prompt file {name} is larger than {_MAX_BYTES} bytes; {remedy}")
        plain = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"prompt file {name} does not exist; check the path, or {remedy}") from error
    except OSError as error:
        raise BadInput(f"prompt file {name} cannot be read ({error.strerror}); check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"prompt file {name} is not valid JSON; take an undamaged copy, or {remedy}") from error
    try:
        return Prompt.of(plain)
    except BadInput as error:
        raise BadInput(f"prompt file {name} cannot be used: {error}") from error
