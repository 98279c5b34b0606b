"""Names of the members of archives, which only identify images and are never used as paths."""

from __future__ import annotations

import re
import unicodedata

from openvocab.errors import ImageError

__all__ = ["ARCHIVES", "is_hidden", "name_error", "printable", "suffix_of"]

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
"""Suffixes of archives."""


def is_hidden(name: str) -> bool:
    """Whether a member or one of its folders is hidden or added by macOS."""
    parts = name.removeprefix("./").split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") and part.strip(".") for part in parts)


def name_error(name: str) -> ImageError | None:
    """Return why a member of this name must not be unpacked, or None."""
    if _escapes(name):
        return ImageError("unreadable", f"{printable(name)!r} points outside its archive; pack the images again")
    if name.lower().endswith(ARCHIVES):
        return ImageError("not_an_image", f"{printable(name)!r} is a nested archive; unpack it first")
    return None


def _escapes(name: str) -> bool:
    """Whether any operating system could resolve a name to a path outside the folder."""
    plain = unicodedata.normalize("NFKC", name).replace("\\", "/")
    control = any(unicodedata.category(each) == "Cc" for each in name)
    return (
        control
        or "\\" in name
        or ":" in plain.split("/")[0]
        or plain.startswith(("/", "~"))
        or ".." in plain.split("/")
    )


def suffix_of(name: str) -> str:
    """Return the suffix of a name with its dot, or "" if it is not a plain one."""
    found = re.search(r"\.[A-Za-z0-9]{1,5}$", name)
    return found.group() if found else ""


def printable(name: str) -> str:
    """Return the last 255 characters of a member's name with unprintable ones replaced."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)[-255:]
