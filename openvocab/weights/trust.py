"""Trust of weights files: a file's digest is checked when it is first loaded and stored after that.

There are three kinds of source. A file that the manifest pins must have that digest. Any other file of the hub or
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

__all__ = ["FileState", "file_state", "measured_sha256", "refuse_changed", "source_of", "trusted_sha256"]

_LOG = logging.getLogger("openvocab")
_DIGESTS, _TRUSTED = "digests.json", "trusted.json"
_SETTLED_NS = 2_000_000_000

FileState = tuple[int, ...]
"""Size, the times of the last change of content and of state, and inode; empty if there is no file."""


def file_state(path: Path) -> FileState:
    """Return size, times and inode of a file, which change if another file replaces it."""
    return tuple(_stat(path.resolve()) or ())


def refuse_changed(paths: Sequence[Path], states: Sequence[FileState]) -> None:
    """Refuse files that changed between measuring and loading.

    Raises:
        BadWeights: one was replaced or written in between.
    """
    for path, state in zip(paths, states, strict=True):
        if file_state(path) != state:
            raise BadWeights(f"{path}: this file changed while it was loaded; load it again once it is whole")


def trusted_sha256(source: str, path: Path, *, anew: bool = False) -> str:
    """Return the sha256 of a weights file that is about to be loaded.

    Args:
        source: where the file came from: REPOSITORY/FILE or REPOSITORY@REVISION/FILE of a hub, a URL, or its path.
        path: the file.
        anew: read the file even if its digest is stored.

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
    """Trust a source's digest at its first use; refuse another digest later."""
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
    """Return how to restore the right file: the hub's cache links to a copy, which must be deleted too."""
    real = path.resolve()
    if path.is_symlink():
        return f"delete it and {real}, which it links to, and fetch it again"
    if any(each.package and source in each.sources(file) for each in published().values() for file in each.files):
        return "install its package again"
    return "delete the file and fetch it again"


def measured_sha256(path: Path, *, anew: bool = False) -> str:
    """Return the sha256 of a file, stored if the file has not changed since it was measured.

    Args:
        anew: read the file even if its digest is stored.

    Raises:
        BadWeights: there is no such file.
    """
    real = path.resolve()
    state = _stat(real)
    if state is None or anew:
        return sha256_of(path)
    stored = _remembered(str(real))
    if stored is not None and stored[:-1] == state:
        return str(stored[-1])
    digest = sha256_of(path)
    if _stat(real) == state and time.time_ns() - max(state[1], state[2]) > _SETTLED_NS:
        update_table(_DIGESTS, str(real), [*state, digest])
    return digest


def _stat(path: Path) -> list[int] | None:
    """Return size, the times of the last change of content and of state, and inode; None if there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _remembered(key: str) -> list[int | str] | None:
    stored = read_table(_DIGESTS).get(key)
    return stored if isinstance(stored, list) and len(stored) == 5 else None


def source_of(path: Path) -> str:
    """Return the source of a file by its path: REPOSITORY/FILE in the hub's cache, a URL in ours, else the path."""
    for each in published().values():
        for file in each.files if each.url else ():
            if url_path(each.sources(file)[0]) == path:
                return each.sources(file)[0]
    parts = path.absolute().parts
    if "snapshots" in parts:
        place = len(parts) - 1 - parts[::-1].index("snapshots")
        home, inside = parts[place - 1], parts[place + 2 :]
        if home.startswith("models--") and inside:
            return "/".join([*home.removeprefix("models--").split("--"), *inside])
    return str(path)
