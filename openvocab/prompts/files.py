"""Read text files with labels or templates."""

from __future__ import annotations

import os
import re
from pathlib import Path

from openvocab.errors import BadInput

__all__ = ["is_file", "read_lines", "read_text"]


def is_file(path: str | Path) -> bool:
    """Return whether path is a regular file; False for a text that cannot be a path."""
    try:
        return os.path.isfile(path)
    except (OSError, ValueError):
        return False


def read_text(path: str | Path) -> str:
    """Return the UTF-8 text of a file, without its byte order mark.

    Raises:
        BadInput: it is no regular file, cannot be read, or is not UTF-8.
    """
    if not is_file(path):
        raise BadInput(f"{str(path)!r} is not a file; give the path of a text file that exists")
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read ({error.strerror}); check its permissions") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{str(path)!r} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a UTF-8 file, trimmed, without blank ones and those that start with '#'.

    Raises:
        BadInput: the file cannot be read as text.
    """
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", read_text(path))]
    return [line for line in lines if line and not line.startswith("#")]
