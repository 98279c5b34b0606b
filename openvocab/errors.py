"""Every error that openvocab raises on purpose, in one tree.

OpenVocabError
    BadInput (ValueError)        the caller's labels, templates, thresholds, arrays or paths
        ImageError               an image that cannot be read; carries a kind from a closed set
    UnknownName (LookupError)    no model family, preset or label set of that name
    BadWeights (RuntimeError)    a checkpoint is absent, of another architecture, or fails its digest
    BadOutput (RuntimeError)     a model answered with numbers that are not finite
    ModelFailed (RuntimeError)   a model fails on every image, so that a run ends
    OutOfMemory (MemoryError)    an image is too much for the memory, even alone
    CannotWrite (OSError)        a run folder cannot be written: full, read-only, or in use
    MissingExtra (ImportError)   a feature needs an optional dependency
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Literal, get_args

__all__ = [
    "BadInput",
    "BadOutput",
    "BadWeights",
    "CannotWrite",
    "ImageError",
    "ImageErrorKind",
    "MissingExtra",
    "ModelFailed",
    "OpenVocabError",
    "OpenVocabWarning",
    "OutOfMemory",
    "UnknownName",
    "counted",
    "require",
    "unknown",
]

ImageErrorKind = Literal[
    "missing",
    "not_a_file",
    "unreadable",
    "empty",
    "not_an_image",
    "unsupported",
    "truncated",
    "corrupt",
    "too_large",
    "vanished",
    "decoder_crashed",
]


class OpenVocabError(Exception):
    """The root of the tree: catch this one to catch them all."""


class BadInput(OpenVocabError, ValueError):
    """What the caller gave cannot be used; the message names it, the cause and the remedy."""


class ImageError(BadInput):
    """One image cannot be read.

    Attributes:
        kind: why, one of ImageErrorKind.
    """

    def __init__(self, kind: ImageErrorKind, message: str) -> None:
        super().__init__(message)
        if kind not in get_args(ImageErrorKind):
            raise TypeError(f"kind must be one of {get_args(ImageErrorKind)}, got {kind!r}")
        self.kind: ImageErrorKind = kind

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        """Both arguments, so that the error can pass between processes."""
        return type(self), (self.kind, str(self))


class UnknownName(OpenVocabError, LookupError):
    """There is no model family, preset or label set of that name."""


class BadWeights(OpenVocabError, RuntimeError):
    """A checkpoint is not there, is not the pinned one, or belongs to another architecture."""


class BadOutput(OpenVocabError, RuntimeError):
    """A model answered with numbers that are not finite, so there is no score to report."""


class ModelFailed(OpenVocabError, RuntimeError):
    """A model fails on every image, so that a run ends rather than mark the rest as done; what was finished is kept."""


class OutOfMemory(OpenVocabError, MemoryError):
    """An image needs more memory than there is, even in a batch of one."""


class CannotWrite(OpenVocabError, OSError):
    """A run folder cannot be written, or another process writes it; what was finished before is whole."""


class MissingExtra(OpenVocabError, ImportError):
    """A feature needs a package that is not installed; the message holds the command that installs it."""


class OpenVocabWarning(UserWarning):
    """Something was accepted, but not quite as it was given."""


_MOST_NAMES = 30
"""Names that an error lists in full."""


def unknown(kind: str, name: str, known: Iterable[str], *, see: str = "") -> UnknownName:
    """Return the error for a name that does not exist, with the nearest one that does; of many, the nearest few.

    Args:
        see: The command that lists all of them.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = names if len(names) <= _MOST_NAMES else get_close_matches(name, names, n=5, cutoff=0)
    others = f" and {len(names) - len(shown)} others" if len(shown) < len(names) else ""
    return UnknownName(
        f"no {kind} named {name!r}; {hint}known: {', '.join(shown)}{others}" + (f"; see: {see}" if see else "")
    )


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: 1 image, 2 images; many is the plural that is not the noun with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module.

    Raises:
        MissingExtra: it is not installed. A module that is installed but broken raises its own error.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingExtra(f"{module} is not installed; run: pip install 'openvocab[{extra}]'") from error
