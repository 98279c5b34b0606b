"""The handlers of the strip: open a folder or an image of it, go on, mark it as reviewed, and export the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import gradio as gr

from openvocab.errors import BadInput
from openvocab.ui.web import canvas_messages as messages
from openvocab.ui.web.error_messages import error_message
from openvocab.ui.web.served.entries import Entry
from openvocab.ui.web.strip.export import export_folder
from openvocab.ui.web.text_inputs import parse_vocabulary
from openvocab.ui.web.texts import strings
from openvocab.ui.web.view_models import summary
from openvocab.ui.web.workspace import Workspace
from openvocab.ui.web.workspace_handlers import WorkspaceHandlers, shown_settings
from openvocab.ui.web.workspace_store import is_served

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.served.folder import ServedFolder

__all__ = ["StripHandlers"]

_AROUND = 30
"""Number of thumbnails on each side of the open image."""

Answer = tuple[Any, ...]
"""Values of strip, canvas, note, token, image, words and sliders."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What the visitor wants of the strip.

    Attributes:
        served: The folder of the strip.
        at: The open image; None before the first.
        order: Order of the images.
        serial: Number of the request.
        first: Whether the page or the folder was just opened.
    """

    served: ServedFolder
    at: Entry | None
    order: str
    serial: int
    first: bool


class StripHandlers:
    """The handlers of a page with a served or an uploaded folder."""

    def __init__(self, context: Context, workspace: WorkspaceHandlers) -> None:
        """Use the folders of a context, and the handlers that run the models."""
        self._context, self._workspace = context, workspace

    def go(
        self, token: str | None, text: str, preset: str, event: gr.EventData, *thresholds: float
    ) -> Iterator[Answer]:
        """Do what the visitor asks for in the strip; a new image is run with the words, if there are any."""
        request = None
        try:
            request = self._request_of(event)
            entry = self._target(token, request, event)
        except Exception as error:
            shown = {"images": [], "serial": event.serial} if request is None else _strip(request)
            yield _answer(strip=shown, note=_wrong(error))
            return
        if entry is None:
            yield _answer(strip=_strip(request))
            return
        yield from self._open(replace(request, at=entry), text, preset, thresholds)

    def _request_of(self, event: gr.EventData) -> _Request:
        """Return what an event asks for.

        Raises:
            BadInput: there is no such folder.
        """
        served = self._context.folder_of(event.key or event.at)
        order, serial = (event.order if isinstance(event.order, str) else "name"), event.serial
        at = served.find(event.at) if served.has(event.at) else None
        return _Request(
            served, at, order, serial if isinstance(serial, int) else 0, bool(getattr(event, "first", False))
        )

    def _target(self, token: str | None, request: _Request, event: gr.EventData) -> Entry | None:
        """Return the image to open; None if the open one stays.

        Raises:
            BadInput: there is no such image, or none is open that could be reviewed.
            CannotWrite: the run cannot be written.
        """
        if event.do == "open":
            return request.served.find(event.key) if event.key else request.served.first_open()
        if event.do == "order":
            return None
        if event.do == "review" and not self._review(token, request):
            return None
        return _beside(request, -1 if event.do == "previous" else 1)

    def _review(self, token: str | None, request: _Request) -> bool:
        """Mark the open image as reviewed, or as not reviewed if it was; return whether it is now.

        Raises:
            BadInput: no image of the folder is open.
            CannotWrite: the run cannot be written.
        """
        workspace, at = self._context.workspaces.get(token), request.at
        if at is None or workspace.place != at.key:
            raise BadInput("no image of the folder is open; choose one in the strip first")
        reviewed = request.served.status(at.key) != "reviewed"
        request.served.mark(at.key, workspace, reviewed=reviewed)
        return reviewed

    def _open(self, request: _Request, text: str, preset: str, thresholds: tuple[float, ...]) -> Iterator[Answer]:
        """Yield what opens an image, and then what the models find, if it is new and there are words."""
        served, entry = request.served, request.at or request.served.first_open()
        words = served.words() if request.first and not text.strip() else None
        filled = {} if words is None else {"words": words}
        try:
            workspace, token = self._context.workspaces.served(entry.key)
        except Exception as error:
            shown = messages.empty_message(error_message(error), failed=True)
            yield _answer(strip=_strip(request), canvas=shown, note=_wrong(error), token=None, image=None, **filled)
            return
        start, wanted = messages.image_message(workspace), (text if words is None else words).strip()
        runs = bool(wanted) and served.status(entry.key) == "new"
        opened = {"canvas": start, "note": {"text": _said(workspace)}, "token": token, "image": None, **filled}
        strip = _strip(request) | ({"serial": -1} if runs else {})
        yield _answer(workspace.thresholds, strip=strip, **opened)
        if not runs:
            return
        try:
            for shown, note, _ in self._workspace.stages(parse_vocabulary(wanted), preset, token, start, *thresholds):
                yield _answer(canvas=shown, note=note, token=token)
        except Exception as error:
            yield _answer(strip=_strip(request), note=_wrong(error), token=token)
            return
        yield _answer(strip=_strip(request), token=token)

    def refresh(self, token: str | None, order: str = "name") -> Any:
        """Return the strip after the models ran on the open image."""
        if not is_served(token):
            return gr.skip()
        place = self._context.workspaces.get(token).place
        served = self._context.folder_of(place)
        return _window(_Request(served, served.find(place), order, 0, False))

    def upload(self, files: list[str] | None) -> tuple[Any, Any]:
        """Unpack an upload; return the strip, which then opens the first image, and a note."""
        from gradio.utils import get_upload_folder

        try:
            served = self._context.uploaded.open(files or [], get_upload_folder())
        except Exception as error:
            return gr.skip(), _wrong(error)
        first, refused = served.first_open(), served.counts.get("error", 0)
        note = strings.unopened(len(served.entries), refused) if refused else ""
        if served.unfit:
            note = f"{note} {strings.unfit(served.unfit)}".strip()
        return _window(_Request(served, None, "name", 0, True)) | {"start": first.key}, {"text": note}

    def export(self, kind: str, shown: Any) -> tuple[str, Any]:
        """Write the run with its corrections in a format into a zip file; return its path and the strip.

        Args:
            kind: A format; "parquet" is the images with the run folder, to go on elsewhere.
            shown: The strip.

        Raises:
            UnknownName: there is no format of this name.
            BadInput: nothing was found or corrected yet, or the folder was deleted.
        """
        at, order = (shown.get(name) if isinstance(shown, dict) else None for name in ("at", "order"))
        served = self._context.folder_of(at)
        path = export_folder(served, kind)
        served.unsaved = False
        entry = served.find(at) if served.has(at) else None
        return path, _window(_Request(served, entry, order if isinstance(order, str) else "name", 0, False))


def _answer(thresholds: Mapping[str, Any] = MappingProxyType({}), /, **shown: Any) -> Answer:
    """Return what the components show.

    Args:
        thresholds: Settings that the open image was answered with; the sliders show them.
        **shown: Values of "strip", "canvas", "note", "token", "image" and "words"; others stay as they are.
    """
    names = "strip", "canvas", "note", "token", "image", "words"
    return *(shown.get(name, gr.skip()) for name in names), *shown_settings(thresholds)


def _beside(request: _Request, step: int) -> Entry | None:
    """Return the next or previous image; None at the ends."""
    images = request.served.ordered(request.order)
    if request.at is None:
        return request.served.first_open()
    row = images.index(request.at) + step
    return images[row] if 0 <= row < len(images) else None


def _strip(request: _Request) -> dict[str, Any]:
    return {**_window(request), "serial": request.serial}


def _window(request: _Request) -> dict[str, Any]:
    """Return the images around the open one, in order."""
    served, entry = request.served, request.at
    images = served.ordered(request.order)
    index = images.index(entry) if entry is not None else 0
    start = max(0, min(index - _AROUND, len(images) - 2 * _AROUND - 1))
    return {
        "at": entry.key if entry is not None else "",
        "name": entry.name if entry is not None else "",
        "index": index,
        "total": len(images),
        "order": request.order,
        "counts": served.counts,
        "images": [_image(served, each) for each in images[start : start + 2 * _AROUND + 1]],
        "upload": served.uploaded,
        "unsaved": served.uploaded and served.unsaved,
    }


def _image(served: ServedFolder, entry: Entry) -> dict[str, Any]:
    error = {} if entry.error is None else {"error": str(entry.error)}
    return {"key": entry.key, "name": entry.name, "status": served.status(entry.key), **error}


def _wrong(error: Exception) -> dict[str, Any]:
    return {"text": error_message(error), "wrong": True}


def _said(workspace: Workspace) -> str:
    """Return one line about an image that was opened."""
    if workspace.explored is not None:
        return summary(workspace)
    count = len(workspace.objects())
    if not count and workspace.stored is None:
        return strings.TYPE_OR_CLICK
    return strings.stored_objects(count, workspace.source)
