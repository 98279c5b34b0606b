"""The tab Prompt: segment objects with point, box and stroke prompts, name and download them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput
from openvocab.ui.web import canvas as messages
from openvocab.ui.web.annotation_session import AnnotationSession, SessionStore, encode, parse_name, tight_box
from openvocab.ui.web.download_buttons import download_buttons
from openvocab.ui.web.downloads import for_page
from openvocab.ui.web.error_messages import error_message, report_errors
from openvocab.ui.web.events import MODEL
from openvocab.ui.web.examples import example_inputs, examples_component
from openvocab.ui.web.images import file_name, image_input, read_upload
from openvocab.ui.web.point_prompts import PointPrompts, parse_prompts

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context

__all__ = ["PromptHandlers", "Tab", "build"]

_FOUR_COLUMNS = ".ov-examples { grid-template-columns: repeat(4, 1fr); }"
_PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_MODEL: dict[str, Any] = {**_PRIVATE, **MODEL}
_REQUEST_FAILED = (
    "() => document.querySelectorAll('#prompt-canvas .cv').forEach(each => each.dispatchEvent(new Event('cv-busy')))"
)
"""Tells the canvas that a request was rejected, for example because the queue is full."""

Message = dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class PromptHandlers:
    """The handlers of the tab.

    Attributes:
        context: Models and limits.
        sessions: Annotation sessions of open pages.
    """

    context: Context
    sessions: SessionStore

    def open(self, path: str | None, preset: str | None, token: str | None) -> tuple[Message, str | None]:
        """Encode an image and start a session; return the message for the canvas and the session's token."""
        self.sessions.discard(token)
        if not path:
            return messages.empty_message(), None
        try:
            image = read_upload(path, self.context.limits.pixels)
            name = preset or self.context.models.names[0]
            with self.context.models.using(name) as pipe:
                session = AnnotationSession(file_name(path), name, encode(pipe, image))
            message = messages.image_message(session, "Click an object, or drag a box around it.")
            return message, self.sessions.put(session)
        except Exception as error:
            return messages.empty_message(error_message(error), failed=True), None

    def open_result(self, result_token: str | None, token: str | None) -> tuple[Message, str, str | None]:
        """Start a session with a result of the tab Chain.

        Args:
            result_token: Token of the result in context.results.
            token: Token of the session to discard.

        Returns:
            The message for the canvas, the session's token and the path of the image.

        Raises:
            BadInput: there is no result, or it is no longer stored.
        """
        if result_token is None:
            raise BadInput("there is no result to correct yet; press Run first")
        found = self.context.results.get(result_token)
        with self.context.models.using(found.preset) as pipe:
            encoded = encode(pipe, found.explored.encoded)
        session = AnnotationSession.from_result(found.result(), found.preset, encoded)
        self.sessions.discard(token)
        message = messages.image_message(session, "Rename or delete wrong objects; click missing ones.")
        return message, self.sessions.put(session), found.upload

    def act(self, token: str | None, event: gr.EventData) -> Message:
        """Handle an action on the canvas and return the reply."""
        serial = getattr(event, "serial", 0)
        try:
            actions: dict[str, Callable[[str | None, gr.EventData], Message]] = {
                "segment": self._candidates,
                "accept": self._accept,
                "remove": self._remove,
                "rename": self._rename,
                "undo": self._undo,
            }
            return messages.reply(serial, **actions[event.do](token, event))
        except Exception as error:
            return messages.reply(serial, note=error_message(error), failed=True)

    def _candidates(self, token: str | None, event: gr.EventData) -> Message:
        masks, scores = self._segment(self.sessions.get(token), event.prompts)
        return {"masks": messages.mask_values(masks, scores)}

    def _accept(self, token: str | None, event: gr.EventData) -> Message:
        masks, scores = self._segment(self.sessions.get(token), event.prompts)
        row = event.choice
        if not isinstance(row, int) or not 0 <= row < len(masks):
            raise BadInput("choose one of the three masks first")
        mask, score = masks[row], float(scores[row])
        session = self.sessions.update(token, lambda session: session.add(mask, score, event.name))
        name = session.instances[-1].name
        return {"instances": messages.instance_values(session), "added": True, "note": f"Added {name}."}

    def _remove(self, token: str | None, event: gr.EventData) -> Message:
        session = self.sessions.update(token, lambda session: session.remove(event.number))
        return {"instances": messages.instance_values(session), "note": "Deleted the object; press U to undo."}

    def _rename(self, token: str | None, event: gr.EventData) -> Message:
        session = self.sessions.update(token, lambda session: session.rename(event.number, event.name))
        return {"instances": messages.instance_values(session), "note": "Renamed the object."}

    def _undo(self, token: str | None, event: gr.EventData) -> Message:
        session = self.sessions.update(token, AnnotationSession.undo)
        return {"instances": messages.instance_values(session), "note": "Undid the last change."}

    def _segment(self, session: AnnotationSession, given: object) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        height, width = session.encoded.image.shape[:2]
        prompts = parse_prompts(given, width, height)
        with self.context.models.using(session.preset) as pipe:
            return pipe.prompt(session.encoded, **prompts.arguments)

    def download(self, kind: str, token: str | None) -> str:
        """Write a session's instances to a file and return its path.

        Raises:
            BadInput: the session has no instances.
        """
        session = self.sessions.get(token)
        if not session.instances:
            raise BadInput("there is no object yet; click one, name it and press Add")
        with self.context.models.using(session.preset) as pipe:
            result = session.result(pipe)
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
        """Segment one object of an image: three masks for a prompt of points, a box, or both.

        Args:
            image: an uploaded image.
            points: [[x, y], ...] in pixels of the image.
            point_labels: [1, 0, ...], one per point, 1 for object and 0 for background; default: all 1.
            box: [left, top, right, bottom] in pixels of the image.
            name: label of the masks; default: "object".
            preset: the models' preset; default: the page's first one.

        Returns:
            width, height; masks: three, best first, each with label, score, xyxy in pixels (null for an empty mask) and
            mask as COCO run-length encoding.

        Raises:
            BadInput: the image or the prompt is invalid; the message states the cause.
        """
        pixels = read_upload(image, self.context.limits.pixels)
        prompts = _parse_points(points, point_labels, box, pixels)
        with self.context.models.using(preset or None) as pipe:
            masks, scores = pipe.prompt(encode(pipe, pixels), **prompts.arguments)
        return _masks_json(masks, scores, parse_name(name))


