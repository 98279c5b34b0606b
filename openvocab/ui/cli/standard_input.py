"""Standard input as images: `find photos -name '*.jpg' | openvocab tag -`, `curl ... | openvocab tag -`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from openvocab.errors import BadInput
from openvocab.images.files import is_image_head

__all__ = ["with_stdin"]


def with_stdin(paths: Sequence[str]) -> list[str | bytes]:
    """Return the paths with "-" replaced by what standard input holds.

    That is the bytes of one image, or paths, one a line or separated by NUL (find -print0).

    Raises:
        BadInput: Standard input is a terminal or holds neither.
    """
    if "-" not in paths:
        return list(paths)
    if sys.stdin.isatty():
        raise BadInput("- reads images from standard input, which is a terminal; pipe paths or an image into it")
    at = list(paths).index("-")
    return [*paths[:at], *_given(sys.stdin.buffer.read()), *(path for path in paths[at + 1 :] if path != "-")]


def _given(data: bytes) -> list[str | bytes]:
    if is_image_head(data[:12]):
        return [data]
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    found = [os.fsdecode(line) for line in lines if line.strip()]
    if not found:
        raise BadInput("standard input is empty; pipe paths, one a line, or the bytes of an image into it")
    return list(found)
