"""The download of an uploaded folder, uploaded again: its images under their names, and its corrections.

Whoever uploads an archive may have written anything into it. A correction is taken only if it is of an image of the
upload with the same bytes, and if its masks fit that image; it is written anew, and other files of the run are ignored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import openvocab
from openvocab.batch.corrections.correction import Correction, from_json
from openvocab.batch.corrections.folder import CORRECTIONS, write_correction
from openvocab.batch.ownership import RECORD
from openvocab.batch.run_folder import describe, open_run
from openvocab.errors import ImageError
from openvocab.images.read import read_file
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.masks import EncodedMasks
from openvocab.pipeline.verdict import VERIFICATION
from openvocab.ui.web.served.entries import UPLOADED, Entry
from openvocab.ui.web.uploads.archives import Members

__all__ = ["RUN", "RunFiles", "restore", "split_download"]

RUN = "run"
"""Folder of the answers and corrections beside the images, in the download and on the server."""

RunFiles = Mapping[str, Path]
"""Path below the run folder of a download -> its unpacked file."""

_CORRECTION = re.compile(rf"{CORRECTIONS}/[0-9a-f]{{32}}\.json")
_MAX_BYTES = 2**23
"""Maximum size of a correction or record; one with 500 masks of a large image needs a tenth of it."""


def split_download(members: Members) -> tuple[Members, RunFiles] | None:
    """Return the images of a download under the names that they had, and the files of its run.

    The images and the run may be in a folder, as after a person unpacked the download and packed it again.

    Args:
        members: The members of an archive.

    Returns:
        None for an archive that is no download of an uploaded folder.
    """
    marks = [name for name, _ in members if f"/{name}".endswith(f"/{RUN}/{RECORD}")]
    top = min(marks, key=len, default="").removesuffix(f"{RUN}/{RECORD}")
    images, run = f"{top}{UPLOADED}/", f"{top}{RUN}/"
    if not marks or not all(name.startswith((images, run)) for name, _ in members):
        return None
    files = {name.removeprefix(run): file for name, file in members if name.startswith(run)}
    kept = {name: file for name, file in files.items() if not isinstance(file, ImageError)}
    return [(name.removeprefix(images), file) for name, file in members if name.startswith(images)], kept


def restore(run: Path, downloads: Sequence[RunFiles], entries: Iterable[Entry], pixels: int) -> int:
    """Write the corrections and the labels of downloads into a run folder; return how many corrections do not fit.

    Args:
        run: The run folder, without a run.
        downloads: The files of each download's run.
        entries: The images of the upload.
        pixels: The largest accepted width times height.

    Raises:
        CannotWrite: the disk is full.
    """
    by_id = {each.id: each for each in entries if each.path is not None}
    given = [file for files in downloads for name, file in files.items() if _CORRECTION.fullmatch(name)]
    fitting = [each for file in given if (each := _correction(file, by_id, pixels)) is not None]
    for each in reversed(fitting):  # of two for one image, the first stays
        write_correction(run, each)
    if fitting:
        with open_run(run, _record([files[RECORD] for files in downloads])):
            pass
    return len(given) - len(fitting)


def _correction(file: Path, entries: Mapping[str, Entry], pixels: int) -> Correction | None:
    """Return the correction in a file; None if it does not fit an image."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            return None
        found = from_json(file.read_bytes(), file)
        entry = entries[found.id]
        path = entry.path or ""
        return found if _fits(found, pixels) and found.sha256 == _digest(path, entry.name, pixels) else None
    except (openvocab.OpenVocabError, LookupError, TypeError, ValueError, AttributeError):
        return None


def _digest(path: str, name: str, pixels: int) -> str:
    return hashlib.sha256(read_file(path, repr(name), pixels)).hexdigest()


def _fits(found: Correction, pixels: int) -> bool:
    size = found.width, found.height
    if not all(isinstance(each, int) and each > 0 for each in size) or found.width * found.height > pixels:
        return False
    every = [found.detections, found.found, *([] if found.rejected is None else [found.rejected])]
    names = {*found.labels, *(tag.label for tag in found.tags), *(label for each in every for label in each.labels)}
    names |= {verdict.label for each in every for verdict in each.data.get(VERIFICATION, ()) if verdict.label}
    texts = all(isinstance(each, str) for each in (*found.keys, *found.removed))
    numbers = all(isinstance(tag.score, int | float) for tag in found.tags)
    fits = all(_masks_fit(each, found.width * found.height) for each in every)
    return texts and numbers and fits and _are_labels(names)


def _are_labels(names: Iterable[str]) -> bool:
    """Whether each name is one that a label may have."""
    try:
        return all(openvocab.read_labels([name]) == (name,) for name in names)
    except openvocab.OpenVocabError:
        return False


def _masks_fit(detections: Detections, area: int) -> bool:
    """Whether the run lengths of each mask cover an image of this area in pixels."""
    masks = detections.masks
    return not isinstance(masks, EncodedMasks) or all(_covered(each) == area for each in masks.counts)


def _covered(counts: str) -> int:
    """Return the pixels that COCO's compressed run-length counts cover; -1 if they are malformed.

    A run is written in groups of five bits, the lowest first, and from the fourth on as the difference from the second
    run before it.
    """
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 32) == 0)
    if not len(codes) or ((codes < 0) | (codes > 63)).any() or not len(ends) or ends[-1] != len(codes) - 1:
        return -1
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 6:
        return -1
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & 31) << shifts, starts)
    values = np.where(codes[ends] & 16, values - (np.int64(1) << (5 * lengths)), values)
    runs = np.concatenate([values[:1], np.cumsum(values[1::2]), np.cumsum(values[2::2])])
    return int(runs.sum()) if (runs >= 0).all() else -1


def _record(files: Sequence[Path]) -> dict[str, Any]:
    """Return the content of run.json: that of the first download as far as it is sound, and the labels of all."""
    empty = asdict(openvocab.RunRecord(openvocab.__version__, None, None, None, (), "", ""))
    found = [_json(file) for file in files]
    known = {name: found[0][name] for name in empty if name in found[0]}
    labels = dict.fromkeys(label for each in found for label in _labels(each.get("labels")))
    return describe({**empty, **known}, list(labels), features=None, feature_size=None, decode_size=None)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes()) if file.stat().st_size <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _labels(given: Any) -> Sequence[str]:
    """Return a list of labels as it is; nothing if it is something else."""
    words = isinstance(given, list) and all(isinstance(each, str) for each in given)
    return given if words and _are_labels(given) else ()
