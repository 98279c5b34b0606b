"""Members of zip archives as files, after checks of the sizes that the archive declares."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab.errors import BadInput, ImageError, OpenVocabError
from openvocab.ui.web.uploads.archives import Members, damaged, no_file, refuse_bomb, refuse_full_disk
from openvocab.ui.web.uploads.names import is_hidden, name_error, printable, suffix_of

if TYPE_CHECKING:
    from openvocab.ui.web.limits import Limits

__all__ = ["is_zip", "unpack_zip"]

_MAX_DIRECTORY = 4 * 2**20
"""Maximum bytes of an archive's central directory; an ordinary batch needs a hundredth of it."""

_END, _END_SIZE = b"PK\5\6", 22
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError)


def is_zip(head: bytes) -> bool:
    """Whether the first 4 bytes are those of a zip archive."""
    return head in (b"PK\3\4", _END)


def unpack_zip(path: Path, folder: Path, limits: Limits, bytes_left: int) -> tuple[Members, int]:
    """Unpack an archive into a new folder, and return its members and the number of bytes that they declare.

    Args:
        path: The archive.
        folder: The new folder.
        limits: Limits on number, size and ratio.
        bytes_left: Maximum number of unpacked bytes.

    Raises:
        BadInput: the archive is damaged or too large.
        CannotWrite: the disk is full.
    """
    with _open(path) as archive:
        size = _checked_size(archive, path, limits, bytes_left)
        folder.mkdir()
        members = [
            (
                printable(member.orig_filename),
                _member_error(member) or _unpack(archive, member, folder / f"{number:06}"),
            )
            for number, member in enumerate(archive.infolist())
            if not (member.orig_filename.endswith("/") or is_hidden(member.orig_filename))
        ]
        return members, size


@contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive after checking that its central directory is small.

    Raises:
        BadInput: the archive is damaged, or its central directory is too large.
    """
    try:
        with path.open("rb") as file:
            file.seek(-min(path.stat().st_size, 2**16 + _END_SIZE), 2)
            tail = file.read()
        at = tail.rfind(_END)
        size = int.from_bytes(tail[at + 12 : at + 16], "little")
        if at < 0 or size > _MAX_DIRECTORY:
            raise BadInput(f"{path.name!r} is truncated or has too many files; pack fewer images into a new archive")
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _BROKEN as error:
        if isinstance(error, OpenVocabError):
            raise
        raise damaged(path) from error


def _checked_size(archive: zipfile.ZipFile, path: Path, limits: Limits, bytes_left: int) -> int:
    """Return the unpacked size that an archive declares; no more bytes than declared are unpacked later.

    Raises:
        BadInput: the size, the ratio to the file size, or the number of files is too large.
    """
    size = sum(member.file_size for member in archive.infolist())
    if len(archive.infolist()) > 20 * limits.files:
        raise BadInput(f"{path.name!r} has {len(archive.infolist())} files; give fewer at once")
    refuse_bomb(size, path, limits, bytes_left)
    return size


def _member_error(member: zipfile.ZipInfo) -> ImageError | None:
    """Return why a member must not be unpacked, or None."""
    name, shown = member.orig_filename, repr(printable(member.orig_filename))
    kind = stat.S_IFMT(member.external_attr >> 16)
    if (error := name_error(name)) is not None and error.kind == "unreadable":
        return error
    if kind not in (0, stat.S_IFREG):
        return no_file(name)
    if member.flag_bits & 0x41:
        return ImageError("unreadable", f"{shown} is encrypted; pack the images without a password")
    if error is not None:
        return error
    if member.compress_type not in _COMPRESSIONS:
        return ImageError("unreadable", f"{shown} has an unsupported compression; use deflate")
    return None


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path | ImageError:
    """Unpack a member to a file with its suffix; no more bytes are read than the central directory declares.

    Raises:
        CannotWrite: the disk is full.
    """
    target = target.with_suffix(suffix_of(member.orig_filename))
    try:
        with archive.open(member) as packed, target.open("xb") as file:
            shutil.copyfileobj(packed, file)
        if target.stat().st_size == member.file_size:
            return target
    except _BROKEN as error:
        refuse_full_disk(error)
    target.unlink(missing_ok=True)
    shown = repr(printable(member.orig_filename))
    return ImageError("corrupt", f"{shown} is damaged in its archive; pack the images again")
