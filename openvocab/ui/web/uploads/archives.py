"""What archives of every kind have in common: their members, the limits on them, and the errors."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab.errors import BadInput, CannotWrite, ImageError
from openvocab.ui.web.uploads.names import printable

if TYPE_CHECKING:
    from openvocab.ui.web.limits import Limits

__all__ = ["MIN_UNPACKED", "Members", "damaged", "no_file", "refuse_bomb", "refuse_full_disk"]

Members = list[tuple[str, Path | ImageError]]
"""Pairs of a printable name and the unpacked file or its error, in the order of the archive."""

MIN_UNPACKED = 2**24
"""Unpacked bytes that are allowed at any ratio: drawings and blank scans compress very well."""


def refuse_bomb(size: int, path: Path, limits: Limits, bytes_left: int) -> None:
    """Check the unpacked size of an archive.

    Raises:
        BadInput: the size, or its ratio to the size of the file, is too large.
    """
    if size > bytes_left:
        raise BadInput(
            f"{path.name!r} unpacks to more than {limits.unpacked_bytes / 1e6:.0f} MB; give fewer images at once"
        )
    if size > max(MIN_UNPACKED, limits.ratio * path.stat().st_size):
        raise BadInput(f"{path.name!r} unpacks to over {limits.ratio} times its size; give the images themselves")


def refuse_full_disk(error: Exception) -> None:
    """Check that an error of unpacking is another one.

    Raises:
        CannotWrite: the disk is full.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise CannotWrite("the server's disk is full; try again later, with fewer images") from error


def damaged(path: Path) -> BadInput:
    """Return the error of an archive that cannot be read."""
    return BadInput(f"{path.name!r} is a damaged archive; pack the images again")


def no_file(name: str) -> ImageError:
    """Return the error of a member that is no regular file."""
    shown = repr(printable(name))
    return ImageError("not_a_file", f"{shown} is a link or a device, not a file; pack the image itself")
