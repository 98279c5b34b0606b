"""The handlers of the strip: open an image of the served folder, go on, mark it as reviewed, and export the run."""

from __future__ import annotations

import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

import openvocab
from openvocab.errors import BadInput, unknown
from openvocab.ui.web import canvas_messages as messages
from openvocab.ui.web.batch_job import FORMATS
from openvocab.ui.web.error_messages import error_message
from openvocab.ui.web.served.entries import Entry, is_run
from openvocab.ui.web.text_inputs import parse_labels
from openvocab.ui.web.view_models import summary
from openvocab.ui.web.workspace import Workspace
from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.served.folder import ServedFolder

__all__ = ["StripHandlers"]

_AROUND = 30
"""Number of thumbnails on each side of the open image."""

Answer = tuple[Any, Any, Any, Any, Any, Any]
"""Values of strip, canvas, note, token, image and words."""


class StripHandlers:
    """The handlers of a page with a served folder."""

    def __init__(self, context: Context, served: ServedFolder, workspace: WorkspaceHandlers) -> None:
        """Use the folder, and the handlers that run the models."""
        self._context, self._served, self._workspace = context, served, workspace

    def go(
        self, token: str | None, text: str, preset: str, event: gr.EventData, *thresholds: float
    ) -> Iterator[Answer]:
        """Do what the visitor asks for in the strip; a new image is run with the words, if there are any."""
        skip, at = gr.skip(), self._at(event)
        try:
            entry = self._target(token, at, event)
        except Exception as error:
            yield self._strip(at, event), skip, _wrong(error), skip, skip, skip
            return
        if entry is None:
            yield self._strip(at, event), skip, skip, skip, skip, skip
            return
        yield from self._open(entry, text, preset, event, thresholds)

    def _at(self, event: gr.EventData) -> Entry | None:
        """Return the image at which the strip is; None before the first."""
        try:
            return self._served.find(event.at)
        except BadInput:
            return None

    def _target(self, token: str | None, at: Entry | None, event: gr.EventData) -> Entry | None:
        """Return the image to open; None if the open one stays.

        Raises:
            BadInput: there is no such image, or none is open that could be reviewed.
            CannotWrite: the run cannot be written.
        """
        if event.do == "open":
            return self._served.find(event.key) if event.key else self._served.first_open()
        if event.do == "order":
            return None
        if event.do == "review" and not self._review(token, at):
            return None
        return self._beside(at, -1 if event.do == "previous" else 1, event.order)

    def _review(self, token: str | None, at: Entry | None) -> bool:
        """Mark the open image as reviewed, or as not reviewed if it was; return whether it is now.

        Raises:
            BadInput: no image of the folder is open.
            CannotWrite: the run cannot be written.
        """
        workspace = self._context.workspaces.get(token)
        if at is None or workspace.place != at.key:
            raise BadInput("no image of the folder is open; choose one in the strip first")
        reviewed = self._served.status(at.key) != "reviewed"
        self._served.mark(at.key, workspace, reviewed=reviewed)
        return reviewed

    def _beside(self, current: Entry | None, step: int, order: object) -> Entry | None:
        """Return the next or previous image; None at the ends."""
        images = self._served.ordered(order)
        if current is None:
            return self._served.first_open()
        row = images.index(current) + step
        return images[row] if 0 <= row < len(images) else None

    def _open(
        self, entry: Entry, text: str, preset: str, event: gr.EventData, thresholds: tuple[float, ...]
    ) -> Iterator[Answer]:
        """Yield what opens an image, and then what the models find, if it is new and there are words."""
        words = self._served.words() if getattr(event, "first", False) and not text.strip() else None
        filled, skip = gr.skip() if words is None else words, gr.skip()
        try:
            workspace, token = self._context.workspaces.served(entry.key)
        except Exception as error:
            shown = messages.empty_message(error_message(error), failed=True)
            yield self._strip(entry, event), shown, _wrong(error), None, None, filled
            return
        start, asked = messages.image_message(workspace), (text if words is None else words).strip()
        runs = bool(asked) and self._served.status(entry.key) == "new"
        strip = self._strip(entry, event)
        yield strip | ({"serial": -1} if runs else {}), start, {"text": _said(workspace)}, token, None, filled
        if not runs:
            return
        try:
            for shown, note, _ in self._workspace.stages(parse_labels(asked), preset, token, start, *thresholds):
                yield skip, shown, note, token, skip, skip
        except Exception as error:
            yield self._strip(entry, event), skip, _wrong(error), token, skip, skip
            return
        yield self._strip(entry, event), skip, skip, token, skip, skip

    def refresh(self, token: str | None, order: str = "name") -> Any:
        """Return the strip after the models ran on the open image."""
        place = self._context.workspaces.get(token).place
        return self._window(self._served.find(place), order) if place else gr.skip()

    def _strip(self, entry: Entry | None, event: gr.EventData) -> dict[str, Any]:
        return {**self._window(entry, event.order), "serial": event.serial}

    def _window(self, entry: Entry | None, order: object) -> dict[str, Any]:
        """Return the images around one, in order."""
        images = self._served.ordered(order)
        index = images.index(entry) if entry is not None else 0
        start = max(0, min(index - _AROUND, len(images) - 2 * _AROUND - 1))
        shown = images[start : start + 2 * _AROUND + 1]
        return {
            "at": entry.key if entry is not None else "",
            "name": entry.name if entry is not None else "",
            "index": index,
            "total": len(images),
            "order": order if isinstance(order, str) else "name",
            "counts": self._served.counts,
            "images": [{"key": each.key, "name": each.name, "status": self._served.status(each.key)} for each in shown],
        }

    def export(self, kind: str) -> str:
        """Write the run with its corrections in a format into a zip file and return its path.

        Raises:
            UnknownName: there is no format of this name.
            BadInput: nothing was found or corrected yet.
        """
        from gradio.utils import get_upload_folder

        if kind not in FORMATS or kind == "parquet":
            raise unknown("format", kind, [name for name in FORMATS if name != "parquet"])
        if not is_run(self._served.run):
            raise BadInput("no image of the folder has an answer yet; press Run, or add an object")
        folder = Path(get_upload_folder()) / secrets.token_urlsafe(16)
        made = folder / "out" / (FORMATS[kind][1] or "files")
        made.parent.mkdir(parents=True)
        openvocab.export(openvocab.read_run(self._served.run), made, kind)
        path = folder / f"{self._served.folder.resolve().name or 'folder'}-{kind}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in [made] if made.is_file() else sorted(each for each in made.rglob("*") if each.is_file()):
                archive.write(file, file.relative_to(made.parent if made.is_file() else made))
        return str(path)


def _wrong(error: Exception) -> dict[str, Any]:
    return {"text": error_message(error), "wrong": True}


def _said(workspace: Workspace) -> str:
    """Return one line about an image that was opened."""
    if workspace.explored is not None:
        return summary(workspace)
    count = len(workspace.objects())
    if not count and workspace.stored is None:
        return "Type words and press Run, or click an object in the image."
    return f"{count or 'no'} object{'' if count == 1 else 's'} in {workspace.source}. Press Run to use the sliders."
