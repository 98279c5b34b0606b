"""The prompt canvas: a custom component, and the messages that it receives."""

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
from openvocab.ui.web.annotation_session import AnnotationSession, Instance
from openvocab.ui.web.images import MAX_SIDE, data_url, fit

__all__ = ["canvas", "empty_message", "image_message", "instance_values", "mask_values", "reply"]

Message = dict[str, Any]

_LOSSLESS_PIXELS = 300_000
"""Maximum number of pixels of an image that is sent to the page as a PNG."""


def canvas(**options: Any) -> gr.HTML:
    """Return the component. Its event `act` carries the visitor's action; its value is the reply.

    The templates contain no values: Gradio runs templates as code, so user text must never be in one.
    """
    folder = files("openvocab.ui.web")
    html, css, canvas_js, view_js = (
        folder.joinpath(name).read_text("utf-8")
        for name in ("canvas.html", "canvas.css", "canvas.js", "canvas_view.js")
    )
    return gr.HTML(
        value={},
        html_template=html,
        css_template=css,
        js_on_load=canvas_js + view_js,
        apply_default_css=False,
        **options,
    )


def empty_message(note: str = "", failed: bool = False) -> Message:
    """Return the message that clears the canvas; with failed, the note is shown as an error."""
    blank: Message = {"image": "", "width": 0, "height": 0, "instances": []}
    return {**blank, "opens": secrets.token_hex(4), "note": note, "failed": failed}


def image_message(session: AnnotationSession, note: str = "") -> Message:
    """Return the message that shows an image with its instances and a note."""
    height, width = session.encoded.image.shape[:2]
    image = Image.fromarray(session.encoded.image)
    small = image.resize(fit((width, height), MAX_SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    url = _png_url(small) if small.width * small.height <= _LOSSLESS_PIXELS else data_url(small)
    size = {"width": width, "height": height}
    return {"opens": secrets.token_hex(4), "image": url, **size, "instances": instance_values(session), "note": note}


def reply(serial: object, **parts: Any) -> Message:
    """Return the reply to the action with a serial number."""
    return {"serial": serial if isinstance(serial, int) else 0, **parts}


def mask_values(masks: NDArray[np.bool_], scores: NDArray[np.float32]) -> list[Message]:
    """Return candidate masks as JSON, in the segmenter's order.

    Args:
        masks: (3, H, W) masks.
        scores: (3,) scores of the masks.
    """
    return [
        {"png": _mask_url(mask), "score": round(float(score), 4), "box": openvocab.mask_box(mask)}
        for mask, score in zip(masks, scores, strict=True)
    ]


def instance_values(session: AnnotationSession) -> list[Message]:
    """Return a session's instances as JSON; instances of one name have one color."""
    colors = openvocab.colors_of([each.name for each in session.instances])
    return [_instance_value(each, color) for each, color in zip(session.instances, colors, strict=True)]


def _instance_value(instance: Instance, color: str) -> Message:
    plain = {"number": instance.number, "name": instance.name, "score": round(instance.score, 4), "box": instance.xyxy}
    return {**plain, "color": color, "png": _mask_url(openvocab.decode_mask(instance.mask))}


def _mask_url(mask: NDArray[np.bool_]) -> str:
    """Return an (H, W) mask, downscaled for the page, as a data URL of a 1-bit PNG, transparent where False."""
    height, width = mask.shape
    size = fit((width, height), MAX_SIDE)
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
    return _png_url(small.convert("1", dither=Image.Dither.NONE), transparency=0)


def _png_url(image: Image.Image, **options: Any) -> str:
    file = BytesIO()
    image.save(file, "PNG", **options)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
