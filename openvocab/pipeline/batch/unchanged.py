"""Whether a command has anything left to do, told without loading a model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvocab
from openvocab.errors import OpenVocabError
from openvocab.pipeline.batch.changes import Known, refuse_changes
from openvocab.pipeline.batch.manifest import faults
from openvocab.pipeline.batch.run_folder import RunFolder, read_run
from openvocab.pipeline.batch.run_options import RunOptions, Summary
from openvocab.pipeline.batch.sources import Names
from openvocab.pipeline.batch.writer import source_of

__all__ = ["asked", "nothing_to_do"]


def asked(models: Mapping[str, str | None], **more: Any) -> dict[str, Any] | None:
    """Return what a command was given, for run.json; None where a model lies in a folder or file of the user's.

    Such weights may be other ones the next time, so that they have to be read to be known; those of presets and of the
    hub are pinned.

    Args:
        models: preset and SPECs, where they are given.
        more: all else that decides what rows hold.
    """
    if any(_lies_here(spec) for spec in models.values() if spec):
        return None
    text = json.dumps([{name: spec for name, spec in models.items() if spec}, more], sort_keys=True, default=str)
    return {"digest": hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()}


def _lies_here(spec: str) -> bool:
    rest = spec.partition(":")[2]
    return any(os.path.exists(part) for part in (rest, rest.partition(":")[2], rest.partition("@")[2]) if part)


def nothing_to_do(folder: str, pictures: Names, options: RunOptions) -> Summary | None:
    """Return what a run comes to that has every row already; None where models have to be loaded to know.

    The folder must hold a run of the same command, written by this version; nothing in it is touched.

    Raises:
        BadInput: nothing is found, an input lies in the folder, a part cannot be read, or options refuse what changed.
    """
    if options.asked is None or options.overwrite or not os.path.isdir(folder):
        return None
    try:
        record = read_run(folder).record
    except OpenVocabError:
        return None
    if record.get("asked") != dict(options.asked) or record.get("openvocab") != openvocab.__version__:
        return None
    if faults(Path(folder)):
        return None
    finished = RunFolder(Path(folder)).finished()
    if options.retry_errors and finished.errors:
        return None
    known, count = Known(Path(folder)), 0
    for item in known.over(source_of(folder, pictures, options)(known.skip)):
        if not item.skipped:
            return None
        count += 1
    changes = known.finish()
    if options.on_change == "refuse":
        refuse_changes(folder, changes)
    if options.on_change == "redo" and known.replaced:
        return None
    return Summary(folder, skipped=count, errors_kept=finished.errors, changed=changes.counts)
