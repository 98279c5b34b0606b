"""Folders that visitors uploaded: several images or archives, worked through like a served folder, for a while."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab.batch.run_folder import make_folder
from openvocab.errors import BadInput, ImageError
from openvocab.images.read import check_header
from openvocab.ui.web.served.entries import UPLOADED, entries_of_upload
from openvocab.ui.web.served.folder import ServedFolder
from openvocab.ui.web.storage import bytes_in
from openvocab.ui.web.uploads.collect import collect_images
from openvocab.ui.web.uploads.resume import RUN, RunFiles, restore

if TYPE_CHECKING:
    from openvocab.ui.web.limits import Limits

__all__ = ["IDLE_SECONDS", "UploadedFolders"]

IDLE_SECONDS = 3600.0
"""A folder is deleted this long after its last use; an open page uses its folder every few minutes."""

_GONE = "this folder is no longer stored on the server, which keeps uploads for an hour; upload it again"
_FULL = "the server has no disk space for another folder; try again later, or raise --max-stored"


@dataclass(slots=True)
class _Stored:
    served: ServedFolder
    used: float


class UploadedFolders:
    """Uploaded folders under random tokens of 128 bits; whoever has the token may work on the folder."""

    def __init__(
        self, limits: Limits, forget: Callable[[ServedFolder], None], idle_seconds: float = IDLE_SECONDS
    ) -> None:
        """Start without a folder.

        Args:
            limits: Limits on images, files and bytes; folders take half of the stored bytes at most.
            forget: Called with each folder that was deleted.
            idle_seconds: Seconds after the last use when a folder is deleted.
        """
        self._limits, self._forget, self._idle = limits, forget, idle_seconds
        self._folders: dict[str, _Stored] = {}
        self._lock = threading.Lock()

    def open(self, uploads: Sequence[str], into: str | Path) -> ServedFolder:
        """Unpack an upload into a new folder and return it.

        Args:
            uploads: Paths of uploaded images and archives.
            into: The folder of all uploads.

        Raises:
            BadInput: there is no image, there are too many, or there is no space left.
            CannotWrite: the disk is full.
        """
        self.delete_idle()
        token = secrets.token_hex(16)
        top = Path(into) / f"folder-{token}"
        left = self._limits.stored_bytes // 2 - sum(bytes_in(str(each)) for each in self._tops())
        if left <= 0:
            raise BadInput(_FULL)
        limits = replace(self._limits, unpacked_bytes=min(self._limits.unpacked_bytes, left))
        try:
            served = _unpacked(uploads, top, limits, token)
        except BaseException:
            shutil.rmtree(top, ignore_errors=True)
            raise
        with self._lock:
            self._folders[token] = _Stored(served, time.monotonic())
        self._delete_later()
        return served

    def get(self, token: str) -> ServedFolder:
        """Return a folder, which counts as a use.

        Raises:
            BadInput: it was deleted, or there never was one.
        """
        self.delete_idle()
        with self._lock:
            found = self._folders.get(token)
            if found is None:
                raise BadInput(_GONE)
            found.used = time.monotonic()
            return found.served

    def delete_idle(self) -> None:
        """Delete the folders that were not used for a while."""
        oldest = time.monotonic() - self._idle
        with self._lock:
            idle = [token for token, each in self._folders.items() if each.used <= oldest]
            gone = [self._folders.pop(token).served for token in idle]
        for served in gone:
            self._forget(served)
            shutil.rmtree(served.run.parent, ignore_errors=True)

    def _delete_later(self) -> None:
        """Look for idle folders as long as there are any, also without a visitor."""

        def look() -> None:
            self.delete_idle()
            if self._folders:
                self._delete_later()

        timer = threading.Timer(self._idle, look)
        timer.daemon = True
        timer.start()

    def _tops(self) -> list[Path]:
        with self._lock:
            return [each.served.run.parent for each in self._folders.values()]

    def __len__(self) -> int:
        return len(self._folders)


def _unpacked(uploads: Sequence[str], top: Path, limits: Limits, token: str) -> ServedFolder:
    images, run = top / UPLOADED, top / RUN
    images.mkdir(parents=True)
    runs: list[RunFiles] = []
    inputs = {
        name: _kept(name, file, images, number, limits.pixels)
        for number, (name, file) in enumerate(collect_images(uploads, images, limits, runs=runs).items())
    }
    if all(isinstance(each, ImageError) for each in inputs.values()):
        raise BadInput(f"there is no image in the upload: {next(iter(inputs.values()))}")
    make_folder(run)
    entries = entries_of_upload(inputs, token)
    served = ServedFolder(images, run, limits.pixels, entries, restore(run, runs, entries, limits.pixels))
    served.refresh()
    served.unsaved = False
    return served


def _kept(name: str, file: Path | ImageError, images: Path, number: int, pixels: int) -> Path | ImageError:
    """Return the file of an image inside the folder, or why it is not readable; an uploaded file is linked."""
    if isinstance(file, ImageError):
        return file
    try:
        check_header(str(file), repr(name), pixels)
    except ImageError as error:
        if images in file.parents:
            file.unlink()
        return error
    if images in file.parents:
        return file
    target = images / f"upload-{number:06}{file.suffix}"
    try:
        os.link(file, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(file, target)
    return target
