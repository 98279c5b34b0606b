"""Deciding without loading a model whether a command has anything left to do."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvocab
from openvocab.batch.changes import Known, refuse_changes
from openvocab.batch.manifest import faults
from openvocab.batch.run_folder import RunFolder, read_run
from openvocab.batch.run_options import RunOptions, Summary
from openvocab.batch.writer import source_of
from openvocab.errors import OpenVocabError
from openvocab.images.sources import Names

__all__ = ["command_record", "nothing_to_do"]


def command_record(models: Mapping[str, str | None], **more: Any) -> dict[str, Any] | None:
    """Return the digest of a command for run.json, or None if a model is a local file or folder.

    Local weights may change between runs, so they have to be read; those of presets and of the hub are pinned.

    Args:
        models: The preset and SPECs, by option.
        more: All other options that decide the content of rows.
    """
    if any(_is_local(spec) for spec in models.values() if spec):
        return None
    text = json.dumps([{name: spec for name, spec in models.items() if spec}, more], sort_keys=True, default=str)
    return {"digest": hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()}


def _is_local(spec: str) -> bool:
    rest = spec.partition(":")[2]
    return any(os.path.exists(part) for part in (rest, rest.partition(":")[2], rest.partition("@")[2]) if part)


def nothing_to_do(folder: str, images: Names, options: RunOptions) -> Summary | None:
    """Return the summary of a run that is complete, or None if models have to be loaded.

    The folder must hold a run of the same command, written by this version. Nothing in it is changed.

    Raises:
        BadInput: There is no image, an input is in the folder, a part cannot be read, or inputs have changed and the
            options refuse that.
    """
    if options.command is None or options.overwrite or not os.path.isdir(folder):
        return None
    try:
        record = read_run(folder).record
    except OpenVocabError:
        return None
    if record.get("asked") != dict(options.command) or record.get("openvocab") != openvocab.__version__:
        return None
    if faults(Path(folder)):
        return None
    known, count = Known(RunFolder(Path(folder))), 0
    if options.retry_errors and known.errors:
        return None
    for item in known.over(source_of(folder, images, options)(known.skip)):
        if not item.skipped:
            return None
        count += 1
    changes = known.finish()
    if options.on_change == "refuse":
        refuse_changes(folder, changes)
    if options.on_change == "redo" and known.replaced:
        return None
    return Summary(folder, skipped=count, errors_kept=known.errors, changed=changes.counts)
