"""Which weights are trusted: a file's digest, checked when it is first loaded and remembered after that.

Three kinds of source are told apart. A file that the manifest pins must have that digest. Any other file of the hub or
of a URL is trusted when it is first used: its digest is written to trusted.json in the cache, and must stay the same.
A file of the user's own disk is only measured.

Reading gigabytes for each load would be slow, so digests.json keeps the digest of a file with its size, times and
inode. A file that changed less than two seconds ago is read again: its time could be the same after another change.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from openvocab.errors import BadWeights
from openvocab.weights.fetch import url_path
from openvocab.weights.files import sha256_of
from openvocab.weights.folders import cache_folder, read_table, update_table
from openvocab.weights.manifest import pinned_sha256, published

__all__ = ["FileMark", "file_mark", "measured_sha256", "refuse_changed", "source_of", "trusted_sha256"]

_LOG = logging.getLogger("openvocab")
_DIGESTS, _TRUSTED = "digests.json", "trusted.json"
_SETTLED_NS = 2_000_000_000

FileMark = tuple[int, ...]
"""Size, the times of the last change of content and of state, and inode; empty where there is no file."""


def file_mark(path: Path) -> FileMark:
    """Return what tells a file from another that takes its place."""
    return tuple(_mark(path.resolve()) or ())


def refuse_changed(paths: Sequence[Path], marks: Sequence[FileMark]) -> None:
    """Refuse files that are no longer those that were measured, after they were loaded.

    Raises:
        BadWeights: one was replaced or written meanwhile.
    """
    for path, mark in zip(paths, marks, strict=True):
        if file_mark(path) != mark:
            raise BadWeights(f"{path}: this file changed while it was loaded; load it again once it is whole")


def trusted_sha256(source: str, path: Path, *, anew: bool = False) -> str:
    """Return the sha256 of a weights file that is about to be loaded.

    Args:
        source: where the file came from: REPOSITORY/FILE or REPOSITORY@REVISION/FILE of a hub, a URL, or its path.
        path: the file.
        anew: read the file, whatever is remembered of it.

    Raises:
        BadWeights: the file is absent, not the one that the manifest pins, or not the one that was first used.
    """
    digest = measured_sha256(path, anew=anew)
    if Path(source) == path:
        return digest
    pinned = pinned_sha256(source)
    if pinned is None:
        _first_use(source, path, digest)
    elif digest != pinned:
        raise BadWeights(
            f"{source}: {path} has sha256 {digest[:12]}, but {pinned[:12]} is pinned; {_remedy(source, path)}"
        )
    return digest


def _first_use(source: str, path: Path, digest: str) -> None:
    """Trust a source's digest the first time, and hold it to that digest ever after."""
    before = read_table(_TRUSTED).get(source)
    if before is None:
        if update_table(_TRUSTED, source, digest):
            _LOG.info("%s is used for the first time; sha256 %s is trusted from now on", source, digest[:12])
    elif before != digest:
        raise BadWeights(
            f"{source}: {path} has sha256 {digest[:12]}, but {str(before)[:12]} was trusted at its first use; "
            f"{_remedy(source, path)}, or, if the change is meant, delete its line from {cache_folder()}/{_TRUSTED}"
        )


def _remedy(source: str, path: Path) -> str:
    """Say what brings the right file back: the hub's cache links to a copy, which has to go too."""
    real = path.resolve()
    if path.is_symlink():
        return f"delete it and {real}, which it links to, and fetch it again"
    if any(each.package and source in each.sources(file) for each in published().values() for file in each.files):
        return "install its package again"
    return "delete the file and fetch it again"


def measured_sha256(path: Path, *, anew: bool = False) -> str:
    """Return the sha256 of a file, from memory where the file has not changed since it was measured.

    Args:
        anew: read the file in any case.

    Raises:
        BadWeights: there is no such file.
    """
    real = path.resolve()
    mark = _mark(real)
    if mark is None or anew:
        return sha256_of(path)
    kept = _remembered(str(real))
    if kept is not None and kept[:-1] == mark:
        return str(kept[-1])
    digest = sha256_of(path)
    if _mark(real) == mark and time.time_ns() - max(mark[1], mark[2]) > _SETTLED_NS:
        update_table(_DIGESTS, str(real), [*mark, digest])
    return digest


def _mark(path: Path) -> list[int] | None:
    """Return size, the times of the last change of content and of state, and inode; None where there is no file."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino]


def _remembered(key: str) -> list[int | str] | None:
    kept = read_table(_DIGESTS).get(key)
    return kept if isinstance(kept, list) and len(kept) == 5 else None


def source_of(path: Path) -> str:
    """Return the source of a file by where it lies: REPOSITORY/FILE in the hub's cache, a URL in ours, else a path."""
    for each in published().values():
        if each.url and url_path(each.url) == path:
            return each.url
    parts = path.absolute().parts
    if "snapshots" in parts:
        place = len(parts) - 1 - parts[::-1].index("snapshots")
        home, inside = parts[place - 1], parts[place + 2 :]
        if home.startswith("models--") and inside:
            return "/".join([*home.removeprefix("models--").split("--"), *inside])
    return str(path)
