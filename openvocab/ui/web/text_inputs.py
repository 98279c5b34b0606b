"""Labels and templates typed into the page.

The library also accepts a path to a file of labels. The page does not, since the file would be on the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import openvocab
from openvocab import LabelSet, PromptSet
from openvocab.errors import BadInput
from openvocab.prompts.labels import json_list, labels_outside
from openvocab.ui.web.texts import strings

__all__ = ["describe_labels", "parse_labels", "parse_template", "parse_vocabulary"]

_VOCABULARIES = {"pocket": "pocket"}
"""Preset -> label set of the words that its models were trained on."""
_MAX_NAMED = 5


def parse_labels(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """Parse labels separated by commas, semicolons or newlines, a JSON list, or the name of a label set.

    Of a JSON object, which is a label set with synonyms, children or negatives, these are the labels.

    Duplicates that differ in case or spaces at most are merged; the first one stays.

    Raises:
        BadInput: there is no label, or a label is invalid; the message names it and the cause.
    """
    if text is None or isinstance(text, str):
        text = (text or "").strip()
        if text.startswith("{"):
            return tuple(_typed_set(text).labels)
        if text in openvocab.label_sets():
            return openvocab.read_labels(text)
        text = json_list(text) or _merged([label for label in re.split(r"[,;，；、،؛\n\r]", text) if label.strip()])
        if not text:
            raise BadInput("there are no labels; type what to look for, for example: apple, guitar, dog")
    return openvocab.read_labels(list(text))


def parse_vocabulary(text: str | Sequence[str] | None) -> tuple[str, ...] | LabelSet:
    """Parse labels as parse_labels does; a JSON object is a LabelSet.

    Raises:
        BadInput: see parse_labels; or the object is no label set.
    """
    if isinstance(text, str) and text.strip().startswith("{"):
        return _typed_set(text)
    return parse_labels(text)


def _typed_set(text: str) -> LabelSet:
    """Return the label set of a JSON object.

    Raises:
        BadInput: it is not JSON, or no label set.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput('labels that begin with { must be a label set as JSON, {"tent": ["camping tent"]}') from error
    return LabelSet.of(plain, "the label set")


def _merged(labels: list[str]) -> list[str]:
    """Return the labels without duplicates."""
    first: dict[str, str] = {}
    for label in labels:
        first.setdefault(" ".join(label.split()).casefold(), label)
    return list(first.values())


def parse_template(text: str | None) -> PromptSet | None:
    """Parse templates, one per line; None if the text is blank.

    Raises:
        BadInput: a template does not contain {label} exactly once, or contains another brace.
    """
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return openvocab.prompt_set(lines) if lines else None


def describe_labels(text: str | None, preset: str = "") -> tuple[str, bool]:
    """Return the number of labels or the error as one line, and whether the labels are valid.

    Args:
        text: Labels as typed.
        preset: Preset of the models; where its vocabulary is known, the line says so and names labels outside it.
    """
    known = _VOCABULARIES.get(preset)
    knows = "" if known is None else f" {strings.knows(preset, openvocab.label_sets()[known])}"
    if not (text or "").strip():
        return strings.SEPARATE + knows, True
    try:
        labels = parse_labels(text)
    except openvocab.OpenVocabError as error:
        return str(error), False
    outside = labels_outside(labels, known) if known else []
    if not outside:
        return f"{strings.labels(len(labels))}.{knows}", True
    named, more = outside[:_MAX_NAMED], max(0, len(outside) - _MAX_NAMED)
    return strings.unknown_labels(len(labels), preset, named, more) + knows, True
