"""The images of a served folder, run or upload, in order, under keys that say nothing about paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from openvocab.batch.originals import Originals
from openvocab.batch.ownership import RECORD
from openvocab.batch.part_files import read_part
from openvocab.batch.rows import Row, id_of, text_of
from openvocab.batch.run_folder import Run
from openvocab.errors import BadInput, ImageError
from openvocab.images.items import Item
from openvocab.images.read import Decoded, decode, read_file
from openvocab.images.sources import items

__all__ = ["KEY", "UPLOADED", "Entry", "answered_rows", "entries_of", "entries_of_upload", "is_run", "read_entry"]

KEY = 24
"""Length of the digest at the end of a key; before it is the token of an uploaded folder."""

UPLOADED = "images"
"""Folder of the images in the download of an uploaded folder; their ids are paths in it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image.

    Attributes:
        key: Identifier on the page, a digest of the id.
        id: The id of its row.
        name: Its path below the served folder, for people.
        path: The path of its file; None if the run's row says where it is.
        error: Why it cannot be opened; None as long as it was not tried.
    """

    key: str
    id: str
    name: str
    path: str | None
    error: ImageError | None = None


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (folder / RECORD).is_file()


def answered_rows(run: Path) -> dict[str, tuple[int, str]]:
    """Return id -> (index, status) of the rows of a run folder; empty if it holds none.

    Raises:
        BadInput: a part is missing or damaged.
    """
    if not is_run(run):
        return {}
    found: dict[str, tuple[int, str]] = {}
    for part in Run(run, corrected=False).parts:
        table = read_part(part, ["id", "status"])
        for name, status in zip(table.column("id").to_pylist(), table.column("status").to_pylist(), strict=True):
            found[id_of(name)] = (len(found), status)
    return found


def entries_of(folder: Path, run: Path, rows: dict[str, tuple[int, str]]) -> list[Entry]:
    """Return the images of a folder by name, or those of the rows if the folder is the run itself.

    Raises:
        BadInput: there is no image.
    """
    if folder == run:
        found = [_entry(name, None, _last(name)) for name in rows]
    else:
        listed = [item for item in items(folder, without=str(run)) if item.path is not None]
        found = [_entry(item.id, item.path, _below(folder, item)) for item in listed]
    if not found:
        raise BadInput(f"there is no image in {folder}; give a folder of images, or a run folder")
    return found


def entries_of_upload(inputs: Mapping[str, Path | ImageError], token: str) -> list[Entry]:
    """Return the images of an upload by name, and what cannot be opened after them.

    Args:
        inputs: Name of each image -> its file, or its error.
        token: The token of the folder, with which its keys begin.
    """
    found = []
    for name, file in sorted(inputs.items(), key=lambda pair: (isinstance(pair[1], ImageError), pair[0])):
        made = _entry(f"{UPLOADED}/{name}", None if isinstance(file, ImageError) else str(file), name, token)
        found.append(replace(made, error=file) if isinstance(file, ImageError) else made)
    return found


def _entry(name: str, path: str | None, shown: str, token: str = "") -> Entry:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=KEY // 2).hexdigest()
    return Entry(token + digest, name, text_of(shown), path)


def _below(folder: Path, item: Item) -> str:
    return os.path.relpath(item.path or "", folder)


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2] or name


def read_entry(
    entry: Entry, folder: Path, row: Row | None, pixels: int, min_side: int | None = None
) -> tuple[Decoded, str | None]:
    """Return the decoded image and the digest that its row knows it by.

    Only files inside the served folder are read, and of a run only images whose digest is that of their row.

    Args:
        entry: The image.
        folder: The served folder.
        row: Its row, if there is one.
        pixels: The largest accepted width times height.
        min_side: See openvocab.images.read.decode.

    Raises:
        BadInput: a link leads out of the folder.
        ImageError: the image is missing, has changed, or cannot be read.
    """
    name = repr(entry.name)
    if entry.error is not None:
        raise entry.error
    if entry.path is None:
        originals = Originals()
        try:
            data = originals.find(row or Row(entry.id)).data or b""
        finally:
            originals.close()
        return decode(data, name, max_pixels=pixels, min_side=min_side), None if row is None else row.sha256
    if not os.path.realpath(entry.path).startswith(os.path.join(os.path.realpath(folder), "")):
        raise BadInput(f"{entry.name!r} is a link out of the served folder; copy the image into the folder")
    decoded = decode(read_file(entry.path, name, pixels), name, max_pixels=pixels, min_side=min_side)
    return decoded, decoded.sha256
