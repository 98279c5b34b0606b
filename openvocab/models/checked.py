"""Replace parts of a library by faster ones, if both give the same answer when a model is loaded.

A substitute is written against code that was read. Another release may have renamed a method, added an argument or
changed what is returned, and a substitute that still runs may then answer wrongly without a word. So both ways answer
once for a tiny input. Where they differ, or where one of them fails, the library's own part stays, with one warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from openvocab.errors import OpenVocabWarning

__all__ = ["Example", "agree", "replace_checked", "same_answers"]

Example = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Arguments by position, and by name."""

_TOLERANCE = 1e-3
"""Of float32 answers of size 1. Sums in another order differ by less than 1e-5, a forgotten term by far more."""

_verdicts: dict[tuple[str, type], bool] = {}
"""Part and class of the library -> whether the substitute answers as it does; compared once a process."""


def replace_checked(
    holder: nn.Module,
    name: str,
    substitute: Callable[[Any], nn.Module],
    example: Callable[[Any], Example],
    part: str,
    answer: Callable[[Any], Any] = lambda made: made,
) -> bool:
    """Replace a part of a loaded model by a substitute, in place, if both give the same answer.

    Args:
        holder: the module that has the part.
        name: the attribute that it is.
        substitute: builds the substitute of the part.
        example: returns the arguments of the part's forward for a tiny input, on its device.
        part: what it is, as the warning names it, e.g. "the image attention of SAM".
        answer: picks what is read of what the part returns.

    Returns:
        Whether it was replaced.
    """
    old = getattr(holder, name)

    def both() -> tuple[Any, Any]:
        given, named = example(old)
        return answer(old.eval()(*given, **named)), answer(substitute(old).eval()(*given, **named))

    training = old.training
    try:
        alike = same_answers(part, type(old), both)
    finally:
        old.train(training)
    if alike:
        setattr(holder, name, substitute(old).train(training))
    return alike


def same_answers(part: str, kind: type, both: Callable[[], tuple[Any, Any]], tolerance: float = _TOLERANCE) -> bool:
    """Return whether a substitute gives the answer of a library's class; compared once a process.

    Args:
        part: what is replaced, as the warning names it.
        kind: the library's class.
        both: returns the library's answer and the substitute's to the same tiny input; random numbers are seeded.
        tolerance: see agree.

    Returns:
        False, with one OpenVocabWarning, where the answers differ in kind, shape or value, or where either way fails.
    """
    key = (part, kind)
    if key not in _verdicts:
        why = _difference(both, tolerance)
        _verdicts[key] = why is None
        if why is not None:
            library = kind.__module__.partition(".")[0]
            version = getattr(import_module(library), "__version__", "")
            release = f"{library} {version}".strip()
            warnings.warn(
                f"{release} answers otherwise than openvocab's quicker form of {part} ({why}); the library's own is "
                "used, which is slower",
                OpenVocabWarning,
                stacklevel=4,
            )
    return _verdicts[key]


def agree(one: Any, other: Any, tolerance: float = _TOLERANCE) -> bool:
    """Return whether two answers have the same structure and values within a tolerance.

    Tuples, lists, mappings and dataclasses are compared part by part; other values must be equal.

    Args:
        tolerance: the largest difference, absolute or as a share of the value.
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            return False
        exact = not one.is_floating_point()
        return bool(torch.equal(one, other) if exact else torch.allclose(one, other, rtol=tolerance, atol=tolerance))
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(agree(one[key], other[key], tolerance) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(agree(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if is_dataclass(one):
        return all(agree(getattr(one, each.name), getattr(other, each.name), tolerance) for each in fields(one))
    return bool(one == other)


def _difference(both: Callable[[], tuple[Any, Any]], tolerance: float) -> str | None:
    """Return how the two ways differ, or None."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny products are slower with several threads, by far where cores are taken
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0)
            return None if agree(*both(), tolerance) else "the answers differ"
    except Exception as error:  # of another release: other names, arguments or shapes, each with an error of its own
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        torch.set_num_threads(threads)
