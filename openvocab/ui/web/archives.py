"""The images of a batch: uploaded files, and what lies in zip archives among them.

No name of an upload or of a member is ever used as a path: members are unpacked under numbers, and their names are what
the answers call them.
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

__all__ = ["Inputs", "gather"]

Inputs = Mapping[str, Path | ImageError]
"""What an image is called -> its file, or why there is none."""

_DIRECTORY = 4 * 2**20
"""Bytes of an archive's table of contents; one of a page's batch takes a hundredth of that."""

_END, _END_SIZE = b"PK\5\6", 22
_HARMLESS = 2**24
"""Bytes that an archive may unpack to whatever its ratio: drawings and blank scans are packed very small."""

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError)


def gather(uploads: Sequence[str | Path], folder: Path, limits: Limits) -> Inputs:
    """Return the images that were uploaded, in order, those of archives unpacked into a folder.

    Of an archive what is hidden, and what is no image by name or content, is passed over; a member that cannot be
    taken is an error of its own. An uploaded file is kept whatever it is, so that reading it reports the error.

    Raises:
        BadInput: there is nothing, there are too many files, or an archive is no archive, or too large.
        CannotWrite: the disk is full.
    """
    if not uploads:
        raise BadInput("there is no image; choose images or a zip file")
    found: dict[str, Path | ImageError] = {}
    room = limits.unpacked_bytes
    for upload in map(Path, uploads):
        if not _is_zip(upload):
            _add(found, upload.name, _refused_archive(upload.name) or upload, limits)
            continue
        with _opened(upload) as archive:
            room -= _checked_size(archive, upload, limits, room)
            for name, file in _members(archive, folder / f"{len(found):06}"):
                _add(found, name, file, limits)
    if not found:
        raise BadInput("there is no image in what was uploaded; choose images, or a zip file that holds some")
    return found


def _add(found: dict[str, Path | ImageError], name: str, file: Path | ImageError, limits: Limits) -> None:
    """Add an image under its name, or a free one like it."""
    if len(found) >= limits.files:
        raise BadInput(f"there are more than {limits.files} images; give fewer at once")
    path, free, number = Path(name), name, 1
    while free in found:
        number += 1
        free = str(path.with_name(f"{path.stem}-{number}{path.suffix}")) if path.name else f"{name}-{number}"
    found[free] = file


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"PK\3\4", _END)


def _refused_archive(name: str) -> ImageError | None:
    if not name.lower().endswith(_ARCHIVES):
        return None
    return ImageError("not_an_image", f"{name!r} is no zip archive; pack the images into a .zip")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive, once its table of contents is known to be small.

    Raises:
        BadInput: it is damaged, or its table is too large.
    """
    try:
        with path.open("rb") as file:
            file.seek(-min(path.stat().st_size, 2**16 + _END_SIZE), 2)
            tail = file.read()
        at = tail.rfind(_END)
        size = int.from_bytes(tail[at + 12 : at + 16], "little")
        if at < 0 or size > _DIRECTORY:
            raise BadInput(f"{path.name!r} is cut off or holds too many files; pack fewer images into a new archive")
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _BROKEN as error:
        if isinstance(error, openvocab.OpenVocabError):
            raise
        raise BadInput(f"{path.name!r} is a damaged archive; pack the images again") from error


def _checked_size(archive: zipfile.ZipFile, path: Path, limits: Limits, room: int) -> int:
    """Return the bytes that an archive unpacks to, as it says; no more than that is read of it.

    Raises:
        BadInput: they are too many, or too many for its size, or so are the files.
    """
    size = sum(member.file_size for member in archive.infolist())
    if len(archive.infolist()) > 20 * limits.files:
        raise BadInput(f"{path.name!r} holds {len(archive.infolist())} files; give fewer at once")
    if size > room:
        raise BadInput(
            f"{path.name!r} unpacks to more than {limits.unpacked_bytes / 1e6:.0f} MB; give fewer images at once"
        )
    if size > max(_HARMLESS, limits.ratio * path.stat().st_size):
        raise BadInput(f"{path.name!r} unpacks to over {limits.ratio} times its size; give the images themselves")
    return size


def _members(archive: zipfile.ZipFile, folder: Path) -> Iterator[tuple[str, Path | ImageError]]:
    """Yield what an archive holds: its name, and the file that it was unpacked to or why it was not."""
    folder.mkdir()
    taken = [
        (_shown(member.orig_filename), _refused(member) or _unpacked(archive, member, folder / f"{number:06}"))
        for number, member in enumerate(archive.infolist())
        if not (member.orig_filename.endswith("/") or _hidden(member.orig_filename))
    ]
    images = set(openvocab.find_images(folder))
    yield from ((name, file) for name, file in taken if isinstance(file, ImageError) or file in images)


def _hidden(name: str) -> bool:
    """Tell whether a member, or a folder that it lies in, is hidden or of the kind that macOS adds."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") and part.strip(".") for part in parts)


def _refused(member: zipfile.ZipInfo) -> ImageError | None:
    """Return why a member is not unpacked, if it is not."""
    name, said = member.orig_filename, repr(_shown(member.orig_filename))
    kind = stat.S_IFMT(member.external_attr >> 16)
    if _leaves(name):
        return ImageError("unreadable", f"{said} points outside of its archive; pack the images again")
    if kind not in (0, stat.S_IFREG):
        return ImageError("not_a_file", f"{said} is a link or a device, not a file; pack the image itself")
    if member.flag_bits & 0x41:
        return ImageError("unreadable", f"{said} is encrypted; pack the images without a password")
    if name.lower().endswith(_ARCHIVES):
        return ImageError("not_an_image", f"{said} is an archive within the archive; unpack it first")
    if member.compress_type not in _READ:
        return ImageError("unreadable", f"{said} is packed in a way that is not read here; pack it as a plain zip")
    return None


def _leaves(name: str) -> bool:
    """Tell whether a name, however a system may read it, means something outside of the folder it is unpacked to."""
    plain = unicodedata.normalize("NFKC", name).replace("\\", "/")
    control = any(unicodedata.category(each) == "Cc" for each in name)
    return (
        control
        or "\\" in name
        or ":" in plain.split("/")[0]
        or plain.startswith(("/", "~"))
        or ".." in plain.split("/")
    )


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path | ImageError:
    """Unpack a member to a file with its suffix; no more is read than the table of contents says.

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
    said = repr(_shown(member.orig_filename))
    return ImageError("corrupt", f"{said} is damaged in its archive; pack the images again")


def _shown(name: str) -> str:
    """Return a member's name for people and for rows: printable, and not longer than a file's name may be."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)[-255:]
