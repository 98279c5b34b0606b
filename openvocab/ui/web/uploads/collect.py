"""The images of an upload: uploaded files, and the members of uploaded zip and tar archives.

Names of uploads and members are never used as paths: members are unpacked under numbers, and their names only identify
them in the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import openvocab
from openvocab.errors import BadInput, ImageError, counted
from openvocab.ui.web.uploads.archives import Members
from openvocab.ui.web.uploads.names import ARCHIVES
from openvocab.ui.web.uploads.resume import RunFiles, split_download
from openvocab.ui.web.uploads.tar_archives import is_tar, unpack_tar
from openvocab.ui.web.uploads.zip_archives import is_zip, unpack_zip

if TYPE_CHECKING:
    from openvocab.ui.web.limits import Limits

__all__ = ["Inputs", "collect_images"]

Inputs = Mapping[str, Path | ImageError]
"""Name of an image -> its file, or the error."""

_MAX_REFUSED = 100
"""Maximum number of members of an archive that are listed although they are no images."""


def collect_images(
    uploads: Sequence[str | Path], folder: Path, limits: Limits, *, runs: list[RunFiles] | None = None
) -> Inputs:
    """Return the uploaded images in order, and unpack archives into a folder.

    Hidden members, and members that are not images by name or content, are skipped; a member that cannot be unpacked
    yields an error. Uploaded files are returned whatever they are, so that reading them reports the error.

    Args:
        uploads: Paths of the uploaded files.
        folder: Folder for the unpacked archives.
        limits: Limits on number and size.
        runs: For a folder to work through, gets the files of runs of its downloads; then an archive that is refused
            yields an error in place of an exception, and a member that is not an image yields one too.

    Raises:
        BadInput: there is no image, there are too many files, or an archive is damaged or too large.
        CannotWrite: the disk is full.
    """
    if not uploads:
        raise BadInput("there is no image; choose images or a zip file")
    found: dict[str, Path | ImageError] = {}
    bytes_left = limits.unpacked_bytes
    for number, upload in enumerate(map(Path, uploads)):
        try:
            members, size = _unpacked(upload, folder / f"{number:06}", limits, bytes_left, runs)
        except BadInput as error:
            if runs is None:
                raise
            members, size = [(upload.name, ImageError("unreadable", str(error)))], 0
        bytes_left -= size
        for name, file in members:
            _add(found, name, file, limits)
    if not found:
        raise BadInput("there is no image in the uploaded files; choose images, or a zip file with images")
    return found


def _unpacked(
    upload: Path, folder: Path, limits: Limits, bytes_left: int, runs: list[RunFiles] | None
) -> tuple[Members, int]:
    """Return an upload itself, or the members of an archive, and the number of unpacked bytes."""
    with upload.open("rb") as file:
        head = file.read(4)
    unpack = unpack_zip if is_zip(head) else unpack_tar if is_tar(upload) else None
    if unpack is None:
        return [(upload.name, _archive_error(upload.name) or upload)], 0
    members, size = unpack(upload, folder, limits, bytes_left)
    if runs is not None and (download := split_download(members)) is not None:
        members, run = download
        runs.append(run)
    images = set(openvocab.find_images(folder))
    kept = [(name, file) for name, file in members if isinstance(file, ImageError) or file in images]
    others = [name for name, file in members if not isinstance(file, ImageError) and file not in images]
    return kept + (_refused(others, upload.name) if runs is not None else []), size


def _refused(others: Sequence[str], archive: str) -> Members:
    """Return the errors of members that are no images; those beyond the first ones share one."""
    shown: Members = [(name, _no_image(f"{name!r} is not an image")) for name in others[:_MAX_REFUSED]]
    more = len(others) - _MAX_REFUSED
    said = f"{counted(more, 'more file is no image', 'more files are not images')}, in {archive!r}"
    return shown + ([(archive, _no_image(said))] if more > 0 else [])


def _no_image(what: str) -> ImageError:
    return ImageError("not_an_image", f"{what}; images are JPEG, PNG, WebP, GIF, BMP or TIFF files")


def _add(found: dict[str, Path | ImageError], name: str, file: Path | ImageError, limits: Limits) -> None:
    """Add an image under its name, with a number appended if the name is taken.

    Raises:
        BadInput: there are too many images.
    """
    if isinstance(file, Path) and sum(isinstance(each, Path) for each in found.values()) >= limits.files:
        raise BadInput(f"there are more than {limits.files} images; give fewer at once")
    path, unique, number = Path(name), name, 1
    while unique in found:
        number += 1
        unique = str(path.with_name(f"{path.stem}-{number}{path.suffix}")) if path.name else f"{name}-{number}"
    found[unique] = file


def _archive_error(name: str) -> ImageError | None:
    if not name.lower().endswith(ARCHIVES):
        return None
    return ImageError("not_an_image", f"{name!r} is not a zip or tar archive; pack the images into a .zip")
