"""Results as downloadable files."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import openvocab
from openvocab import Result
from openvocab.errors import BadInput, unknown

__all__ = ["FILE_TYPES", "for_page", "write"]

Writer = Callable[[Result, str, Path], Path]
"""Writes a result with a file stem into a folder and returns the file."""

_UNSAFE = frozenset('<>:"/\\|?*')


def write(result: Result, kind: str, folder: str | Path) -> Path:
    """Write a result into an existing folder and return the file, which is named after the image.

    Args:
        result: The result.
        kind: One of FILE_TYPES.
        folder: The folder.

    Raises:
        UnknownName: there is no file type of this name.
        BadInput: the file type needs masks or detections, and the result has none.
        CannotWrite: the disk is full.
    """
    if kind not in FILE_TYPES:
        raise unknown("file type", kind, FILE_TYPES)
    name = _safe(Path(result.source).name) or "image"
    stem = Path(name).stem or "image"
    return FILE_TYPES[kind](replace(result, source=name), stem, Path(folder))


def _coco(result: Result, stem: str, folder: Path) -> Path:
    path = folder / f"{stem}-coco.json"
    openvocab.export(result, path, "coco")
    return path


def _yolo(result: Result, stem: str, folder: Path) -> Path:
    made = folder / f"{stem}-yolo"
    openvocab.export(result, made, "yolo")
    for text in list((made / "labels").glob("*.txt")):
        Image.fromarray(result.image).save(made / "images" / f"{text.stem}.png")
    return _zipped(made)


def _mask(result: Result, stem: str, folder: Path) -> Path:
    _masks(result)
    made = folder / f"{stem}-masks"
    openvocab.export(result, made, "instance-masks")
    path = folder / f"{stem}-mask.png"
    shutil.move(next((made / "masks").glob("*.png")), path)
    shutil.rmtree(made)
    return path


def _annotated(result: Result, stem: str, folder: Path) -> Path:
    path = folder / f"{stem}-annotated.png"
    result.save(path)
    return path


def _cutouts(result: Result, stem: str, folder: Path) -> Path:
    masks = _masks(result)
    if not len(result.detections):
        raise BadInput("there is no detection to crop; lower the thresholds or add labels")
    made = folder / f"{stem}-cutouts"
    made.mkdir()
    for row, (label, box) in enumerate(zip(result.detections.labels, result.detections.xyxy, strict=True), 1):
        pixels = np.dstack([result.image, masks[row - 1].astype(np.uint8) * 255])
        left, top, right, bottom = _pixel_box(masks[row - 1], box)
        Image.fromarray(pixels[top:bottom, left:right]).save(made / f"{row:03d}-{_safe(label)[:60] or 'detection'}.png")
    return _zipped(made)


def _json(result: Result, stem: str, folder: Path) -> Path:
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(result.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


FILE_TYPES: Mapping[str, Writer] = {
    "coco": _coco,
    "yolo": _yolo,
    "mask": _mask,
    "image": _annotated,
    "cutouts": _cutouts,
    "json": _json,
}
"""File type -> what writes it."""


def _masks(result: Result) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return the (N, H, W) masks.

    Raises:
        BadInput: there are none.
    """
    if result.detections.masks is None:
        raise BadInput("the result has no masks, since no segmenter ran; choose a preset that has one")
    return np.asarray(result.detections.masks)


def _pixel_box(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], box: np.ndarray) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of a mask in whole pixels; of the box if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows):
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    left, top, right, bottom = int(box[0]), int(box[1]), int(np.ceil(box[2])), int(np.ceil(box[3]))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _safe(text: str) -> str:
    """Return text as part of a file name, with invalid characters replaced by underscores."""
    name = "".join("_" if letter in _UNSAFE or not letter.isprintable() else letter for letter in text)
    return name.strip(" .").encode("utf-8", "replace")[:120].decode("utf-8", "ignore")


def _zipped(folder: Path) -> Path:
    """Replace a folder by a zip archive of its files."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    shutil.rmtree(folder)
    return path


def for_page(result: Result, kind: str) -> str:
    """Write a result into the folder of served files and return the file's path."""
    from gradio.processing_utils import save_file_to_cache
    from gradio.utils import get_upload_folder

    with tempfile.TemporaryDirectory() as folder:
        return str(save_file_to_cache(write(result, kind, folder), cache_dir=get_upload_folder()))
