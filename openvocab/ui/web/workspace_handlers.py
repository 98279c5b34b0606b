"""The handlers of the workspace: open an image, run the models, and edit what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import gradio as gr
import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab import Explored, LabelSet, Prompt
from openvocab.errors import BadInput
from openvocab.pipeline.settings import SettingChanges
from openvocab.ui.web import canvas_messages as messages
from openvocab.ui.web import downloads
from openvocab.ui.web.error_messages import error_message
from openvocab.ui.web.images import file_name, read_upload
from openvocab.ui.web.mask_edits import cleaned, painted
from openvocab.ui.web.point_prompts import parse_prompts
from openvocab.ui.web.polygons import actions as polygon_actions
from openvocab.ui.web.text_inputs import parse_vocabulary
from openvocab.ui.web.texts import strings
from openvocab.ui.web.verdicts.update import update_verified
from openvocab.ui.web.view_models import RUNNING, stage_steps, summary
from openvocab.ui.web.workspace import Workspace, encode

if TYPE_CHECKING:
    from openvocab import Pipeline
    from openvocab.ui.web.context import Context

__all__ = ["SLIDERS", "WorkspaceHandlers", "shown_settings"]

Message = dict[str, Any]

SLIDERS = tuple(strings.SLIDERS)
"""The settings that have a slider."""


class WorkspaceHandlers:
    """The handlers; workspaces are stored in context.workspaces under tokens."""

    def __init__(self, context: Context) -> None:
        """Use the models and the store of a context."""
        self._context, self._store = context, context.workspaces

    def open(self, path: str | None, preset: str, token: str | None) -> tuple[Message, Message, str | None]:
        """Open an image without running the models for words; return message, note and token."""
        self._store.discard(token)
        if not path:
            return messages.empty_message(), {"text": ""}, None
        try:
            workspace = self._opened(path, preset)
            token = self._store.put(workspace)
            message = messages.image_message(workspace, strings.PRESS_RUN_OR_CLICK, token)
            return message, {"text": strings.PRESS_RUN}, token
        except Exception as error:
            text = error_message(error)
            return messages.empty_message(text, failed=True), {"text": text, "wrong": True}, None

    def reopen(self, event: gr.EventData) -> tuple[Any, ...]:
        """Open the image again that a page showed before it was loaded anew, with its objects and edits.

        The page gets a copy under a token of its own: Gradio deletes what the page before held an hour after that one
        was left.

        Returns:
            Message, note, token, words, preset and sliders; nothing changes if the image is no longer stored.
        """
        try:
            workspace = self._store.get(str(event.token))
        except BadInput:
            return (gr.skip(),) * (5 + len(SLIDERS))
        token, explored = self._store.put(workspace), workspace.explored
        message = messages.image_message(workspace, strings.PRESS_RUN_OR_CLICK if explored is None else "", token)
        note = {"text": strings.PRESS_RUN} if explored is None else self._note(workspace)[0]
        words = gr.skip() if explored is None else ", ".join(explored.vocabulary.labels)
        sliders = shown_settings(workspace.thresholds)
        return {**message, "again": True}, note, token, words, workspace.preset, *sliders

    def _opened(self, path: str | None, preset: str) -> Workspace:
        image = read_upload(path, self._context.limits.pixels)
        with self._context.models.using(preset) as pipe:
            encoded = pipe.encode(image, [])
        return Workspace(file_name(path), str(path), preset, encoded)

    def run(
        self,
        image: str | None,
        text: str | Prompt,
        preset: str,
        token: str | None,
        *thresholds: float,
        chosen: bool = False,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Yield message, note and token stage by stage; encodings and edits of the same image are kept.

        With chosen, the first message opens the image also if it is open: the page shows a preview in its place.
        """
        try:
            labels = text if isinstance(text, Prompt) else parse_vocabulary(text)
            workspace, known = self._previous(token, image, preset), True
            if workspace is None:
                workspace, known = self._opened(image, preset), False
                token = self._store.put(workspace, token)
            start = messages.image_message(workspace, token=token) if chosen or not known else {}
            yield from self.stages(labels, preset, str(token), start, *thresholds)
        except Exception as error:
            shown = gr.skip() if self._previous(token, image, preset) else messages.empty_message()
            yield shown, {"text": error_message(error), "wrong": True}, token
            raise

    def stages(
        self, labels: tuple[str, ...] | LabelSet | Prompt, preset: str, token: str, start: Message, *thresholds: float
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Yield message, note and token of a stored image stage by stage.

        Args:
            labels: What to look for.
            preset: Preset of the models.
            token: Token of the image.
            start: The message that opens the image, if it came just before, else empty.
            *thresholds: Values of the sliders.
        """
        chosen = slider_settings(thresholds)
        workspace = self._store.update(token, lambda now: replace(now, thresholds=chosen))
        waiting = {**start, "objects": start.get("objects", []), "steps": stage_steps(None, running=True)}
        yield waiting, RUNNING, token
        for explored, last in self._explore(workspace, labels, preset):
            workspace = update_verified(self._context, token, partial(_with_explored, explored), keep=last)
            yield self._shown(workspace, running=not last, start=start), *self._note(workspace, not last), token

    def _shown(self, workspace: Workspace, running: bool = False, start: Message | None = None) -> Message:
        """Return the message with objects and stages; with start, also what opens the image, if it came just before."""
        raw = workspace.raw()
        return {
            **(start or {}),
            **messages.objects_message(workspace, raw),
            "steps": stage_steps(workspace.explored, running),
        }

    def changed(
        self, token: str | None, change: Callable[[Workspace, Pipeline], Workspace]
    ) -> tuple[Message, Message, str | None]:
        """Change a workspace with its models, again if it was edited meanwhile; return message, note and token."""
        workspace, made = self._store.get(token), None
        while made is None or workspace.edits is not made.edits:
            with self._context.models.using(workspace.preset) as pipe:
                made = change(workspace, pipe)
            workspace = self._store.update(token, partial(_replaced, workspace, made))
        return (
            self._shown(workspace, start=messages.image_message(workspace, token=token)),
            *self._note(workspace),
            token,
        )

    def _note(self, workspace: Workspace, running: bool = False) -> tuple[Message]:
        return (RUNNING if running else {"text": summary(workspace)},)

    def _explore(
        self, workspace: Workspace, labels: tuple[str, ...] | LabelSet | Prompt, preset: str
    ) -> Iterator[tuple[Explored, bool]]:
        """Yield the result of each stage, then the last one again with True; the models are unlocked in between."""
        with self._context.models.using(preset) as pipe:
            steps = pipe.explore(workspace.encoded, labels)
            explored = next(steps)
        following: Explored | None = explored
        while following is not None:
            explored = following
            yield explored, False
            with self._context.models.using(preset):
                following = next(steps, None)
        yield explored, True

    def _previous(self, token: str | None, image: str | None, preset: str) -> Workspace | None:
        """Return the stored workspace if it is of the same image and preset; no image is the stored one."""
        try:
            found = self._store.get(token)
        except BadInput:
            return None
        if not image:
            return found if found.preset == preset else self._with_preset(token, preset)
        return found if (found.upload, found.preset) == (image, preset) else None

    def _with_preset(self, token: str | None, preset: str) -> Workspace:
        """Encode a stored image for another preset; its edits are kept."""
        with self._context.models.using(preset) as pipe:
            encoded = pipe.encode(self._store.get(token).encoded.image, [])
        return self._store.update(token, lambda now: replace(now, preset=preset, encoded=encoded, explored=None))

    def set_thresholds(self, token: str | None, *thresholds: float) -> tuple[Any, Any]:
        """Apply other thresholds to the raw scores; the tagger verifies boxes that it has not seen."""
        if token is None:
            return gr.skip(), gr.skip()
        chosen = slider_settings(thresholds)
        ran = self._store.get(token).explored is not None
        workspace = update_verified(self._context, token, lambda now: replace(now, thresholds=chosen), keep=ran)
        return self._shown(workspace), *self._note(workspace)

    def act(self, token: str | None, event: gr.EventData) -> Message:
        """Handle an action that calls the segmenter, and return the reply."""
        return self._reply(token, event, {"segment": self._candidates, "accept": self._accept, "box": self._move_box})

    def edit(self, token: str | None, event: gr.EventData) -> Message:
        """Handle an action that calls no model, and return the reply."""
        actions: dict[str, Callable[[str | None, gr.EventData], Message]] = {
            "rename": self._change(strings.RENAMED, lambda now, at: now.rename(list(at.keys), at.name)),
            "rename_all": self._change(strings.RENAMED_ALL, lambda now, at: now.rename_all(str(at.old), at.name)),
            "remove": self._change(strings.DELETED, lambda now, at: now.remove(str(at.key))),
            "restore": self._change(strings.RESTORED, _restored),
            "undo": self._change(strings.UNDID, lambda now, at: now.undo()),
            "redo": self._change(strings.REPEATED, lambda now, at: now.redo()),
            "paint": self._change(strings.MASK_CHANGED, _painted),
            "polygon": self._change(strings.MASK_CHANGED, polygon_actions.reshaped),
            "outline": lambda token, event: polygon_actions.outline(self._store.get(token), event),
            "clean": self._change(strings.MASK_CLEANED, _cleaned),
        }
        return self._reply(token, event, actions)

    def _reply(self, token: str | None, event: gr.EventData, actions: Any) -> Message:
        serial = getattr(event, "serial", 0)
        try:
            return messages.reply(serial, **actions[event.do](token, event))
        except Exception as error:
            return messages.reply(serial, note=error_message(error), failed=True)

    def _change(self, note: str, change: Callable[[Workspace, Any], Workspace]) -> Callable[..., Message]:
        def changed(token: str | None, event: gr.EventData) -> Message:
            workspace = self._store.update(token, lambda now: change(now, event))
            return {**messages.objects_message(workspace), "note": note}

        return changed

    def _candidates(self, token: str | None, event: gr.EventData) -> Message:
        return {"masks": messages.mask_values(*self._segment(token, event.prompts))}

    def _accept(self, token: str | None, event: gr.EventData) -> Message:
        masks, scores = self._segment(token, event.prompts)
        row = event.choice
        if not isinstance(row, int) or not 0 <= row < len(masks):
            raise BadInput("choose one of the three masks first")
        workspace = self._store.update(token, lambda now: now.add(masks[row], float(scores[row]), event.name))
        made = workspace.objects()[-1]
        return {**messages.objects_message(workspace), "added": True, "note": strings.added(made.label)}

    def _move_box(self, token: str | None, event: gr.EventData) -> Message:
        """Move or resize the box of an object; its mask is segmented anew."""
        masks, scores = self._segment(token, [{"kind": "box", "xyxy": event.xyxy}])
        best = int(np.argmax(scores))
        height, width = masks.shape[1:]
        box = parse_prompts([{"kind": "box", "xyxy": event.xyxy}], width, height).box
        left, top, right, bottom = np.asarray(box).tolist()
        workspace = self._store.update(
            token,
            lambda now: now.reshape(str(event.key), masks[best], float(scores[best]), (left, top, right, bottom)),
        )
        return {**messages.objects_message(workspace), "note": strings.BOX_CHANGED}

    def _segment(self, token: str | None, given: object) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return the masks of prompts; the image is encoded for the segmenter before the first."""
        workspace = self._store.get(token)
        height, width = workspace.size
        prompts = parse_prompts(given, width, height)
        with self._context.models.using(workspace.preset) as pipe:
            encoded = encode(pipe, workspace.encoded)
            found = pipe.prompt(encoded, **prompts.arguments)
        if encoded.segmenter is not workspace.encoded.segmenter:
            self._store.update(token, lambda now: replace(now, encoded=encoded) if now.explored is None else now)
        return found

    def download(self, kind: str, token: str | None) -> str:
        """Write the result with its edits to a file and return the path.

        Raises:
            BadInput: there is no object.
        """
        workspace = self._store.get(token)
        if workspace.explored is None and not workspace.objects():
            raise BadInput("there is no object yet; press Run, or click one, name it and press Add")
        return downloads.for_page(workspace.result(), kind)

    def defaults(self, preset: str) -> list[float]:
        """Return the preset's thresholds in the order of the sliders."""
        with self._context.models.using(preset) as pipe:
            return [getattr(pipe.settings, name) or 0.0 for name in SLIDERS]  # None: there is no such stage


def slider_settings(thresholds: Sequence[float]) -> SettingChanges:
    """Return the settings that the sliders show, for their values in order."""
    return cast("SettingChanges", dict(zip(SLIDERS, thresholds, strict=True)))


def shown_settings(thresholds: Mapping[str, Any]) -> list[Any]:
    """Return the values of the sliders, in order, for the settings that an image was answered with."""
    return [thresholds.get(name, gr.skip()) for name in SLIDERS]


def _with_explored(explored: Explored, now: Workspace) -> Workspace:
    """Return the workspace with new raw scores; its encoding for the segmenter is kept."""
    segmenter = explored.encoded.segmenter or now.encoded.segmenter
    return now.with_explored(replace(explored, encoded=replace(explored.encoded, segmenter=segmenter)))


def _restored(now: Workspace, event: Any) -> Workspace:
    return now.restore(str(event.key), relabel=bool(event.relabel))


def _mask_of(now: Workspace, key: str) -> NDArray[np.bool_]:
    """Return the (H, W) mask of an object; one without a mask has an empty one."""
    code = now.find(key).mask
    return np.zeros(now.size, np.bool_) if code is None else openvocab.decode_mask(code)


def _painted(now: Workspace, event: Any) -> Workspace:
    mask = painted(_mask_of(now, str(event.key)), event.path, event.radius, inside=bool(event.inside))
    return now.reshape(str(event.key), mask)


def _cleaned(now: Workspace, event: Any) -> Workspace:
    return now.reshape(str(event.key), cleaned(_mask_of(now, str(event.key))))


def _replaced(before: Workspace, made: Workspace, now: Workspace) -> Workspace:
    """Return what was made of a workspace, unless another took its place meanwhile."""
    return made if now.version == before.version else now
