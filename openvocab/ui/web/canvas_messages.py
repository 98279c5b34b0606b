"""The workspace's custom component, and the messages that it receives."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import openvocab
from openvocab import Result
from openvocab.pipeline.masks import mask_json
from openvocab.ui.web.images import MAX_SIDE, data_url, fit
from openvocab.ui.web.workspace import Object, Workspace

__all__ = ["canvas", "empty_message", "image_message", "mask_values", "objects_message", "reply"]

Message = dict[str, Any]

_LOSSLESS_PIXELS = 300_000
"""Maximum number of pixels of an image that is sent to the page as a PNG."""
_MAX_WORDS = 40
"""Maximum number of words that are shown as chips."""
_MAX_PRESENCE = 8
"""Maximum number of labels that are listed as present, and as absent."""
_LOAD = """// Gradio reads the names of the events here: 'act', 'edit', 'reopen'.
import(new URL("canvas/main.js", document.baseURI))
  .then((module) => module.mount({ element, props, trigger, watch }));"""


def canvas(**options: Any) -> gr.HTML:
    """Return the component. Its events `act`, `edit` and `reopen` carry the visitor's action; its value is the reply.

    The templates contain no values: Gradio runs templates as code, so user text must never be in one. The script is
    the ES module canvas/main.js, which the server serves from this package.
    """
    folder = files("openvocab.ui.web") / "canvas"
    html, css = ((folder / name).read_text("utf-8") for name in ("canvas.html", "canvas.css"))
    return gr.HTML(value={}, html_template=html, css_template=css, js_on_load=_LOAD, apply_default_css=False, **options)


def empty_message(note: str = "", failed: bool = False) -> Message:
    """Return the message that clears the canvas; with failed, the note is shown as an error."""
    lists: Message = {name: [] for name in ("objects", "rejected", "tags", "words", "steps")}
    blank: Message = {"image": "", "width": 0, "height": 0, **lists}
    return {**blank, "presence": None, "opens": secrets.token_hex(4), "note": note, "failed": failed, "place": ""}


def image_message(workspace: Workspace, note: str = "", token: str | None = None) -> Message:
    """Return the message that opens an image with its objects and a note.

    Args:
        workspace: The workspace of the image.
        note: A sentence about it.
        token: Its token, with which the page asks for it once it is loaded anew; an image of a folder is in the URL.
    """
    height, width = workspace.size
    image = Image.fromarray(workspace.encoded.image)
    small = image.resize(fit((width, height), MAX_SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    url = _png_url(small) if small.width * small.height <= _LOSSLESS_PIXELS else data_url(small)
    size = {"width": width, "height": height}
    opened = {"opens": secrets.token_hex(4), "image": url, **size, "note": note, "place": workspace.place}
    if not workspace.place:
        opened["token"] = token
    return opened | objects_message(workspace)


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
        {"mask": _small_code(mask), "score": round(float(score), 4), "box": openvocab.mask_box(mask)}
        for mask, score in zip(masks, scores, strict=True)
    ]


def objects_message(workspace: Workspace, raw: Result | None = None) -> Message:
    """Return the objects, rejected boxes, tags and words of a workspace; objects of one label have one color.

    Args:
        workspace: The workspace.
        raw: What workspace.raw returns, if it is known.
    """
    raw = workspace.raw() if raw is None else raw
    objects, explored = workspace.objects(raw), workspace.explored
    names = [each.label for each in objects]
    colors = dict(zip(names, openvocab.colors_of(names), strict=True))
    words = () if explored is None else explored.vocabulary.labels
    scores = None if explored is None else explored.tag_scores
    tag_scores = {} if scores is None else dict(zip(words, scores.tolist(), strict=True))
    return {
        "objects": [_object_value(each, colors[each.label], tag_scores.get(each.label)) for each in objects],
        "rejected": [_rejected_value(each) for each in workspace.rejected(raw)],
        "tags": [{"label": tag.label, "score": tag.score, "color": colors.get(tag.label)} for tag in raw.tags],
        "presence": _presence_value(raw, colors),
        "words": list(words[:_MAX_WORDS]),
        "canUndo": bool(workspace.past),
        "canRedo": bool(workspace.future),
        "edits": len(workspace.edits),
        "version": workspace.version,
    }


def _presence_value(raw: Result, colors: Mapping[str, str]) -> Message:
    """Return the likeliest labels that are in the image, and that are not, and how many others there are of each."""
    sides = {}
    for name, present in (("present", True), ("absent", False)):
        pairs, more = raw.presence.likeliest(_MAX_PRESENCE, present=present)
        rows = [{"label": label, "score": value, "color": colors.get(label)} for label, value in pairs]
        sides[name] = {"rows": rows, "more": more}
    return sides


def _object_value(each: Object, color: str, tag_score: float | None) -> Message:
    mask = None if each.mask is None else _shown_code(each.mask["counts"], *each.mask["size"])
    return {
        "key": each.key,
        "label": each.label,
        "score": round(each.score, 4),
        "boxScore": each.detector_score,
        "tagScore": tag_score,
        "box": each.xyxy,
        "color": color,
        "mask": mask,
        "byHand": each.by_hand,
    }


def _rejected_value(each: Object) -> Message:
    return {
        "key": each.key,
        "label": each.label,
        "score": round(each.score, 4),
        "reason": str(each.verdict).removeprefix("rejected: "),
        "looksLike": each.verdict.looks_like,
        "box": each.xyxy,
    }


@lru_cache(maxsize=512)
def _shown_code(counts: str, height: int, width: int) -> Message:
    """Return a mask's run-length encoding, downscaled for the page."""
    code = {"size": [height, width], "counts": counts}
    return code if max(height, width) <= MAX_SIDE else _small_code(openvocab.decode_mask(code))


def _small_code(mask: NDArray[np.bool_]) -> Message:
    """Return the run-length encoding of an (H, W) mask, downscaled for the page by nearest neighbor."""
    height, width = mask.shape
    columns, rows = fit((width, height), MAX_SIDE)
    if (columns, rows) != (width, height):
        down = ((np.arange(rows) + 0.5) * height / rows).astype(int)
        across = ((np.arange(columns) + 0.5) * width / columns).astype(int)
        mask = mask[down][:, across]
    return mask_json(mask)


def _png_url(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
