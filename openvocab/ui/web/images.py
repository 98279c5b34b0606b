"""Uploaded images as paths that only the library decodes, and images downscaled for the page."""

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

__all__ = [
    "data_url",
    "draw_for_page",
    "file_name",
    "fit",
    "image_files",
    "image_input",
    "paths_of",
    "read_upload",
    "thumbnail",
]

ImageArray = NDArray[np.uint8]

MAX_SIDE = 1280
"""Maximum longer side in pixels of an image on the page; downloads have the original size."""


def image_input(**options: Any) -> gr.Image:
    """Return an image component whose value is the path of the uploaded file.

    Gradio's own preprocessing decodes images before any limit is checked.
    """
    made = gr.Image(type="filepath", image_mode=None, **options)
    made.preprocess = _one_path  # type: ignore[method-assign]
    return made


def image_files(**options: Any) -> gr.File:
    """Return a component for several files whose value is their paths.

    Gradio's own preprocessing creates an empty temporary file for each.
    """
    made = gr.File(file_count="multiple", **options)
    made.preprocess = paths_of  # type: ignore[method-assign]
    return made


def _one_path(payload: Any) -> str | None:
    if payload is None:
        return None
    if payload.path is None:
        raise BadInput("an image must be an uploaded file; upload the file instead of a data URL")
    return str(payload.path)


def paths_of(payload: Any) -> list[str]:
    """Return the paths of uploaded files, in place of the preprocessing of a component for several files."""
    if payload is None:
        return []
    return [str(each.path) for each in getattr(payload, "root", None) or [payload]]


def file_name(path: str | None) -> str:
    """Return the name of an image's file without folders."""
    return Path(path).name if path else "image"


def read_upload(path: str | None, pixels: int) -> ImageArray:
    """Read an uploaded image.

    Args:
        path: Path of the upload.
        pixels: Maximum width times height, checked in the header before the image is decoded.

    Returns:
        (H, W, 3) uint8 RGB image, upright.

    Raises:
        BadInput: no image was chosen.
        ImageError: the image cannot be read; the message has the file's name without its path on the server.
    """
    if not path:
        raise BadInput("there is no image; choose one, paste one, or click an example")
    try:
        return openvocab.read_image(path, max_pixels=pixels)
    except ImageError as error:
        raise ImageError(error.kind, str(error).replace(repr(path), repr(file_name(path)))) from error


def fit(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Return a size scaled down so that its longer side has at most max_side pixels."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def draw_for_page(result: Result) -> Image.Image:
    """Draw a result; a large image is downscaled to MAX_SIDE first, its masks by nearest neighbor."""
    width, height = fit((result.width, result.height), MAX_SIDE)
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
    """Return an image as a data URL of a JPEG, so that no file is created."""
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def thumbnail(image: ImageArray | Image.Image, side: int = 160) -> str:
    """Return a downscaled image as a data URL of a JPEG."""
    opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
    size: Sequence[int] = fit(opened.size, side)
    return data_url(opened.convert("RGB").resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=3.0), 82)
