"""Replace parts of a library by faster ones, if both give the same answer when a model is loaded.

A substitute is written against the code of one release. Another release may rename a method, add an argument or return
something else, and a substitute that still runs may then give wrong answers silently. So both run once on a tiny input.
If their answers differ, or if one of them fails, the library's part stays, with one warning.
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
        part: its name in the warning, e.g. "the image attention of SAM".
        answer: selects what is compared and used of the part's answer.

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
        part: name of the part in the warning.
        kind: the library's class.
        both: returns the library's answer and the substitute's to the same tiny input; random numbers are seeded.
        tolerance: see agree.

    Returns:
        False, with one OpenVocabWarning, if the answers differ in structure, shape or value, or if one of them fails.
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
                f"{release} gives another answer than openvocab's faster code for {part} ({why}); the library's "
                "slower code is used",
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
