"""Members of tar archives, plain or compressed, as files; a compressed one is first decompressed up to a limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab.errors import BadInput, ImageError
from openvocab.ui.web.uploads.archives import MIN_UNPACKED, Members, damaged, no_file, refuse_bomb, refuse_full_disk
from openvocab.ui.web.uploads.names import is_hidden, name_error, printable, suffix_of

if TYPE_CHECKING:
    from openvocab.ui.web.limits import Limits

__all__ = ["is_tar", "unpack_tar"]

_DECOMPRESSORS: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
"""First bytes of a compressed file -> what opens it."""

_HEAD = 262
"""Number of bytes of a tar file up to the end of its mark."""
_MAX_READ = 2**20
"""Maximum bytes that tarfile may read at once: it reads extended headers whole, whatever size they declare."""
_BROKEN = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)


def is_tar(path: Path) -> bool:
    """Whether a file begins like a tar archive, or like a compressed one."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return head[257:] == b"ustar" or head.startswith(tuple(_DECOMPRESSORS))


def unpack_tar(path: Path, folder: Path, limits: Limits, bytes_left: int) -> tuple[Members, int]:
    """Unpack an archive into a new folder, and return its members and the number of their bytes.

    Args:
        path: The archive.
        folder: The new folder.
        limits: Limits on number, size and ratio.
        bytes_left: Maximum number of unpacked bytes.

    Raises:
        BadInput: the archive is damaged or too large.
        CannotWrite: the disk is full.
    """
    folder.mkdir()
    plain = folder / "plain.tar"
    try:
        with _decompressed(path, plain, limits, bytes_left) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            return _members(archive, path, folder, limits, bytes_left)
    except _BROKEN as error:
        if isinstance(error, BadInput):
            raise
        refuse_full_disk(error)
        raise damaged(path) from error
    finally:
        plain.unlink(missing_ok=True)


class _Limited(io.FileIO):
    """A file that is not read in large pieces."""

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes.

        Raises:
            EOFError: More are asked for than a member's header needs.
        """
        if size is None or not 0 <= size <= _MAX_READ:
            raise EOFError("a header is too long")
        return super().read(size) or b""


def _decompressed(path: Path, plain: Path, limits: Limits, bytes_left: int) -> _Limited:
    """Return the archive as a plain tar file; a compressed one is written to `plain`.

    Raises:
        BadInput: it decompresses to too many bytes.
    """
    with path.open("rb") as file:
        head = file.read(6)
    opener = next((each for magic, each in _DECOMPRESSORS.items() if head.startswith(magic)), None)
    if opener is None:
        refuse_bomb(path.stat().st_size, path, limits, bytes_left)
        return _Limited(path)
    left = min(bytes_left, max(MIN_UNPACKED, limits.ratio * path.stat().st_size))
    with opener(path) as packed, plain.open("xb") as made:
        while data := packed.read(_MAX_READ):
            left -= len(data)
            if left < 0:
                refuse_bomb(made.tell() + len(data), path, limits, bytes_left)
            made.write(data)
    return _Limited(plain)


def _members(
    archive: tarfile.TarFile, path: Path, folder: Path, limits: Limits, bytes_left: int
) -> tuple[Members, int]:
    made: Members = []
    size = count = 0
    while (member := archive.next()) is not None:
        count += 1
        if count > 20 * limits.files:
            raise BadInput(f"{path.name!r} has more than {20 * limits.files} files; give fewer at once")
        if member.isdir() or is_hidden(member.name):
            continue
        error = _member_error(member)
        if error is None:
            size += member.size
            refuse_bomb(size, path, limits, bytes_left)
        made.append((printable(member.name), error or _unpack(archive, member, folder / f"{count:06}")))
    return made, size


def _member_error(member: tarfile.TarInfo) -> ImageError | None:
    """Return why a member must not be unpacked, or None."""
    error = name_error(member.name)
    if error is None and (not member.isreg() or member.issparse()):
        return no_file(member.name)
    return error


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> Path:
    """Unpack a member to a file with its suffix.

    Raises:
        EOFError: the archive ends early.
    """
    target = target.with_suffix(suffix_of(member.name))
    packed = archive.extractfile(member)
    with target.open("xb") as file:
        if packed is not None:
            shutil.copyfileobj(packed, file)
    if target.stat().st_size != member.size:
        raise EOFError(f"{member.name!r} ends early")
    return target
