"""The tags of a RAM checkpoint: names and thresholds from the files beside it, embeddings from its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadWeights

__all__ = ["LIST", "THRESHOLDS", "RamTags", "read_descriptions", "read_lines"]

Floats = NDArray[np.float32]

LIST, THRESHOLDS = "ram_tag_list.txt", "ram_tag_list_threshold.txt"
"""The files that belong beside a checkpoint, by the authors' names (ram/data/ of their code)."""

COMMON = 0.68
"""Threshold of a tag without one of its own in the authors' code; here a tag's threshold is moved to it."""

UNSEEN = 0.5
"""Threshold of a label that is none of the tags, in the authors' inference_ram_plus_openset.py."""

_PUBLISHED = 4585
_PUBLISHED_DIGEST = "5d96d2f7225527480ad773aaac76b6e5c08a18adf6eae9ca7d2ab923d5e7bd8b"
"""Of the lines of the published list, joined by newlines."""

_SURE = 1 - 1e-6
"""Stands for a threshold of 1, which no score passes and whose logit is infinite."""


@dataclass(frozen=True, eq=False, slots=True)
class RamTags:
    """N tags.

    Attributes:
        names: The N names, in the order of the weights.
        thresholds: (N,) float32, the score from which each is a tag.
        embeddings: (N, K, D) float32: embeddings of K descriptions of each, of length 1; K is 1 for RAM.
        rows: The index of each name, in lower case.
    """

    names: tuple[str, ...]
    thresholds: Floats
    embeddings: Floats
    rows: Mapping[str, int]

    @classmethod
    def of(cls, names: Sequence[str], thresholds: Sequence[str], rows: Floats, where: Path) -> RamTags:
        """Match a list of names and a list of thresholds to (N * K, D) rows of the weights.

        Raises:
            BadWeights: The list does not fit the weights, or a threshold is none.
        """
        count = len(names)
        if not count or not len(rows) or len(rows) % count:
            raise BadWeights(f"{where}: the {count} tags of {LIST} do not fit the {len(rows)} label embeddings there")
        if count == _PUBLISHED and hashlib.sha256("\n".join(names).encode()).hexdigest() != _PUBLISHED_DIGEST:
            raise BadWeights(
                f"{where}: {LIST} has {count} tags, as the published list, but others or in another order; "
                "download it again"
            )
        index = {_plain(name): row for row, name in enumerate(names)}
        if len(index) != count:
            raise BadWeights(f"{where}: {LIST} names a tag twice, so its order cannot be trusted; download it again")
        return cls(tuple(names), _numbers(thresholds, count, where), rows.reshape(count, -1, rows.shape[-1]), index)

    def find(self, label: str) -> int | None:
        """Return the index of the tag of that name, in any case, or None."""
        return self.rows.get(_plain(label))

    def shift(self, label: str) -> float:
        """Return what is added to a label's logit, so that its own threshold becomes the common one."""
        row = self.find(label)
        own = UNSEEN if row is None else float(self.thresholds[row])
        return _logit(COMMON) - _logit(min(own, _SURE))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file beside a checkpoint.

    Raises:
        BadWeights: It is absent or is no text.
    """
    try:
        return path.read_text("utf-8").splitlines()
    except FileNotFoundError as error:
        raise BadWeights(
            f"{path}: there is no such file; put the authors' {LIST} and {THRESHOLDS} (ram/data/ in their repository) "
            "beside the weights"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadWeights(f"{path}: this file cannot be read as text; download it again") from error


def read_descriptions(path: Path) -> dict[str, tuple[str, ...]]:
    """Return label -> descriptions of a JSON file: one object, or a list of objects as the authors' code writes.

    Raises:
        BadWeights: The file is absent or holds something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadWeights(f"{path}: the descriptions of labels cannot be read as JSON; check the path") from error
    pairs = [pair for each in (content if isinstance(content, list) else [content]) for pair in _pairs(each)]
    if not pairs or not all(texts and all(isinstance(text, str) for text in texts) for _, texts in pairs):
        raise BadWeights(f'{path}: write descriptions of labels as {{"label": ["sentence", ...], ...}}')
    return {_plain(label): tuple(texts) for label, texts in pairs}


def _pairs(value: object) -> list[tuple[str, list[str]]]:
    """Return the items of a mapping to lists; an empty pair, which is refused, for anything else."""
    if not isinstance(value, dict):
        return [("", [])]
    return [(label, texts if isinstance(texts, list) else []) for label, texts in value.items()]


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _numbers(texts: Sequence[str], count: int, where: Path) -> Floats:
    """Return (N,) thresholds over 0 and up to 1.

    Raises:
        BadWeights: There are not as many as tags, or one is no such number.
    """
    try:
        numbers = np.array([float(text) for text in texts], np.float32)
    except ValueError as error:
        raise BadWeights(f"{where}: {THRESHOLDS} has a line that is no number; download it again") from error
    if len(numbers) != count or not ((numbers > 0) & (numbers <= 1)).all():
        raise BadWeights(f"{where}: {THRESHOLDS} must have {count} numbers over 0 and up to 1, one a tag")
    return numbers


def _logit(score: float) -> float:
    return float(np.log(score / (1 - score)))
