"""How a result shows itself: in notebooks, as crops, as tables, and as the text files of other tools."""

from __future__ import annotations

import base64
import csv
import io
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, CannotWrite
from openvocab.pipeline.detections import Detections

if TYPE_CHECKING:
    import pandas
    from PIL.Image import Image as PILImage

__all__ = [
    "FORMULA",
    "coco",
    "crops",
    "csv_text",
    "cutouts",
    "data_frame",
    "escaped",
    "html",
    "png",
    "save_crops",
    "show",
    "write_text",
    "yolo_text",
]

COLUMNS = ("label", "class_id", "score", "detector_score", "mask_score", "left", "top", "right", "bottom")

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
"""The prefixes of cells that a spreadsheet would run as a formula, and the quote that escapes them."""

_MAX_TABLE_ROWS = 20
"""Detections that the HTML table of a result lists."""

ImageArray = NDArray[np.uint8]


class Shown(Protocol):
    """What is read of a Result."""

    @property
    def source(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def tags(self) -> tuple[Any, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def detections(self) -> Detections: ...
    @property
    def image(self) -> ImageArray: ...
    def draw(self) -> PILImage: ...


def png(result: Shown) -> bytes:
    """Return the drawing of a result as the bytes of a PNG file."""
    file = io.BytesIO()
    result.draw().save(file, "PNG")
    return file.getvalue()


def html(result: Shown) -> str:
    """Return the drawing, the tags and the first detections of a result as one HTML element."""
    image = base64.b64encode(png(result)).decode("ascii")
    tags = ", ".join(f"{escape(tag.label)} {tag.score:.2f}" for tag in result.tags)
    lines = [f"<p>Tags: {tags}</p>"] if tags else []
    lines += [f"<p>{escape(note)}</p>" for note in result.notes]
    found = list(result.detections)
    if found:
        rows = [f"<tr><td>{escape(one.label)}</td><td>{one.score:.2f}</td></tr>" for one in found[:_MAX_TABLE_ROWS]]
        lines.append(f"<table><tr><th>label</th><th>score</th></tr>{''.join(rows)}</table>")
    if len(found) > _MAX_TABLE_ROWS:
        lines.append(f"<p>and {len(found) - _MAX_TABLE_ROWS} more</p>")
    title = escape(result.source, quote=True)
    return f'<div><img alt="{title}" src="data:image/png;base64,{image}" style="max-width:100%">{"".join(lines)}</div>'


def show(result: Shown) -> None:
    """Display the drawing: in a notebook as output of the cell, elsewhere in the system's image viewer."""
    try:
        from IPython.core.getipython import get_ipython  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        shell = None
    else:
        shell = get_ipython()
    if shell is not None and "IPKernelApp" in shell.config:
        from IPython.display import display  # type: ignore[import-not-found,unused-ignore]

        display(result.draw())
    else:
        result.draw().show(title=result.source)


def crops(result: Shown) -> list[ImageArray]:
    """Return what lies in each box: (h, w, 3) uint8 RGB, whole pixels, best detection first."""
    return [result.image[rows, columns].copy() for rows, columns in _windows(result)]


def cutouts(result: Shown) -> list[ImageArray]:
    """Return each object cut out by its mask: (h, w, 4) uint8 RGBA, transparent beside the mask.

    Raises:
        BadInput: there are detections, and no masks.
    """
    masks = result.detections.masks
    if masks is None:
        if len(result.detections):
            raise BadInput(f"{result.source}: the detections have no masks; load a segmenter, or take crops()")
        return []
    pieces = zip(_windows(result), masks, strict=True)
    opaque = np.uint8(255)
    return [np.dstack([result.image[at], np.asarray(mask)[at].astype(np.uint8) * opaque]) for at, mask in pieces]


def save_crops(result: Shown, folder: str | Path) -> list[Path]:
    """Write each crop as FOLDER/LABEL/SOURCE-N.png and return the paths; see Result.save_crop."""
    stem, paths = _file_name(Path(result.source).stem), list[Path]()
    for number, (label, crop) in enumerate(zip(result.detections.labels, crops(result), strict=True)):
        paths.append(_save_new(crop, Path(folder, _file_name(label)), stem, number))
    return paths


def _save_new(crop: ImageArray, folder: Path, stem: str, number: int) -> Path:
    """Write a crop under the first number from the given one of which there is no file yet, and return its path.

    Raises:
        CannotWrite: the folder or the file cannot be written.
    """
    from PIL import Image

    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            with suppress(FileExistsError), (folder / f"{stem}-{number}.png").open("xb") as file:
                Image.fromarray(crop).save(file, "png")
                return Path(file.name)
            number += 1
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written ({error.strerror or error}); choose another folder") from error


def coco(result: Shown, image_id: int = 0) -> list[dict[str, Any]]:
    """Return the detections as COCO results: image_id, category_id (the class id), bbox, score, segmentation."""
    return [
        {"image_id": image_id, "category_id": one.class_id, "bbox": list(one.xywh), "score": one.score}
        | ({} if one.rle is None else {"segmentation": one.rle})
        for one in result.detections
    ]


def escaped(text: str) -> str:
    """Escape a text that a spreadsheet would run as a formula, by prepending a quote."""
    return f"'{text}" if text.startswith(FORMULA) else text


def csv_text(result: Shown) -> str:
    """Return one line a detection, with a header; see COLUMNS. Labels are escaped."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((escaped(label), *rest) for label, *rest in _rows(result))
    return text.getvalue()


def data_frame(result: Shown) -> pandas.DataFrame:
    """Return one row a detection; see COLUMNS."""
    import pandas  # gradio depends on it

    return pandas.DataFrame(_rows(result), columns=list(COLUMNS))


def yolo_text(result: Shown) -> str:
    """Return one line a detection: class id, center x, center y, width and height as shares of the image, score.

    The layout is that of ultralytics' save_txt with save_conf.
    """
    size, lines = (result.width, result.height), []
    for one in result.detections:
        left, top, right, bottom = (edge / size[at % 2] for at, edge in enumerate(one.xyxy))
        box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        lines.append(" ".join([str(one.class_id), *(f"{value:.6g}" for value in (*box, one.score))]) + "\n")
    return "".join(lines)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file.

    Raises:
        CannotWrite: the file cannot be written.
    """
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written ({error.strerror or error}); choose another path") from error


def _rows(result: Shown) -> list[tuple[Any, ...]]:
    return [
        (one.label, one.class_id, one.score, one.detector_score, one.mask_score, *one.xyxy) for one in result.detections
    ]


def _windows(result: Shown) -> list[tuple[slice, slice]]:
    """Return the rows and columns of the whole pixels that each box touches, at least one of each."""
    size = np.array([result.width, result.height])
    low = np.clip(np.floor(result.detections.xyxy[:, :2]).astype(int), 0, size - 1)
    high = np.clip(np.ceil(result.detections.xyxy[:, 2:]).astype(int), low + 1, size)
    edges = np.hstack([low, high]).tolist()
    return [(slice(top, bottom), slice(left, right)) for left, top, right, bottom in edges]


def _file_name(text: str) -> str:
    """Return a text as a file name that every system takes."""
    plain = "".join(letter if letter.isalnum() or letter in " -_" else "_" for letter in text).strip()
    return plain[:80] or "_"
