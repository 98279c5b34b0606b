"""The canvas that a person marks an image on: a component of its own, and the messages that it is sent."""

from __future__ import annotations

import base64
import secrets
from importlib.resources import files
from io import BytesIO
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import openvocab
from openvocab.ui.web.desk import Desk, Thing
from openvocab.ui.web.images import MOST_SIDE, data_url

__all__ = ["answer", "candidates", "canvas", "closed", "opening", "things"]

Message = dict[str, Any]

_SMALL = 300_000
"""Pixels up to which an image is sent to the page without loss."""


def closed(note: str = "", failed: bool = False) -> Message:
    """Return the message that empties the canvas; a note is shown below it, red where something failed."""
    blank: Message = {"image": "", "width": 0, "height": 0, "things": []}
    return {**blank, "opens": secrets.token_hex(4), "note": note, "failed": failed}


def canvas(**options: Any) -> gr.HTML:
    """Return the canvas. Its event `act` carries what the person does; its value is the answer.

    Its templates hold no value: Gradio runs templates as code, so the text of people must never be in one.
    """
    home = files("openvocab.ui.web")
    html, css, canvas_js, view_js = (
        home.joinpath(name).read_text("utf-8") for name in ("canvas.html", "canvas.css", "canvas.js", "canvas_view.js")
    )
    return gr.HTML(
        value={},
        html_template=html,
        css_template=css,
        js_on_load=canvas_js + view_js,
        apply_default_css=False,
        **options,
    )


def opening(desk: Desk, note: str = "") -> Message:
    """Return the message that puts an image with its objects on the canvas, with a note below."""
    height, width = desk.encoded.image.shape[:2]
    image = Image.fromarray(desk.encoded.image)
    small = image.resize(_shown(width, height), Image.Resampling.BOX, reducing_gap=2.0)
    size = {"width": width, "height": height}
    return {"opens": secrets.token_hex(4), "image": _address(small), **size, "things": things(desk), "note": note}


def answer(serial: object, **parts: Any) -> Message:
    """Return the answer to the request of that serial number; a note is shown to the person, red where failed."""
    return {"serial": serial if isinstance(serial, int) else 0, **parts}


def candidates(masks: NDArray[np.bool_], scores: NDArray[np.float32]) -> list[Message]:
    """Return (3, H, W) masks with their (3,) scores as the canvas shows them, in the segmenter's order."""
    return [
        {"png": _png(mask), "score": round(float(score), 4), "box": openvocab.mask_box(mask)}
        for mask, score in zip(masks, scores, strict=True)
    ]


def things(desk: Desk) -> list[Message]:
    """Return a desk's objects as the canvas shows them: the same name has the same color."""
    names = [thing.name for thing in desk.things]
    return [_thing(thing, color) for thing, color in zip(desk.things, openvocab.colors_of(names), strict=True)]


def _thing(thing: Thing, color: str) -> Message:
    mask = openvocab.decode_mask(thing.mask)
    plain = {"number": thing.number, "name": thing.name, "score": round(thing.score, 4), "box": thing.xyxy}
    return {**plain, "color": color, "png": _png(mask)}


def _shown(width: int, height: int) -> tuple[int, int]:
    """Return the width and height at which an image is sent to the page."""
    share = min(1.0, MOST_SIDE / max(width, height))
    return max(1, round(width * share)), max(1, round(height * share))


def _address(image: Image.Image) -> str:
    """Return an image as an address that holds it: without loss where it is small, else as a JPEG."""
    return _held(image) if image.width * image.height <= _SMALL else data_url(image)


def _png(mask: NDArray[np.bool_]) -> str:
    """Return an (H, W) mask at the size of the page as the address of a one-bit PNG, clear where it is False."""
    height, width = mask.shape
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(_shown(width, height), Image.Resampling.NEAREST)
    return _held(small.convert("1", dither=Image.Dither.NONE), transparency=0)


def _held(image: Image.Image, **options: Any) -> str:
    file = BytesIO()
    image.save(file, "PNG", **options)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
