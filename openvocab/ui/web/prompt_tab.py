"""The tab Prompt: mark an object, choose a mask, name it, take it away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.ui.web import canvas as board
from openvocab.ui.web.asking import sentence, told
from openvocab.ui.web.desk import Desk, Desks, encode, name_of, tight_box
from openvocab.ui.web.downloads import for_page
from openvocab.ui.web.events import MODEL
from openvocab.ui.web.images import image_input, read_upload, thumbnail
from openvocab.ui.web.images import name_of as file_name
from openvocab.ui.web.marks import Marks, read_marks
from openvocab.ui.web.parts import part
from openvocab.ui.web.saving import download_buttons

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["Prompting", "Tab", "build"]

_FOUR_A_ROW = ".ov-examples { grid-template-columns: repeat(4, 1fr); }"
_INNER: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_MODEL: dict[str, Any] = {**_INNER, **MODEL}
_LOST = (
    "() => document.querySelectorAll('#prompt-canvas .cv').forEach(each => each.dispatchEvent(new Event('cv-lost')))"
)
"""Tells the canvas that a request was refused, for example because the queue is full."""

Message = dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Prompting:
    """What the tab does, each on one request.

    context  the models and limits.
    desks    the images that are worked on.
    """

    context: Context
    desks: Desks

    def open(self, path: str | None, preset: str | None, token: str | None) -> tuple[Message, str | None]:
        """Encode an image and put it on the canvas; return the message and the token of its desk."""
        self.desks.drop(token)
        if not path:
            return board.closed(), None
        try:
            image = read_upload(path, self.context.limits.pixels)
            name = preset or self.context.models.names[0]
            with self.context.models.using(name) as pipe:
                desk = Desk(file_name(path), name, encode(pipe, image))
            return board.opening(desk, "Click an object, or drag a box around it."), self.desks.keep(desk)
        except Exception as error:
            return board.closed(sentence(error), failed=True), None

    def adopt(self, finding: str | None, token: str | None) -> tuple[Message, str, str | None]:
        """Put what the tab Chain found on the canvas; return the message, the desk's token and the image's path.

        Args:
            finding: a token of context.findings.
            token: the desk that is let go of.

        Raises:
            BadInput: there is nothing to correct, or the image is no longer held.
        """
        if finding is None:
            raise BadInput("there is no result to correct yet; press Run first")
        found = self.context.findings.get(finding)
        with self.context.models.using(found.preset) as pipe:
            encoded = encode(pipe, found.explored.encoded)
        desk = Desk.of(found.result(), found.preset, encoded)
        self.desks.drop(token)
        return (
            board.opening(desk, "Rename or delete what is wrong; click what is missing."),
            self.desks.keep(desk),
            found.upload,
        )

    def act(self, token: str | None, event: gr.EventData) -> Message:
        """Do what the person did on the canvas and return the answer."""
        serial = getattr(event, "serial", 0)
        try:
            deeds: dict[str, Callable[[str | None, gr.EventData], Message]] = {
                "prompt": self._prompt,
                "accept": self._accept,
                "remove": self._remove,
                "rename": self._rename,
                "undo": self._undo,
            }
            return board.answer(serial, **deeds[event.do](token, event))
        except Exception as error:
            return board.answer(serial, note=sentence(error), failed=True)

    def _prompt(self, token: str | None, event: gr.EventData) -> Message:
        masks, scores = self._asked(self.desks.get(token), event.marks)
        return {"masks": board.candidates(masks, scores)}

    def _accept(self, token: str | None, event: gr.EventData) -> Message:
        masks, scores = self._asked(self.desks.get(token), event.marks)
        row = event.choice
        if not isinstance(row, int) or not 0 <= row < len(masks):
            raise BadInput("choose one of the three masks first")
        desk = self.desks.change(token, lambda desk: desk.added(masks[row], float(scores[row]), event.name))
        return {"things": board.things(desk), "added": True, "note": f"{desk.things[-1].name} is added."}

    def _remove(self, token: str | None, event: gr.EventData) -> Message:
        desk = self.desks.change(token, lambda desk: desk.without(event.number))
        return {"things": board.things(desk), "note": "The object is deleted; U brings it back."}

    def _rename(self, token: str | None, event: gr.EventData) -> Message:
        desk = self.desks.change(token, lambda desk: desk.renamed(event.number, event.name))
        return {"things": board.things(desk), "note": "The object is renamed."}

    def _undo(self, token: str | None, event: gr.EventData) -> Message:
        return {"things": board.things(self.desks.change(token, Desk.undone)), "note": "The last change is undone."}

    def _asked(self, desk: Desk, given: object) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        height, width = desk.encoded.image.shape[:2]
        marks = read_marks(given, width, height)
        with self.context.models.using(desk.preset) as pipe:
            return pipe.prompt(desk.encoded, **marks.asked)

    def download(self, kind: str, token: str | None) -> str:
        """Write the objects of a desk as a file of a kind and return its path.

        Raises:
            BadInput: there is no object yet.
        """
        desk = self.desks.get(token)
        if not desk.things:
            raise BadInput("there is no object yet; mark one, name it and press Add")
        with self.context.models.using(desk.preset) as pipe:
            result = desk.result(pipe)
        return for_page(result, kind)

    def segment(
        self,
        image: str | None,
        points: Any = None,
        point_labels: Any = None,
        box: Any = None,
        name: str | None = None,
        preset: str | None = None,
    ) -> Message:
        """Cut one thing out of an image: three masks for a prompt of points, a box, or both.

        Args:
            image: an uploaded image.
            points: [[x, y], ...] in pixels of the image.
            point_labels: [1, 0, ...], 1 on the thing and 0 beside it, one a point; all 1 where not given.
            box: [left, top, right, bottom] in pixels of the image.
            name: what the thing is called in the answer; "object" where not given.
            preset: the models; the page's first where not given.

        Returns:
            width, height; masks: three, best first, each with label, score, xyxy in pixels (null for an empty mask) and
            mask as COCO run-length encoding.

        Raises:
            BadInput: the image or the prompt cannot be used; the message says why.
        """
        pixels = read_upload(image, self.context.limits.pixels)
        marks = _marks(points, point_labels, box, pixels)
        with self.context.models.using(preset or None) as pipe:
            masks, scores = pipe.prompt(encode(pipe, pixels), **marks.asked)
        return _json(masks, scores, name_of(name))


def _marks(points: Any, point_labels: Any, box: Any, image: NDArray[np.uint8]) -> Marks:
    """Return what a program asks.

    Raises:
        BadInput: points, labels or box have another form, or lie outside of the image.
    """
    places = [] if points is None else points
    if not isinstance(places, list):
        raise BadInput("points must be a list of [x, y] in pixels of the image")
    inside = [1] * len(places) if point_labels is None else point_labels
    if not isinstance(inside, list) or len(inside) != len(places) or any(each not in (0, 1) for each in inside):
        raise BadInput(f"point_labels must be {len(places)} numbers, 1 on the thing and 0 beside it, one a point")
    given = [{"kind": "point", "at": at, "inside": bool(on)} for at, on in zip(places, inside, strict=True)]
    if box is not None:
        given.append({"kind": "box", "xyxy": box})
    if not given:
        raise BadInput("a prompt needs a point or a box; give points as [[x, y], ...] or box as four numbers")
    height, width = image.shape[:2]
    marks = read_marks(given, width, height)
    for x, y in [*places, *([] if box is None else [box[:2], box[2:]])]:
        if not (0 <= x <= width and 0 <= y <= height):
            raise BadInput(f"({x:g}, {y:g}) lies outside of the image, {width} x {height} pixels; give a place in it")
    return marks


def _json(masks: NDArray[np.bool_], scores: NDArray[np.float32], name: str) -> Message:
    """Return (3, H, W) masks and their scores in JSON types, best first."""

    def one(row: int) -> Message:
        code = openvocab.encode_mask(masks[row])
        return {
            "label": name,
            "score": round(float(scores[row]), 6),
            "xyxy": list(tight_box(masks[row])) if masks[row].any() else None,
            "mask": {"size": list(code["size"]), "counts": code["counts"].decode()},
        }

    rows = np.argsort(-scores, kind="stable")
    return {"width": masks.shape[2], "height": masks.shape[1], "masks": [one(int(row)) for row in rows]}


# --- the layout


@dataclass(frozen=True, eq=False, slots=True)
class Tab:
    """The components of the tab that other tabs fill.

    doing    the tab's handlers.
    image  where the image is chosen.
    canvas   where it is marked.
    token    the desk's.
    """

    doing: Prompting
    image: gr.Image
    canvas: gr.HTML
    token: gr.State

    def corrects(self, button: gr.Button, finding: gr.State, tabs: gr.Tabs) -> None:
        """Let a button bring what was found over to this tab.

        Args:
            finding: holds a token of context.findings.
            tabs: of which this tab is selected.
        """

        def adopt(found: str | None, token: str | None) -> tuple[Message, str, str | None, Any]:
            return *self.doing.adopt(found, token), gr.Tabs(selected="prompt")

        outputs = [self.canvas, self.token, self.image, tabs]
        button.click(told(adopt), [finding, self.token], outputs, **_MODEL)


def build(context: Context) -> Tab:
    """Lay out the tab inside the one that is open."""
    doing = Prompting(context, Desks(context.limits.held_bytes))
    token = gr.State(None, delete_callback=doing.desks.drop)
    with gr.Row(elem_classes="ov-columns"):
        with gr.Column(scale=3, min_width=240):
            image = image_input(
                label="Image",
                show_label=False,
                height=180,
                sources=["upload", "clipboard"],
                buttons=[],
                alt_text="the image chosen",
                elem_id="prompt-image",
            )
            examples = part("examples", _examples(), css_template=_FOUR_A_ROW, elem_id="prompt-examples")
            preset = _preset(context)
        with gr.Column(scale=10, min_width=300):
            marked = board.canvas(elem_id="prompt-canvas", elem_classes="ov-part")
            save = download_buttons("prompt")
    opened: dict[str, Any] = {"inputs": [image, preset, token], "outputs": [marked, token], **_MODEL}
    examples.pick(told(_example), None, [image], **_INNER, queue=False).success(doing.open, **opened)
    for event in (image.upload, image.clear, preset.input):
        event(doing.open, **opened)
    acted = marked.act(doing.act, [token], [marked], trigger_mode="multiple", **_MODEL)
    acted.failure(None, js=_LOST, api_visibility="private")
    save(doing.download, token)
    _api(doing)
    return Tab(doing, image, marked, token)


def _examples() -> list[dict[str, str]]:
    return [
        {
            "name": scene.path.name,
            "image": thumbnail(openvocab.read_image(scene.path)),
            "words": ", ".join(scene.labels),
        }
        for scene in openvocab.example_scenes()
    ]


def _example(event: gr.EventData) -> str:
    scenes = openvocab.example_scenes()
    return str(save_file_to_cache(scenes[int(event.index) % len(scenes)].path, get_upload_folder()))


def _preset(context: Context) -> gr.Dropdown:
    names = list(context.models.names)
    return gr.Dropdown(names, value=names[0], label="Models", visible=len(names) > 1, elem_id="prompt-preset")


def _api(doing: Prompting) -> None:
    with gr.Row(visible=False):
        image = image_input(label="image")
        points, point_labels, box = gr.JSON(label="points"), gr.JSON(label="point_labels"), gr.JSON(label="box")
        name, preset = gr.Textbox(label="name"), gr.Textbox(label="preset")
        found, go = gr.JSON(label="found"), gr.Button("segment")
    go.click(
        told(doing.segment),
        [image, points, point_labels, box, name, preset],
        found,
        api_name="segment_prompt",
        **MODEL,
    )
