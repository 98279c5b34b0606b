"""Images on their way in, unread until the library reads them, and on their way out, small enough for a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import openvocab
from openvocab import Result
from openvocab.errors import BadInput, ImageError

__all__ = ["data_url", "drawn", "image_files", "image_input", "name_of", "read_upload", "thumbnail"]

ImageArray = NDArray[np.uint8]

MOST_SIDE = 1280
"""Pixels of the longer side of an image that is drawn for the page; downloads have them all."""


def image_input(**options: Any) -> gr.Image:
    """Return an image component whose value is the path of the file as it came.

    Gradio's own opens the file, and decodes what is not in the mode that it wants, before any limit is looked at.
    """
    made = gr.Image(type="filepath", image_mode=None, **options)
    made.preprocess = _one_path  # type: ignore[method-assign]
    return made


def image_files(**options: Any) -> gr.File:
    """Return a component for several files whose value is their paths; Gradio's own leaves an empty file for each."""
    made = gr.File(file_count="multiple", **options)
    made.preprocess = _paths  # type: ignore[method-assign]
    return made


def _one_path(payload: Any) -> str | None:
    if payload is None:
        return None
    if payload.path is None:
        raise BadInput("an image is given as an uploaded file; send the file, not its bytes in an address")
    return str(payload.path)


def _paths(payload: Any) -> list[str]:
    if payload is None:
        return []
    return [str(each.path) for each in getattr(payload, "root", None) or [payload]]


def name_of(path: str | None) -> str:
    """Return what an image is called: the name of its file, without folders."""
    return Path(path).name if path else "image"


def read_upload(path: str | None, pixels: int) -> ImageArray:
    """Return an uploaded image, upright (height, width, 3) uint8 RGB.

    Args:
        pixels: width times height that is still read; looked up in the header, before anything is decoded.

    Raises:
        BadInput: no image was chosen.
        ImageError: it cannot be read; the message has the file's own name and not its place on the server.
    """
    if not path:
        raise BadInput("there is no image; choose one, paste one, or click an example")
    try:
        return openvocab.read_image(path, max_pixels=pixels)
    except ImageError as error:
        raise ImageError(error.kind, str(error).replace(repr(path), repr(name_of(path)))) from error


def _fit(size: tuple[int, int], most: int) -> tuple[int, int]:
    share = min(1.0, most / max(size))
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def drawn(result: Result) -> Image.Image:
    """Return the result drawn at the size of a page: what is larger is scaled down first, masks by nearest pixel."""
    width, height = _fit((result.width, result.height), MOST_SIDE)
    if (width, height) == (result.width, result.height):
        return result.draw()
    small = np.asarray(Image.fromarray(result.image).resize((width, height), Image.Resampling.BOX, reducing_gap=2.0))
    scale = np.array([width / result.width, height / result.height] * 2, np.float32)
    masks = result.detections.masks
    if masks is not None:
        masks = np.asarray(masks)
        rows = (np.arange(height) + 0.5) * result.height / height
        columns = (np.arange(width) + 0.5) * result.width / width
        masks = np.ascontiguousarray(masks[:, rows.astype(int)][:, :, columns.astype(int)])
    detections = replace(result.detections, xyxy=result.detections.xyxy * scale, masks=masks)
    return replace(result, width=width, height=height, image=small, detections=detections).draw()


def data_url(image: Image.Image, quality: int = 88) -> str:
    """Return an image as the address of a JPEG that holds itself, so that no file is left behind."""
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def thumbnail(image: ImageArray | Image.Image, side: int = 160) -> str:
    """Return a small copy as data_url does."""
    opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
    size: Sequence[int] = _fit(opened.size, side)
    return data_url(opened.convert("RGB").resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=3.0), 82)
