"""A folder with its corrections as one zip file."""

from __future__ import annotations

import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path

from gradio.utils import get_upload_folder

import openvocab
from openvocab.errors import BadInput, unknown
from openvocab.ui.web.batch_job import FORMATS, files_in
from openvocab.ui.web.served.entries import is_run
from openvocab.ui.web.served.folder import ServedFolder
from openvocab.ui.web.uploads.resume import RUN

__all__ = ["export_folder"]

_RUN = "parquet"


def export_folder(served: ServedFolder, kind: str) -> str:
    """Write the run of a folder into a zip file and return its path.

    Args:
        served: The folder.
        kind: A format; "parquet", for an uploaded folder, is the images with the run folder: an upload of the zip
            goes on with it, and so does `openvocab serve images --out run` where it is unpacked.

    Raises:
        UnknownName: there is no format of this name.
        BadInput: nothing was found or corrected yet.
        CannotWrite: the disk is full.
    """
    known = [name for name in FORMATS if name != _RUN or served.uploaded]
    if kind not in known:
        raise unknown("format", kind, known)
    if not is_run(served.run):
        raise BadInput("no image of the folder has an answer yet; press Run, or add an object")
    folder = Path(get_upload_folder()) / secrets.token_urlsafe(16)
    folder.mkdir(parents=True)
    name = "images" if served.uploaded else served.folder.resolve().name or "folder"
    path = folder / (f"{name}-{'run' if kind == _RUN else kind}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, inside in _whole(served) if kind == _RUN else _exported(served, folder / "out", kind):
            archive.write(file, inside)
    return str(path)


def _exported(served: ServedFolder, out: Path, kind: str) -> Iterator[tuple[Path, Path]]:
    """Yield the files of an export, and their paths in the zip."""
    made = out / (FORMATS[kind] or "files")
    out.mkdir()
    openvocab.export(openvocab.read_run(served.run), made, kind)
    top = made.parent if made.is_file() else made
    yield from ((each, each.relative_to(top)) for each in files_in(made))


def _whole(served: ServedFolder) -> Iterator[tuple[Path, Path]]:
    """Yield the images under their ids, and the files of the run."""
    for entry in served.entries:
        if entry.path is not None:
            yield Path(entry.path), Path(entry.id)
    for each in files_in(served.run):
        yield each, Path(RUN) / each.relative_to(served.run)