def _parse_points(points: Any, point_labels: Any, box: Any, image: NDArray[np.uint8]) -> PointPrompts:
    """Parse the prompt of an API call.

    Raises:
        BadInput: points, labels or box are invalid, or lie outside the image.
    """
    points = [] if points is None else points
    if not isinstance(points, list):
        raise BadInput("points must be a list of [x, y] in pixels of the image")
    inside = [1] * len(points) if point_labels is None else point_labels
    if not isinstance(inside, list) or len(inside) != len(points) or any(each not in (0, 1) for each in inside):
        raise BadInput(f"point_labels must be {len(points)} numbers, one per point, 1 for object and 0 for background")
    given = [{"kind": "point", "at": at, "inside": bool(on)} for at, on in zip(points, inside, strict=True)]
    if box is not None:
        given.append({"kind": "box", "xyxy": box})
    if not given:
        raise BadInput("a prompt needs a point or a box; give points as [[x, y], ...] or box as four numbers")
    height, width = image.shape[:2]
    prompts = parse_prompts(given, width, height)
    for x, y in [*points, *([] if box is None else [box[:2], box[2:]])]:
        if not (0 <= x <= width and 0 <= y <= height):
            raise BadInput(f"({x:g}, {y:g}) lies outside the image of {width} x {height} pixels; give a point in it")
    return prompts


def _masks_json(masks: NDArray[np.bool_], scores: NDArray[np.float32], name: str) -> Message:
    """Return (3, H, W) masks and their (3,) scores as JSON, best first."""

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


# --- layout


@dataclass(frozen=True, eq=False, slots=True)
class Tab:
    """The components that other tabs fill.

    Attributes:
        handlers: Handlers of the tab.
        image: The image input.
        canvas: The prompt canvas.
        token: State with the session's token.
    """

    handlers: PromptHandlers
    image: gr.Image
    canvas: gr.HTML
    token: gr.State

    def connect_corrections(self, button: gr.Button, result_token: gr.State, tabs: gr.Tabs) -> None:
        """Let a button open a result of the tab Chain in this tab.

        Args:
            button: The button.
            result_token: State with a token of context.results.
            tabs: The tabs, of which this one is selected.
        """

        def open_result(found: str | None, token: str | None) -> tuple[Message, str, str | None, Any]:
            return *self.handlers.open_result(found, token), gr.Tabs(selected="prompt")

        outputs = [self.canvas, self.token, self.image, tabs]
        button.click(report_errors(open_result), [result_token, self.token], outputs, **_MODEL)


def build(context: Context) -> Tab:
    """Lay out the tab inside the open one."""
    handlers = PromptHandlers(context, SessionStore(context.limits.cache_bytes))
    token = gr.State(None, delete_callback=handlers.sessions.discard)
    names = list(context.models.names)
    with gr.Row(elem_classes="ov-columns"):
        with gr.Column(scale=3, min_width=240):
            image = image_input(
                label="Image",
                show_label=False,
                height=180,
                sources=["upload", "clipboard"],
                buttons=[],
                alt_text="the chosen image",
                elem_id="prompt-image",
            )
            examples = examples_component("prompt", css_template=_FOUR_COLUMNS)
            preset = gr.Dropdown(names, value=names[0], label="Models", visible=len(names) > 1, elem_id="prompt-preset")
        with gr.Column(scale=10, min_width=300):
            canvas = messages.canvas(elem_id="prompt-canvas", elem_classes="ov-part")
            connect_downloads = download_buttons("prompt")
    opened: dict[str, Any] = {"inputs": [image, preset, token], "outputs": [canvas, token], **_MODEL}
    examples.pick(report_errors(_example), None, [image], **_PRIVATE, queue=False).success(handlers.open, **opened)
    for event in (image.upload, image.clear, preset.input):
        event(handlers.open, **opened)
    acted = canvas.act(handlers.act, [token], [canvas], trigger_mode="multiple", **_MODEL)
    acted.failure(None, js=_REQUEST_FAILED, api_visibility="private")
    connect_downloads(handlers.download, token)
    _add_endpoint(handlers)
    return Tab(handlers, image, canvas, token)


def _example(event: gr.EventData) -> str:
    return example_inputs(event)[0]


def _add_endpoint(handlers: PromptHandlers) -> None:
    with gr.Row(visible=False):
        image = image_input(label="image")
        points, point_labels, box = gr.JSON(label="points"), gr.JSON(label="point_labels"), gr.JSON(label="box")
        name, preset = gr.Textbox(label="name"), gr.Textbox(label="preset")
        found, go = gr.JSON(label="found"), gr.Button("segment")
    go.click(
        report_errors(handlers.segment),
        [image, points, point_labels, box, name, preset],
        found,
        api_name="segment_prompt",
        **MODEL,
    )
