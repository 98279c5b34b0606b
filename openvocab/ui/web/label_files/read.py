"""An uploaded file of labels as the text that a person would type."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openvocab
from openvocab import LabelSet
from openvocab.errors import BadInput
from openvocab.prompts.set_files import NEGATIVES
from openvocab.ui.web.images import file_name
from openvocab.ui.web.text_inputs import parse_labels

__all__ = ["SUFFIXES", "as_typed", "text_of_file"]

SUFFIXES = (".txt", ".yaml", ".yml", ".json")
_MAX_BYTES = 2**21


def as_typed(labels: Sequence[str]) -> str:
    """Return labels as a person would type them; as a JSON list where commas would not do."""
    text = ", ".join(labels)
    return text if not labels or parse_labels(text) == tuple(labels) else json.dumps(labels, ensure_ascii=False)


def text_of_file(paths: Sequence[str] | None) -> str:
    """Return the labels of an uploaded .txt, .yaml or .json file, or the words of a prompt file, as text.

    A label set with synonyms, children or negatives is a JSON object, as parse_vocabulary reads it.

    Args:
        paths: The path of the upload, alone in a list.

    Raises:
        BadInput: no file was chosen, it is too large or of another kind, or its labels cannot be used; the message
            has the file's name without its path.
    """
    if not paths:
        raise BadInput("there is no file of labels; choose a .txt, .yaml or .json file")
    path, name = Path(paths[0]), file_name(paths[0])
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{name!r} is no file of labels; choose a .txt, .yaml or .json file")
    words = _words_of_prompt(path)
    if words is not None:
        return as_typed(openvocab.read_labels(words))
    if path.stat().st_size > _MAX_BYTES:
        raise BadInput(f"{name!r} has more than {_MAX_BYTES} bytes; leave labels out")
    try:
        return _typed_set(openvocab.read_label_set(path))
    except BadInput as error:
        raise BadInput(str(error).replace(str(path), name)) from error


def _words_of_prompt(path: Path) -> list[str] | None:
    """Return the words of a prompt file, whose images are not decoded; None for another file.

    Raises:
        BadInput: it has none.
    """
    try:
        plain = json.loads(path.read_bytes()) if path.suffix.lower() == ".json" else None
    except (ValueError, RecursionError):  # read_label_set names the cause
        return None
    if not isinstance(plain, Mapping) or not str(plain.get("format", "")).startswith("openvocab"):
        return None
    words = plain.get("labels")
    if not isinstance(words, list) or not words:
        raise BadInput(f"the prompt {path.name!r} has no words; load it where prompt files are loaded")
    return words


def _typed_set(found: LabelSet) -> str:
    if found.is_plain:
        return as_typed(tuple(found.labels))
    plain: dict[str, Any] = {}
    for label in found.labels:
        parts = {"synonyms": list(found.synonyms.get(label, ())), "children": list(found.children.get(label, ()))}
        plain[label] = {name: some for name, some in parts.items() if some}
    if found.negatives:
        plain[NEGATIVES] = list(found.negatives)
    return json.dumps(plain, ensure_ascii=False)
