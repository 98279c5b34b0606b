"""The images of a batch: uploaded files and the members of uploaded zip archives.

Names of uploads and members are never used as paths: members are unpacked under numbers, and their names only identify
them in the results.
"""

from __future__ import annotations

import errno
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import openvocab
from openvocab.errors import BadInput, CannotWrite, ImageError

if TYPE_CHECKING:
    from openvocab.ui.web.context import Limits

__all__ = ["Inputs", "collect_images"]

Inputs = Mapping[str, Path | ImageError]
"""Name of an image -> its file, or the error."""

_MAX_DIRECTORY = 4 * 2**20
"""Maximum bytes of an archive's central directory; an ordinary batch needs a hundredth of it."""

_END, _END_SIZE = b"PK\5\6", 22
_MIN_UNPACKED = 2**24
"""Unpacked bytes that are allowed at any ratio: drawings and blank scans compress very well."""

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError)


def collect_images(uploads: Sequence[str | Path], folder: Path, limits: Limits) -> Inputs:
    """Return the uploaded images in order, and unpack archives into a folder.

    Hidden members, and members that are not images by name or content, are skipped; a member that cannot be unpacked
    yields an error. Uploaded files are returned whatever they are, so that reading them reports the error.

    Args:
        uploads: Paths of the uploaded files.
        folder: Folder for the unpacked archives.
        limits: Limits on number and size.

    Raises:
        BadInput: there is no image, there are too many files, or an archive is damaged or too large.
        CannotWrite: the disk is full.
    """
    if not uploads:
        raise BadInput("there is no image; choose images or a zip file")
    found: dict[str, Path | ImageError] = {}
    bytes_left = limits.unpacked_bytes
    for upload in map(Path, uploads):
        if not _is_zip(upload):
            _add(found, upload.name, _archive_error(upload.name) or upload, limits)
            continue
        with _open(upload) as archive:
            bytes_left -= _checked_size(archive, upload, limits, bytes_left)
            for name, file in _members(archive, folder / f"{len(found):06}"):
                _add(found, name, file, limits)
    if not found:
        raise BadInput("there is no image in the uploaded files; choose images, or a zip file with images")
    return found


def _add(found: dict[str, Path | ImageError], name: str, file: Path | ImageError, limits: Limits) -> None:
    """Add an image under its name, with a number appended if the name is taken."""
    if len(found) >= limits.files:
        raise BadInput(f"there are more than {limits.files} images; give fewer at once")
    path, unique, number = Path(name), name, 1
    while unique in found:
        number += 1
        unique = str(path.with_name(f"{path.stem}-{number}{path.suffix}")) if path.name else f"{name}-{number}"
    found[unique] = file


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"PK\3\4", _END)


def _archive_error(name: str) -> ImageError | None:
    if not name.lower().endswith(_ARCHIVES):
        return None
    return ImageError("not_an_image", f"{name!r} is not a zip archive; pack the images into a .zip")


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
        if isinstance(error, openvocab.OpenVocabError):
            raise
        raise BadInput(f"{path.name!r} is a damaged archive; pack the images again") from error


def _checked_size(archive: zipfile.ZipFile, path: Path, limits: Limits, bytes_left: int) -> int:
    """Return the unpacked size that an archive declares; no more bytes than declared are unpacked later.

    Raises:
        BadInput: the size, the ratio to the file size, or the number of files is too large.
    """
    size = sum(member.file_size for member in archive.infolist())
    if len(archive.infolist()) > 20 * limits.files:
        raise BadInput(f"{path.name!r} has {len(archive.infolist())} files; give fewer at once")
    if size > bytes_left:
        raise BadInput(
            f"{path.name!r} unpacks to more than {limits.unpacked_bytes / 1e6:.0f} MB; give fewer images at once"
        )
    if size > max(_MIN_UNPACKED, limits.ratio * path.stat().st_size):
        raise BadInput(f"{path.name!r} unpacks to over {limits.ratio} times its size; give the images themselves")
    return size


def _members(archive: zipfile.ZipFile, folder: Path) -> Iterator[tuple[str, Path | ImageError]]:
    """Yield the name of each member with its unpacked file or its error."""
    folder.mkdir()
    members = [
        (_printable(member.orig_filename), _member_error(member) or _unpack(archive, member, folder / f"{number:06}"))
        for number, member in enumerate(archive.infolist())
        if not (member.orig_filename.endswith("/") or _hidden(member.orig_filename))
    ]
    images = set(openvocab.find_images(folder))
    yield from ((name, file) for name, file in members if isinstance(file, ImageError) or file in images)


def _hidden(name: str) -> bool:
    """Whether a member or one of its folders is hidden or added by macOS."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") and part.strip(".") for part in parts)


def _member_error(member: zipfile.ZipInfo) -> ImageError | None:
    """Return why a member must not be unpacked, or None."""
    name, shown = member.orig_filename, repr(_printable(member.orig_filename))
    kind = stat.S_IFMT(member.external_attr >> 16)
    if _escapes(name):
        return ImageError("unreadable", f"{shown} points outside its archive; pack the images again")
    if kind not in (0, stat.S_IFREG):
        return ImageError("not_a_file", f"{shown} is a link or a device, not a file; pack the image itself")
    if member.flag_bits & 0x41:
        return ImageError("unreadable", f"{shown} is encrypted; pack the images without a password")
    if name.lower().endswith(_ARCHIVES):
        return ImageError("not_an_image", f"{shown} is a nested archive; unpack it first")
    if member.compress_type not in _COMPRESSIONS:
        return ImageError("unreadable", f"{shown} has an unsupported compression; use deflate")
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


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path | ImageError:
    """Unpack a member to a file with its suffix; no more bytes are read than the central directory declares.

    Raises:
        CannotWrite: the disk is full.
    """
    suffix = re.search(r"\.[A-Za-z0-9]{1,5}$", member.orig_filename)
    target = target.with_suffix(suffix.group() if suffix else "")
    try:
        with archive.open(member) as packed, target.open("xb") as file:
            shutil.copyfileobj(packed, file)
        if target.stat().st_size == member.file_size:
            return target
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CannotWrite("the server's disk is full; try again later, with fewer images") from error
    target.unlink(missing_ok=True)
    shown = repr(_printable(member.orig_filename))
    return ImageError("corrupt", f"{shown} is damaged in its archive; pack the images again")


def _printable(name: str) -> str:
    """Return the last 255 characters of a member's name with unprintable ones replaced."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)[-255:]
