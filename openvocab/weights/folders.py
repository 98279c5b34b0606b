"""The cache folder, and small JSON tables in it."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from openvocab.errors import BadWeights

__all__ = ["cache_folder", "read_table", "temporary_beside", "update_table"]

_LOG = logging.getLogger("openvocab")
_LOCK_SECONDS = 10


def cache_folder() -> Path | None:
    """Return OPENVOCAB_CACHE, else the platform's cache folder (XDG_CACHE_HOME); None if no home is known."""
    if given := os.environ.get("OPENVOCAB_CACHE"):
        return Path(given).expanduser().absolute()
    try:
        return _usual_caches() / "openvocab"
    except RuntimeError:
        return None


def _usual_caches() -> Path:
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given).absolute()
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local)
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def temporary_beside(path: Path) -> Path:
    """Return the path of a new empty file in the same folder, to be renamed to path when it is complete."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    return Path(name)


def read_table(name: str) -> dict[str, Any]:
    """Return a table of the cache folder; empty if it was never written.

    Raises:
        BadWeights: the file is there but is no table.
    """
    folder = cache_folder()
    path = None if folder is None else folder / name
    try:
        text = "{}" if path is None else path.read_text("utf-8")
    except OSError:
        return {}
    except UnicodeDecodeError:
        text = ""
    try:
        table = json.loads(text)
    except ValueError:
        table = None
    if not isinstance(table, dict):
        raise BadWeights(f"{path}: what openvocab remembers of weights cannot be read; delete this file to begin anew")
    return table


def update_table(name: str, key: str, value: Any) -> bool:
    """Set one entry of a table; return False if the cache cannot be written.

    The file is replaced as a whole, under a lock, so that processes can do this at the same time.

    Raises:
        BadWeights: the file is there but is no table.
    """
    from filelock import FileLock, Timeout

    folder = cache_folder()
    if folder is None:
        return False
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=_LOCK_SECONDS):
            _replace(path, json.dumps(read_table(name) | {key: value}, indent=1, sort_keys=True) + "\n")
    except (OSError, Timeout) as error:
        _LOG.info("%s cannot be written (%s); nothing is remembered", path, error)
        return False
    return True


def _replace(path: Path, text: str) -> None:
    part = temporary_beside(path)
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
