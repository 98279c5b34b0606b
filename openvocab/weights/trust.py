"""Which weights are trusted: a file's digest, checked when it is first loaded."""

from __future__ import annotations

from pathlib import Path

from openvocab.weights.files import sha256_of

__all__ = ["trusted_sha256"]


def trusted_sha256(source: str, path: Path) -> str:
    """Return the sha256 of a weights file that is about to be loaded.

    Args:
        source: where the file came from, REPOSITORY/FILE of a hub, a URL, or its path.
        path: the file.

    Raises:
        BadWeights: the file is absent.
    """
    return sha256_of(path)
