"""What may differ between the record of a run and that of the command that resumes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openvocab.errors import BadInput

__all__ = ["refuse_another"]

_FREE = (
    "format",
    "openvocab",
    "sessions",
    "settings.batch_size",
    "settings.detector_batch_size",
    "settings.segmenter_batch_size",
    "tagger.device",
    "detector.device",
    "segmenter.device",
)
"""The entries of run.json that may differ between the sessions of one run."""
_IMPLIED = {"settings.mask_threshold": 0.0, "settings.verify": 0, "prompt": "", "label_set": ""}
"""The values of entries that records of earlier versions do not contain."""
_LONGEST = 120
"""Characters of a value in a message: labels and templates may be long."""


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in record.items():
        plain |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return plain


def refuse_another(path: Path, kept: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to resume a run under a record that gives other rows.

    Raises:
        BadInput: The records differ; the message lists the differences.
    """
    before, now = _IMPLIED | _flat(kept), _IMPLIED | _flat(new)
    odd = [
        f"{name}: {_short(before.get(name))} -> {_short(now.get(name))}"
        for name in [*before, *(name for name in now if name not in before)]
        if name not in _FREE and not name.startswith("asked.") and before.get(name) != now.get(name)
    ]
    if odd:
        said = "; ".join(each for each in odd if not each.startswith("labels_digest") or len(odd) == 1)
        raise BadInput(f"{path} holds another run ({said}); give another folder, or overwrite=True to start again")


def _short(value: Any) -> str:
    """Return a value as JSON, cut to what a message can hold."""
    more = isinstance(value, list) and len(value) > 4
    text = json.dumps(value[:3], ensure_ascii=False)[1:-1] if more else json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"{len(value)}: {text}, ..." if more else text
